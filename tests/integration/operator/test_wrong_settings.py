"""An operator that is told what can never be right ends with one line; what is only missing it waits for."""

import subprocess
import sys
from pathlib import Path

import pytest
from operator_harness import GROUPS, IDENTITY, OperatorProcess, wait_until
from replica_harness import Replica

from collabspace.local.cluster import LocalCluster


@pytest.mark.parametrize(
    ("name", "value"),
    [("BROKER_URL", "broker:8443"), ("WORKERS", "many"), ("KUBECONFIG", "/nowhere"), ("METRICS_HOST", "192.0.2.1")],
)
def test_a_setting_that_can_never_be_right_ends_the_operator_with_one_line(
    cluster: LocalCluster, name: str, value: str
) -> None:
    environment = {
        "COLLABSPACE_KUBECONFIG": str(cluster.kubeconfig),
        "COLLABSPACE_BROKER_URL": "https://127.0.0.1:9",
        "COLLABSPACE_METRICS_PORT": "0",
        f"COLLABSPACE_{name}": value,
    }
    command = [sys.executable, "-m", "collabspace.controller.main"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    (line,) = [each for each in done.stderr.splitlines() if not each.startswith("{")]
    told = "METRICS_PORT" if name == "METRICS_HOST" else name
    assert (done.returncode, line.startswith(f"collabspace-operator: COLLABSPACE_{told}: ")) == (2, True), line


def test_the_brokers_authority_may_come_late(cluster: LocalCluster, tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    operator = Replica(cluster.user(IDENTITY, GROUPS), "https://127.0.0.1:9", tmp_path / "operator.log")
    operator.environment["COLLABSPACE_BROKER_CA_FILE"] = str(authority)
    operator.start()
    try:
        waits_for(operator, f"COLLABSPACE_BROKER_CA_FILE: {authority} holds no certificates in PEM form (No such file")
        assert operator.probe("/livez")[0] == operator.probe("/readyz")[0] == 200, "tasks go on with what is known"
        authority.write_bytes(cluster.authority.read_bytes())
        waits_for(operator, "the broker's feed: ")
    finally:
        operator.end()


def waits_for(operator: OperatorProcess, words: str) -> None:
    wait_until(lambda: words in operator.log.read_text(), operator)
