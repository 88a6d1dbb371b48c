"""One operator process per module under its own account, a fake broker beside it, and a node to hold pods."""

import socket
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from operator_harness import GROUPS, IDENTITY, Audit, FakeBroker, FakeNode, OperatorProcess, Store, Teams, executed

from collabspace.kube.client import KubeClient
from collabspace.local.cluster import LocalCluster
from forked_programs import ForkServer


@pytest.fixture(scope="session", autouse=True)
def forked() -> Iterator[None]:
    """Operators are forked from one that has imported all it needs; in tests of whole clusters they start for real."""
    server = ForkServer("collabspace.controller.main", warnings="default")
    OperatorProcess.spawn = staticmethod(server.spawn)
    yield
    OperatorProcess.spawn = staticmethod(executed)
    server.close()


@pytest.fixture(scope="module")
def fake_node(cluster: LocalCluster) -> Iterator[FakeNode]:
    name = f"operator-{uuid.uuid4().hex[:6]}"
    node = FakeNode(cluster.kubeconfig, name, {"cpu": "64", "memory": "256Gi", "nvidia.com/gpu": "8"})
    node.start()
    yield node
    node.stop()


@pytest.fixture(scope="module")
def broker() -> Iterator[FakeBroker]:
    broker = FakeBroker()
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def operator(
    cluster: LocalCluster, fake_node: FakeNode, broker: FakeBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    port = free_port()
    environment = {
        "COLLABSPACE_KUBECONFIG": str(cluster.user(IDENTITY, GROUPS)),
        "COLLABSPACE_BROKER_URL": broker.url,
        "COLLABSPACE_METRICS_PORT": str(port),
        "COLLABSPACE_INSTANCE": "tested",
        "PYTHONWARNINGS": "default",
    }
    process = OperatorProcess(environment, tmp_path_factory.mktemp("operator") / "operator.log", port)
    process.start()
    yield process
    if process.running():
        assert process.stop() == 0, process.log.read_text()[-4000:]


@pytest.fixture
async def teams(admin: KubeClient, broker: FakeBroker, operator: OperatorProcess) -> AsyncIterator[Teams]:
    teams = Teams(admin, broker)
    yield teams
    await teams.remove()
    assert operator.running(), operator.log.read_text()[-4000:]


@pytest.fixture
def store(cluster: LocalCluster) -> Store:
    return Store(cluster)


@pytest.fixture
def audit(cluster: LocalCluster, admin: KubeClient) -> Audit:
    return Audit(cluster.audit_log, admin)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
