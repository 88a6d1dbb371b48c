"""The platform's processes on the embedded cluster: up with their accounts; containers follow the node."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from collabspace.api import names
from collabspace.local import installation, platform
from collabspace.local.certificates import Credential
from collabspace.local.cluster import LocalCluster
from collabspace.local.component import fetch
from collabspace.local.state import Options


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cluster: LocalCluster) -> Iterator[LocalCluster]:
    """A cluster of its own with a node that runs the shell; the shared one is asked for so that programs are built."""
    whole = LocalCluster("whole", tmp_path_factory.mktemp("whole"), print)
    try:
        whole.start_control_plane(Options(gpus=3, arguments={"node": ("--allow-test-image",)}))
        whole.install()
        whole.start("broker")
        whole.start("node")
        yield whole
    finally:
        whole.down(wipe=True)


def kubectl(cluster: LocalCluster, *arguments: str, given: dict[str, object] | None = None) -> str:
    return installation.run(cluster.kubectl, cluster.kubeconfig, list(arguments), [given] if given else [])


def shims(cluster: LocalCluster) -> list[int]:
    """Process ids of containers' shims that are alive."""
    files = (cluster.state / "node").rglob("shim.json")
    pids = [int(json.loads(file.read_text())["pid"]) for file in files]
    return [pid for pid in pids if is_shim(pid)]


def is_shim(pid: int) -> bool:
    try:
        return b"shim.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def run_sleeper(cluster: LocalCluster, name: str) -> None:
    container = {"name": "main", "image": "collabspace/test-shell", "command": ["/bin/sh", "-c", "echo up; sleep 600"]}
    spec = {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 1}
    given = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    kubectl(cluster, "apply", "-f", "-", given=given)
    kubectl(cluster, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s")


def test_the_node_offers_the_gpus_that_were_asked_for(whole: LocalCluster) -> None:
    node = json.loads(kubectl(whole, "get", "node", platform.NODE_NAME, "--output=json"))
    assert node["status"]["capacity"][names.GPU_RESOURCE] == "3"


def test_the_brokers_address_is_published_with_the_authority_to_trust(whole: LocalCluster, tmp_path: Path) -> None:
    where = ("--namespace", names.SYSTEM_NAMESPACE, "configmap", names.BROKER_CONFIG_MAP, "--output=json")
    data = json.loads(kubectl(whole, "get", *where))["data"]
    authority = tmp_path / "ca.crt"
    authority.write_text(data[names.BROKER_CA_KEY])
    assert fetch(f"{data[names.BROKER_URL_KEY]}/readyz", authority, None).status_code == httpx.codes.OK


def test_logs_come_through_the_api_server_and_only_with_its_credential(whole: LocalCluster) -> None:
    run_sleeper(whole, "talks")
    assert kubectl(whole, "logs", "talks") == "up\n"
    # A person's certificate, although the cluster's authority signed it, opens no connection to the node.
    whole.user("ann")
    ann = Credential(whole.state / "keys" / "user-ann.crt", whole.state / "keys" / "user-ann.key")
    node = json.loads(kubectl(whole, "get", "node", platform.NODE_NAME, "--output=json"))
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    with pytest.raises(httpx.HTTPError, match=r"(?i)alert|ssl|disconnected|reset"):
        fetch(f"https://127.0.0.1:{port}/containerLogs/default/talks/main", whole.authority, ann)


def test_containers_go_on_while_the_node_restarts(whole: LocalCluster) -> None:
    run_sleeper(whole, "stays")
    before, agent = shims(whole), whole.pid("node")
    assert before
    whole.restart("node")
    assert shims(whole) == before
    assert whole.pid("node") != agent


def test_containers_end_with_the_cluster_even_after_a_crash_of_the_node(whole: LocalCluster) -> None:
    run_sleeper(whole, "orphan")
    whole.kill("node")
    assert shims(whole)
    whole.down()
    assert shims(whole) == []
    assert [entry.missing for entry in whole.status()] == ["not running"] * 6
