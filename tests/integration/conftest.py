"""A namespace of its own for each test, and an S3 server."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from radosgw_server import RadosGateway

import debian_packages
from collabspace.kube.client import KubeClient


@pytest.fixture
async def namespace(admin: KubeClient) -> AsyncIterator[str]:
    """A fresh namespace in which pods can be created; deleted at the end, without waiting for it."""
    async with fresh_namespace(admin, {}) as name:
        yield name


@pytest.fixture
async def restricted_namespace(admin: KubeClient) -> AsyncIterator[str]:
    """The same with the strictest Pod Security level enforced."""
    async with fresh_namespace(admin, {"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield name


@contextlib.asynccontextmanager
async def fresh_namespace(admin: KubeClient, labels: dict[str, str]) -> AsyncIterator[str]:
    name = f"t-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    await admin.create("/api/v1/namespaces", body)
    try:
        await _default_account(admin, name)
        yield name
    finally:
        await admin.delete(f"/api/v1/namespaces/{name}")


async def _default_account(admin: KubeClient, namespace: str) -> None:
    """Pods are refused until the controller manager has made the account they run as."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    only = {"fieldSelector": "metadata.name=default"}
    accounts = await admin.list(path, only)
    if accounts["items"]:
        return
    async for event in admin.watch(path, accounts["metadata"]["resourceVersion"], only):
        if event["type"] == "ADDED":
            return
    raise AssertionError(f"no default service account in {namespace}: the controller manager does not work")


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RadosGateway]:
    """A real S3 server, where `make radosgw` could fetch one."""
    root = debian_packages.RADOSGW.root()
    if root is None:
        pytest.skip("radosgw is not here: `make radosgw` says why")
    server = RadosGateway(root, tmp_path_factory.mktemp("radosgw"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
