"""The whole product on a real node by `helm install` alone: the demo in containers, behind enforced policies, through
upgrade, rollback and uninstall. The tests are one story in the order in which they stand."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lab_node
import pytest
from lab_install import NAMESPACE, VALUES, helm

import debian_packages
from collabspace.api import names
from collabspace.cli import broker
from collabspace.cli.options import Where
from collabspace.client.errors import BrokerError
from prometheus_server import Prometheus

pytestmark = [pytest.mark.timeout(3600), pytest.mark.usefixtures("installed")]

DEMO = lab_node.ROOT / "examples" / "hospitals" / "demo.py"
TEAMS = ("hospital-a", "hospital-b", "research-lab", "outsider")
LONG = "long-one"
MEGABYTE = 1_000_000
HEARD_SECONDS = 180.0
PORTS = {"operator": 8080, "broker": 8081}
KUBELET_KEYS = {"ca": "ca.crt", "cert": "apiserver-kubelet.crt", "key": "apiserver-kubelet.key"}
OURS = "shareddatasets,collabtasks,modelselections"
KINDS = "pods,jobs,configmaps,secrets,serviceaccounts,networkpolicies,persistentvolumeclaims,shareddatasets,collabtasks"
REACH = """
import json, socket, sys
def reach(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
        return "reached"
    except OSError as error:
        return type(error).__name__
print(json.dumps({f"{host}:{port}": reach(host, port) for host, port in json.loads(sys.argv[1])}))
"""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus | None]:
    """Beside the demo, on the node itself: it reads operator, broker and kubelet. None where there is no Prometheus."""
    root = debian_packages.PROMETHEUS.root()
    if root is None:
        yield None
        return
    keys = lab_node.LAB / "pki"
    node = {
        "scheme": "https",
        "tls_config": {f"{name}_file": str(keys / file) for name, file in KUBELET_KEYS.items()},
        "static_configs": [{"targets": [f"{lab_node.ADDRESS}:10250"], "labels": {"target": "node"}}],
    }
    jobs = [node | {"job_name": path, "metrics_path": path} for path in ("/metrics", "/metrics/cadvisor")]
    server = Prometheus(root, tmp_path_factory.mktemp("prometheus"), jobs)
    pods = {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in items("pods", "-n", NAMESPACE)}
    server.scrape({name: f"{pods[name]['status']['podIP']}:{port}" for name, port in PORTS.items()})
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def demo(prometheus: Prometheus | None) -> subprocess.CompletedProcess[str]:
    """The demo of the README, on this cluster, played once."""
    command = [sys.executable, str(DEMO), "--kubeconfig", str(lab_node.kubeconfig()), "--cpu", "700m"]
    return subprocess.run(
        command,
        env=lab_node.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1800,
    )


@pytest.fixture(scope="module")
def long_task(demo: subprocess.CompletedProcess[str]) -> str:
    """A task that trains for longer than all that follows; its pod's name."""
    small = ("--set", "epochs=200", "--set", "hiddenSize=64", "--set", "vocabularySize=400")
    asked = ("--dataset", "a=hospital-a/notes", "--gpus", "1", "--cpu", "500m", "--memory", "4Gi", "-n", "research-lab")
    method = ("--task", "TokenClassification", "--method", "FullFineTuning", "--random-init")
    collab("submit", LONG, *method, *small, *asked)
    lab_node.run("kubectl", "wait", "--for=condition=Running", f"ctask/{LONG}", "-n", "research-lab", "--timeout=120s")
    (pod,) = items("pods", "-n", "research-lab", "-l", f"collabspace.io/task={LONG}")
    return str(pod["metadata"]["name"])


def collab(*arguments: str) -> str:
    return lab_node.run(str(Path(sys.executable).parent / "kubectl-collab"), *arguments)


def items(*what: str) -> list[dict[str, Any]]:
    return json.loads(lab_node.run("kubectl", "get", *what, "-o", "json"))["items"]


def test_the_whole_demo_runs_through_the_chart(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, demo.stdout[-6000:]
    assert "✗" not in demo.stdout


def test_every_namespace_keeps_to_restricted_pod_security(demo: subprocess.CompletedProcess[str]) -> None:
    for name in (NAMESPACE, *TEAMS):
        namespace = json.loads(lab_node.run("kubectl", "get", "namespace", name, "-o", "json"))
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted", name
    refused = [event for event in items("events", "-A") if "violates PodSecurity" in event.get("message", "")]
    assert not refused, refused


def test_nothing_of_the_platform_started_twice(demo: subprocess.CompletedProcess[str]) -> None:
    states = [state for pod in items("pods", "-n", NAMESPACE) for state in pod["status"]["containerStatuses"]]
    assert len(states) == 2
    assert [state["restartCount"] for state in states] == [0, 0]


def test_prometheus_reads_operator_broker_and_node_during_the_demo(
    prometheus: Prometheus | None, demo: subprocess.CompletedProcess[str]
) -> None:
    if prometheus is None:
        pytest.skip("no Prometheus is here: apt does not offer it")
    up = {(each["metric"]["target"], each["metric"]["job"]): each["value"][1] for each in prometheus.ask("up")}
    assert set(up.values()) == {"1"}, up
    assert {target for target, _ in up} == {"operator", "broker", "node"}
    used = prometheus.ask('max_over_time(container_memory_working_set_bytes{namespace="research-lab"}[1h])')
    assert used, "the node says nothing of the trainers"
    fired = prometheus.ask('max_over_time(ALERTS{alertstate="firing"}[1h])')
    assert {each["metric"]["alertname"] for each in fired} <= {"CollabspaceGrantExpiring"}


def test_the_operator_image_is_small_and_has_no_torch() -> None:
    inside = ("kubectl", "exec", "-n", NAMESPACE, "deployment/collabspace-operator", "--")
    size = int(lab_node.run(*inside, "du", "-s", "--block-size=1", "/opt").split()[0])
    assert size < 250 * MEGABYTE, f"{size / MEGABYTE:.0f} MB beyond the base"
    assert "No module named 'torch'" in lab_node.run(*inside, "python", "-c", "import torch", fails=True)


def test_a_trainer_reaches_the_broker_and_nothing_else(long_task: str) -> None:
    pods = items("pods", "-n", NAMESPACE) + items("pods", "-n", "kube-system")
    address = {re.sub(r"-[^-]+-[^-]+$", "", pod["metadata"]["name"]): pod["status"]["podIP"] for pod in pods}
    doors = [(service("collabspace-broker", NAMESPACE), 8443), (service("kube-dns", "kube-system"), 53)]
    closed = [
        (address["collabspace-broker"], 8081),
        (address["collabspace-operator"], 8080),
        (address["coredns"], 8080),
        (service("kubernetes", "default"), 443),
        (lab_node.ADDRESS, 6443),
        (lab_node.ADDRESS, 10250),
    ]
    asked = json.dumps([*doors, *closed])
    found = json.loads(lab_node.run(*inside(long_task), sys.executable, "-c", REACH, asked))
    reached = {door for door, answer in found.items() if answer == "reached"}
    assert reached == {f"{host}:{port}" for host, port in doors}
    # The same doors from a place without policies: they are there.
    outside = json.loads(lab_node.run(sys.executable, "-c", REACH, asked))
    assert set(outside.values()) == {"reached"}, outside


def service(name: str, namespace: str) -> str:
    return lab_node.run("kubectl", "get", "service", name, "-n", namespace, "-o", "jsonpath={.spec.clusterIP}")


def inside(pod: str) -> tuple[str, ...]:
    """Runs a program of the node in the pod's network: nobody, admins included, may run one in the pod itself."""
    container = facts(pod)[1].rpartition("/")[2]
    for cgroup in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):  # a process may be gone by now
            if container in cgroup.read_text():
                return ("nsenter", f"--net={cgroup.parent}/ns/net")
    raise AssertionError(f"no process of {pod} on this node")


def test_upgrade_and_rollback_restart_no_trainer_and_keep_the_authority(long_task: str) -> None:
    before, authority, percent = facts(long_task), lab_node.run(*secret()), progress()
    lab_node.run(*helm("upgrade", "--set", "operator.workers=8", "--set", "broker.requestsPerSecond=99"), stdin=VALUES)
    rolled = {pod["metadata"]["uid"] for pod in items("pods", "-n", NAMESPACE)}
    lab_node.run("helm", "rollback", "collabspace", "-n", NAMESPACE, "--wait", "--timeout", "4m")
    assert rolled.isdisjoint(pod["metadata"]["uid"] for pod in items("pods", "-n", NAMESPACE))
    assert facts(long_task) == before
    assert lab_node.run(*secret()) == authority
    deadline = time.monotonic() + HEARD_SECONDS
    while progress() <= percent:  # the trainer goes on, and the broker that came back hears of it
        assert time.monotonic() < deadline, f"still at {percent} %"
        time.sleep(1)  # noqa: TID251 a pace


def facts(pod: str) -> tuple[str, str, int]:
    """Who runs there: another uid, or a start more, would be another trainer."""
    found = json.loads(lab_node.run("kubectl", "get", "pod", pod, "-n", "research-lab", "-o", "json"))
    (container,) = found["status"]["containerStatuses"]
    return found["metadata"]["uid"], container["containerID"], container["restartCount"]


def secret() -> tuple[str, ...]:
    return ("kubectl", "get", "secret", "collabspace-broker-tls", "-n", NAMESPACE, "-o", "jsonpath={.data.ca\\.crt}")


def progress() -> int:
    """Per cent, as the broker knows it from the trainer."""
    where = Where(namespace="research-lab", kubeconfig=lab_node.kubeconfig())
    with broker.connect(where, names.READER_ACCOUNT) as client:
        try:
            found = client.progress("research-lab", LONG).progress
        except BrokerError as error:
            assert error.reason == "NoProgress", error
            return 0
    return found.percent if found else 0


def test_uninstall_leaves_nothing_terminating_and_loses_nothing(long_task: str) -> None:
    lab_node.run("kubectl", "delete", "ctask", LONG, "-n", "research-lab", "--timeout=60s")
    kept = {item["metadata"]["uid"] for item in items(OURS, "-A")}
    ledger = len(collab("ledger", "list", "notes", "-n", "hospital-a", "--limit", "500", "-o", "json"))
    lab_node.run("helm", "uninstall", "collabspace", "-n", NAMESPACE, "--wait", "--timeout", "3m")
    lab_node.run("kubectl", "wait", "--for=delete", "pods", "--all", "-n", NAMESPACE, "--timeout=90s")
    # The trainer saves its work first; nobody of ours is there to see it.
    lab_node.run("kubectl", "wait", "--for=delete", f"pod/{long_task}", "-n", "research-lab", "--timeout=90s")
    going = [item["metadata"]["name"] for item in items(KINDS, "-A") if item["metadata"].get("deletionTimestamp")]
    assert not going
    assert {item["metadata"]["uid"] for item in items(OURS, "-A")} == kept
    lab_node.run(*helm("install"), stdin=VALUES)
    assert len(collab("ledger", "list", "notes", "-n", "hospital-a", "--limit", "500", "-o", "json")) >= ledger
    assert "intact" in collab("ledger", "verify", "-n", "hospital-a")


def test_after_an_uninstall_teams_can_be_deleted_whole(long_task: str) -> None:
    lab_node.run("helm", "uninstall", "collabspace", "-n", NAMESPACE, "--wait", "--timeout", "3m")
    lab_node.run("kubectl", "delete", "namespace", *TEAMS, "--timeout=120s")
    assert not [item for item in items("namespaces") if item["metadata"].get("deletionTimestamp")]
