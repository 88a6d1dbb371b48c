"""The API server goes away, hangs, refuses and comes back: the operator waits, and goes on where the world stands."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_proxy import ApiProxy
from operator_harness import GROUPS, IDENTITY, FakeBroker, FakeNode, OperatorProcess, Teams, until, wait_until
from replica_harness import Replica
from selection_harness import SELECTIONS, Selections

from collabspace.api import names
from collabspace.kube.client import Object
from collabspace.local.cluster import LocalCluster

APISERVER = "kube-apiserver"
OWN_PATHS = ("/api/v1/nodes", "/api/v1/pods", "/apis/batch/v1/jobs")
PAUSED = "the Lease could not be renewed in time"


async def test_an_operator_without_api_server_stays_alive_and_goes_on_when_it_is_back(
    teams: Teams, cluster: LocalCluster, operator: OperatorProcess
) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, "before", gpu=1)
    await teams.until_reason(team, "before", "Starting")
    told = Told(operator)
    cluster.kill(APISERVER)
    try:
        for name in ("nodes", "pods", "jobs"):
            await told.that(f"watch of {name} broke")
        await told.that(PAUSED)
        assert operator.metric("collabspace_leader") == 0
        assert operator.probe("/livez")[0] == 200
        assert operator.running()
    finally:
        await asyncio.to_thread(cluster.start, APISERVER)
    await teams.task(team, "after", gpu=1)
    await teams.until_reason(team, "after", "WaitingForQuota", 60)
    await teams.end_pod(team, "before", code=70)
    await teams.until_reason(team, "after", "Starting")
    assert operator.metric("collabspace_leader") == 1


async def test_an_operator_started_without_api_server_waits_for_it(
    teams: Teams, cluster: LocalCluster, operator: OperatorProcess
) -> None:
    team = await teams.ready()
    operator.stop()
    await teams.task(team)
    cluster.kill(APISERVER)
    told = Told(operator)
    operator.launch()
    try:
        await told.that("the Lease cannot be read or written")
        status, words = operator.probe("/readyz")
        assert (status, "leadership: the Lease cannot be read or written (0 Unreachable)" in words) == (503, True)
        assert operator.running()
    finally:
        await asyncio.to_thread(cluster.start, APISERVER)
    await asyncio.to_thread(operator.until_ready)
    await teams.until_reason(team, "task", "Starting", 60)


async def test_a_frozen_api_server_is_outlived_and_nothing_is_written_without_the_lease(
    teams: Teams, cluster: LocalCluster, operator: OperatorProcess
) -> None:
    team = await teams.ready()
    await teams.task(team, "before")
    await teams.until_reason(team, "before", "Starting")
    pid, told = cluster.pid(APISERVER), Told(operator)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await told.that(PAUSED)
    finally:
        os.kill(pid, signal.SIGCONT)
    await teams.task(team, "after")
    await teams.until_reason(team, "after", "Starting", 60)
    assert operator.running()


@pytest.fixture
def proxied(
    cluster: LocalCluster, fake_node: FakeNode, broker: FakeBroker, operator: OperatorProcess, tmp_path: Path
) -> Iterator[tuple[ApiProxy, Replica]]:
    """An operator that leads and reaches the API server through a proxy only; the module's own is stopped meanwhile."""
    operator.stop()
    proxy = ApiProxy(cluster, cluster.user(IDENTITY, GROUPS), tmp_path)
    replica = Replica(proxy.kubeconfig, broker.url, tmp_path / "proxied.log")
    try:
        replica.start()
        yield proxy, replica
    finally:
        replica.end()
        proxy.stop()
        operator.start()


async def test_bursts_of_refusals_are_outlived_by_every_watch(teams: Teams, proxied: tuple[ApiProxy, Replica]) -> None:
    proxy, replica = proxied
    team = await teams.ready()
    for status in (401, 503):
        proxy.refuse(status)
        await asyncio.to_thread(wait_until, lambda: all_refused(proxy), replica)
        proxy.refuse(None)
        await teams.task(team, f"after-{status}")
        await teams.until_reason(team, f"after-{status}", "Starting", 60)


async def test_a_name_that_was_taken_before_the_operator_could_hear_of_it_is_looked_up(
    teams: Teams, proxied: tuple[ApiProxy, Replica], broker: FakeBroker
) -> None:
    selections = Selections(teams, broker)
    selections.team = await teams.ready()
    # Its watch is open by now: what it is told of this one it was not told by a list.
    await teams.task(selections.team, "before")
    await teams.until_reason(selections.team, "before", "Starting")
    proxied[0].deafen(lambda target: f"/{names.COLLAB_TASKS}" in target, ever=True)
    await teams.task(selections.team, "sel-linear")
    await selections.make()

    def conflicts(item: Object) -> bool:
        return "NameConflict" in json.dumps(item.get("status", {}))

    await until(teams.admin, SELECTIONS.format(selections.team), "sel", conflicts)


def all_refused(proxy: ApiProxy) -> bool:
    """Each watch of our own was refused, and kopf often enough to lose patience if it could.

    After a 401 everything in kopf waits together for one new login, which whatever it asks may be the first to try:
    its watches, or any path of its discovery.
    """
    kopf = sum(number for path, number in proxy.refused.items() if path not in OWN_PATHS and "/leases/" not in path)
    return kopf >= 3 and all(proxy.refused[path] for path in OWN_PATHS)


class Told:
    """What the operator logs from now on."""

    def __init__(self, operator: OperatorProcess) -> None:
        self._operator = operator
        self._start = operator.log.stat().st_size

    async def that(self, words: str) -> None:
        await asyncio.to_thread(
            wait_until, lambda: words in self._operator.log.read_text()[self._start :], self._operator
        )
