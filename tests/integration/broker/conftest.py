"""A broker process against the shared control plane, a world to build teams in, and one published dataset."""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from broker_harness import NODE, BrokerProcess, World
from published_notes import Published, free_port, pushed
from radosgw_server import RadosGateway
from store_places import FOLDER, REDIRECT, STORE, Folder, Place, Prefix

import debian_packages
from collabspace.api import names
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError
from collabspace.local import installation
from collabspace.local.certificates import LOOPBACK, Authority, Subject
from collabspace.local.cluster import LocalCluster
from forked_programs import ForkServer

# The databases of ledgers, as the unit tests know them.
sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "broker"))
POLICY_BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{names.SYSTEM_NAMESPACE}", "system:authenticated")


@pytest.fixture(scope="package", autouse=True)
def unguarded(cluster: LocalCluster) -> Iterator[None]:
    """The broker must refuse what is forged by itself: here no admission policy keeps anybody from forging.

    They are tested in tests/integration/api/test_guards.py, and back in force when the last test of the broker ends.
    """

    async def take_away() -> None:
        async with KubeClient(config.load(cluster.kubeconfig)) as admin:
            for body in installation.manifests():
                if body["kind"] == "ValidatingAdmissionPolicyBinding":
                    await admin.delete(f"{POLICY_BINDINGS}/{body['metadata']['name']}")

    async def is_unguarded() -> bool:
        path = f"/apis/batch/v1/namespaces/{names.SYSTEM_NAMESPACE}/jobs"
        async with KubeClient(config.load(cluster.kubeconfig)) as admin:
            try:
                await admin.create(path, installation.FORBIDDEN_JOB, {"dryRun": "All"})
            except KubeError:
                return False
            return True

    with asyncio.Runner() as runner:
        runner.run(take_away())
        deadline = time.monotonic() + 60
        while not runner.run(is_unguarded()):
            assert time.monotonic() < deadline, "the policies go on without their bindings"
            threading.Event().wait(0.2)
    yield
    cluster.install()


@pytest.fixture(scope="session")
def make_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Place]]:
    """Empty stores of the kind that this run is about."""
    if STORE == FOLDER:
        yield lambda: Folder(tmp_path_factory.mktemp("store") / "store")
        return
    assert debian_packages.RADOSGW.root() is not None, (
        "COLLABSPACE_TEST_STORE asks for S3: `make radosgw` says why it is away"
    )
    yield request.getfixturevalue("make_s3_place")


@pytest.fixture(scope="session")
def make_s3_place(radosgw: RadosGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Place]]:
    """Empty stores in S3, whatever the run is about."""
    made: list[Prefix] = []

    def make() -> Place:
        made.append(Prefix(radosgw, tmp_path_factory.mktemp("keys")))
        return made[-1]

    yield make
    for place in made:
        place.close()


@pytest.fixture(scope="session", autouse=True)
def template() -> Iterator[ForkServer]:
    """What brokers are forked from; it makes itself ready while the control plane starts."""
    # Enforcement brings what S3 needs.
    template = ForkServer("collabspace.broker.main", "collabspace.broker.enforcement")
    yield template
    template.close()


@pytest.fixture(scope="session")
def start_broker(
    template: ForkServer,
    cluster: LocalCluster,
    make_place: Callable[[], Place],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., BrokerProcess]]:
    """Brokers with the rights of the broker's own account; they end with the run. Settings may be added.

    Each has a store of its own, of the kind that the run is about, unless it is told which.
    """
    kubeconfig = cluster.user(f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{names.BROKER_ACCOUNT}", GROUPS)
    authority = Authority(tmp_path_factory.mktemp("authority"), "broker")
    serving = authority.issue(Subject(names.BROKER_ACCOUNT, hosts=LOOPBACK))
    started: list[BrokerProcess] = []

    def make(place: Place | None = None, **settings: str) -> BrokerProcess:
        reads = {"COLLABSPACE_BROKER_READS": "Redirect"} if place is None and STORE == REDIRECT else {}
        place = place or make_place()
        folder = tmp_path_factory.mktemp("broker")
        port = free_port()
        environment = {
            "COLLABSPACE_KUBECONFIG": str(kubeconfig),
            "COLLABSPACE_BROKER_PORT": str(port),
            "COLLABSPACE_BROKER_METRICS": f"127.0.0.1:{free_port()}",
            "COLLABSPACE_BROKER_TLS_CERT": str(serving.cert),
            "COLLABSPACE_BROKER_TLS_KEY": str(serving.key),
            "COLLABSPACE_BROKER_LEDGER": f"sqlite:///{folder / 'ledger.db'}",
            **place.settings(folder),
            **reads,
            **settings,
        }
        url, ca = f"https://127.0.0.1:{port}", authority.file.read_text()
        broker = BrokerProcess(environment, folder, url, ca, place=place, spawn=template.spawn)
        broker.start()
        started.append(broker)
        return broker

    yield make
    for broker in started:
        broker.stop()


@pytest.fixture(scope="session")
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    """The broker that most tests share."""
    return start_broker()


@pytest.fixture
def make_broker(start_broker: Callable[..., BrokerProcess]) -> Iterator[Callable[..., BrokerProcess]]:
    """Brokers of one test: none goes on to ask and sweep while others are tested."""
    made: list[BrokerProcess] = []

    def make(place: Place | None = None, **settings: str) -> BrokerProcess:
        made.append(start_broker(place, **settings))
        return made[-1]

    yield make
    for broker in made:
        broker.stop(signal.SIGKILL)


@pytest.fixture
async def world(admin: KubeClient) -> AsyncIterator[World]:
    """Teams are deleted at the end, their pods at once since no kubelet will end them."""
    try:
        await admin.create("/api/v1/nodes", {"metadata": {"name": NODE}})
    except KubeError as error:
        assert error.status == 409
    world = World(admin)
    yield world
    for namespace in world.made:
        pods = await admin.list(f"/api/v1/namespaces/{namespace}/pods")
        for pod in pods["items"]:
            await admin.delete(f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}", grace_seconds=0)
        await admin.delete(f"/api/v1/namespaces/{namespace}")


@pytest.fixture
async def published(world: World, broker: BrokerProcess, tmp_path: Path) -> Published:
    """A hospital that has pushed its notes."""
    return await pushed(world, broker, tmp_path)


@pytest.fixture(scope="session")
def hospital(cluster: LocalCluster, broker: BrokerProcess, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The same, shared by tests that change nothing but its grants."""

    async def build() -> Published:
        async with KubeClient(config.load(cluster.kubeconfig)) as admin:
            return await pushed(World(admin), broker, tmp_path_factory.mktemp("hospital"))

    with asyncio.Runner() as runner:
        return runner.run(build())
