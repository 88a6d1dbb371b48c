"""`$(NAME)` expansion and the rewriting of mount paths."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collabspace.local.node.expansion import expand
from collabspace.local.node.mounts import Mounts

MOUNTS = Mounts({"/work": Path("/n/v/work"), "/work/in/": Path("/n/v/in"), "/data": Path("/data-of/node")})


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y$(A)"),
        ("$(NONE)", "$(NONE)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("cost $5", "cost $5"),
        ("open $(A", "open $(A"),
        ("end $", "end $"),
        ("", ""),
    ],
)
def test_references_expand_as_the_kubelet_does_it(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "$(A)"}) == expanded


@given(st.text(alphabet="ab()/ $", max_size=30))
def test_a_doubled_text_expands_to_itself(text: str) -> None:
    assert expand(text.replace("$", "$$"), {"a": "x", "b": "y", "": "z"}) == text


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("/work", "/n/v/work"),
        ("/work/", "/n/v/work/"),
        ("/work/out/x.json", "/n/v/work/out/x.json"),
        ("/work/in/x", "/n/v/in/x"),
        ("--out=/work/y", "--out=/n/v/work/y"),
        ("/work/bin:/work/in:/usr/bin", "/n/v/work/bin:/n/v/in:/usr/bin"),
        ("cat '/data/a' \"/work/b\" >/work/c", "cat '/data-of/node/a' \"/n/v/work/b\" >/n/v/work/c"),
        ("file:///work/x", "file:///n/v/work/x"),
        ('{"path":"/work/x"}', '{"path":"/n/v/work/x"}'),
    ],
)
def test_paths_below_a_mount_are_rewritten_once(text: str, rewritten: str) -> None:
    assert MOUNTS.rewrite(text) == rewritten


@pytest.mark.parametrize(
    "text", ["/workshop", "/work-2", "/work.d/x", "/mnt/work", "https://host/work", "./work", "~/work", "work", ""]
)
def test_what_only_looks_like_a_mounted_path_stays(text: str) -> None:
    assert MOUNTS.rewrite(text) == text


def test_without_mounts_nothing_is_rewritten() -> None:
    assert Mounts({}).rewrite("/work") == "/work"
    assert Mounts({}).resolve("/work") is None
    assert MOUNTS.resolve("/etc/x") is None
