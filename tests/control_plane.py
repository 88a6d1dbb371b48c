"""A real control plane for every test of a run that asks for one, and its admin."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

import audited_calls
from collabspace.kube import config
from collabspace.kube.client import KubeClient
from collabspace.local import binaries
from collabspace.local.cluster import LocalCluster
from collabspace.local.state import Options


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the control plane's programs, which takes minutes the first time, before the clock of any test runs."""
    if any("cluster" in getattr(item, "fixturenames", ()) for item in session.items):
        binaries.ensure(progress=print)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """The control plane with our kinds and rights, audit log on; neither node nor broker nor operator."""
    cluster = LocalCluster(f"test-{os.getpid()}", tmp_path_factory.mktemp("state"), print)
    try:
        cluster.start_control_plane(Options(audit=True))
        cluster.install()
        yield cluster
    finally:
        cluster.down()
        audited_calls.keep(cluster.audit_log, {item.path for item in request.session.items})
        cluster.down(wipe=True)


@pytest.fixture
async def admin(cluster: LocalCluster) -> AsyncIterator[KubeClient]:
    """The cluster's admin."""
    async with KubeClient(config.load(cluster.kubeconfig)) as client:
        yield client
