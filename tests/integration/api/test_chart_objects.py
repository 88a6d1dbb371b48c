"""What the chart renders, said to a real API server."""

import subprocess
from typing import Any

import pytest
import yaml

from chart_cases import CASES, CHART, FOREIGN, NAMESPACE, ROOT, case
from collabspace.chart import manifests
from collabspace.local.cluster import LocalCluster

DRY = ("--force-conflicts", "--dry-run=server")


def apply(cluster: LocalCluster, objects: list[dict[str, Any]], *arguments: str) -> None:
    """Fails when not every object is taken, or one with a warning, as Pod Security gives."""
    kubectl = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}"]
    told = subprocess.run(
        [*kubectl, "apply", "--server-side", *arguments, "-o", "name", "-f", "-"],
        input=yaml.safe_dump_all(objects),
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "Warning" not in told.stderr
    assert len(told.stdout.splitlines()) == len(objects)


@pytest.mark.parametrize("name", CASES)
def test_every_object_would_be_taken(name: str, cluster: LocalCluster) -> None:
    apply(cluster, [each for each in case(name) if each["kind"] not in FOREIGN], *DRY, "-n", NAMESPACE)


def test_prometheus_and_grafana_beside_the_chart_would_be_taken(cluster: LocalCluster) -> None:
    namespace, *objects = yaml.safe_load_all((ROOT / "examples" / "kind" / "monitoring.yaml").read_text())
    apply(cluster, [namespace])
    apply(cluster, objects, *DRY)


def test_the_chart_without_helm_would_be_taken_and_names_its_namespace_itself(cluster: LocalCluster) -> None:
    objects = list(yaml.safe_load_all(manifests.render(CHART, CASES["own-store"] | {"crds": {"enabled": True}})))
    assert objects[0]["kind"] == "CustomResourceDefinition"
    apply(cluster, objects, *DRY)
