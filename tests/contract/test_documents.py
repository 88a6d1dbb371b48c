"""What the pages tell to read and to use is there: links lead somewhere, values render, manifests are valid."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from chart_cases import PEM, ROOT, render

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
BLOCK = re.compile(r"^```yaml\n# ([\w.]+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(page: str, name: str) -> list[dict[str, Any]]:
    """The files of that name which the page shows."""
    text = (ROOT / "docs" / page).read_text()
    return [yaml.safe_load(content) for title, content in BLOCK.findall(text) if title == name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text()):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


def test_the_values_that_are_shown_render() -> None:
    shown = blocks("install.md", "values.yaml")
    assert len(shown) == 3
    for values in shown:
        if "ca" in values.get("tls", {}):
            values["tls"]["ca"] = PEM
        assert render(values)


def test_the_pod_that_restores_is_valid_and_fit_for_the_strictest_pod_security() -> None:
    (pod,) = blocks("backup-and-restore.md", "restore.yaml")
    kubernetes_validate.validate(pod, "1.36", strict=True)
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    broker = next(each for each in render({}) if each["kind"] == "PersistentVolumeClaim")
    (volume,) = pod["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == broker["metadata"]["name"]
