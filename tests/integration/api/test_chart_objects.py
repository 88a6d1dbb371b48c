"""What the chart renders, said to a real API server."""

import subprocess

import pytest
import yaml

from chart_cases import CASES, FOREIGN, NAMESPACE, case
from collabspace.local.cluster import LocalCluster


@pytest.mark.parametrize("name", CASES)
def test_every_object_would_be_taken(name: str, cluster: LocalCluster) -> None:
    objects = [each for each in case(name) if each["kind"] not in FOREIGN]
    arguments = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-n", NAMESPACE, "-o", "name"]
    told = subprocess.run(
        [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", *arguments, "-f", "-"],
        input=yaml.safe_dump_all(objects),
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "Warning" not in told.stderr
    assert len(told.stdout.splitlines()) == len(objects)
