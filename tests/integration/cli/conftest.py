"""People at a shell, teams made as an admin makes them, and the broker as `collabspace local up` starts it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from cli_harness import Person, dataset_body, fresh

from collabspace.api import names
from collabspace.cli.cluster import path_of
from collabspace.kube.client import KubeClient
from collabspace.local.cluster import LocalCluster

Team = Callable[..., Awaitable[str]]


@pytest.fixture
def chief(cluster: LocalCluster) -> Person:
    """The cluster's admin."""
    return Person(cluster.kubeconfig)


@pytest.fixture
async def team(chief: Person, admin: KubeClient) -> AsyncIterator[Team]:
    """Makes teams with `teams add`; they are deleted at the end, without waiting for it."""
    made: list[str] = []

    async def make(prefix: str, *options: str) -> str:
        name = fresh(prefix)
        made.append(name)
        await chief.did("teams", "add", name, *options)
        return name

    yield make
    for name in made:
        await admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
async def hospital(team: Team, admin: KubeClient) -> str:
    """A team with an empty dataset `notes`."""
    name = await team("hospital")
    await admin.create(path_of(names.SHARED_DATASETS, name), dataset_body(name))
    return name


@pytest.fixture(scope="session")
def broker(cluster: LocalCluster) -> Iterator[LocalCluster]:
    """The broker runs, at the address that every team's ConfigMap names."""
    cluster.start("broker")
    yield cluster
    cluster.stop("broker")
