"""Two operators on one cluster: one leads, the other stands by warm, and never do both write."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from operator_harness import GROUPS, IDENTITY, JOBS, FakeBroker, FakeNode, Teams, until
from replica_harness import LEASE, LEASES, Pair, Replica, holder, out_of_turn, until_holds, writes

from collabspace.kube import clock
from collabspace.kube.client import KubeClient
from collabspace.local.cluster import LocalCluster

BURST = 20


@pytest.fixture(scope="module")
def pair(
    cluster: LocalCluster, fake_node: FakeNode, broker: FakeBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder, kubeconfig = tmp_path_factory.mktemp("replicas"), cluster.user(IDENTITY, GROUPS)
    pair = Pair(*(Replica(kubeconfig, broker.url, folder / f"{name}.log") for name in ("one", "two")))
    yield pair
    pair.end()


@pytest.fixture
async def teams(admin: KubeClient, broker: FakeBroker) -> AsyncIterator[Teams]:
    teams = Teams(admin, broker)
    yield teams
    await teams.remove()


@pytest.fixture
def since(cluster: LocalCluster) -> int:
    """The end of the audit log before the test."""
    return cluster.audit_log.stat().st_size


async def test_the_standby_is_warm_and_takes_over_from_a_killed_leader(
    pair: Pair, teams: Teams, admin: KubeClient, cluster: LocalCluster, since: int
) -> None:
    leader, standby = await asyncio.to_thread(pair.roles)
    assert standby.probe("/readyz") == (200, "ok\n")
    assert standby.words("leadership") == f"standing by, {leader.identity} leads"
    assert standby.words("caches") == "filled"
    assert standby.metric("collabspace_leader") == 0
    team = await teams.ready()
    await teams.task(team, "before")
    await teams.until_reason(team, "before", "Starting")
    leader.stop(signal.SIGKILL)
    await teams.task(team, "after")
    await teams.until_reason(team, "after", "Starting", 60)
    assert standby.leads()
    assert {write.process for write in writes(cluster.audit_log, since)} >= {standby.identity}
    assert out_of_turn(writes(cluster.audit_log, since)) == []


async def test_a_frozen_leader_that_thaws_writes_nothing_and_ends(
    pair: Pair, teams: Teams, admin: KubeClient, cluster: LocalCluster, since: int
) -> None:
    leader, standby = await asyncio.to_thread(pair.roles)
    frozen = leader.identity
    team = await teams.ready()
    await asyncio.gather(*(teams.task(team, f"task-{number}") for number in range(BURST)))
    listing = await admin.list(JOBS.format(team))
    if not listing["items"]:
        await anext(aiter(admin.watch(JOBS.format(team), listing["metadata"]["resourceVersion"])))
    leader.freeze()
    await teams.task(team, "after")
    await teams.until_reason(team, "after", "Starting", 60)
    thawed = clock.now()
    leader.thaw()
    assert await asyncio.to_thread(leader.wait) == 1
    assert f"{standby.identity} leads now" in leader.log.read_text().splitlines()[-1]
    for number in range(BURST):
        await teams.until_reason(team, f"task-{number}", "Starting")

    def jobs() -> list[str]:
        made = writes(cluster.audit_log, since)
        return [write.name for write in made if (write.verb, write.what) == ("create", "jobs")]

    # The audit log may be a moment behind the watch.
    async with asyncio.timeout(30):
        while len(jobs()) <= BURST:  # noqa: ASYNC110 a file has no event
            await asyncio.sleep(0.1)
    found = writes(cluster.audit_log, since)
    assert out_of_turn(found) == []
    assert [write for write in found if write.process == frozen and write.received > thawed] == []
    assert len(jobs()) == len(set(jobs())) == BURST + 1


async def test_a_leader_that_is_stopped_hands_over_at_once(pair: Pair, teams: Teams, admin: KubeClient) -> None:
    leader, standby = await asyncio.to_thread(pair.roles)
    lease = await until_holds(admin, leader.identity)
    team = await teams.ready()
    await teams.task(team, "before")
    next_identity = standby.identity
    assert await asyncio.to_thread(leader.stop) == 0
    seen: list[str] = []
    only = {"fieldSelector": f"metadata.name={LEASE}"}
    async for event in admin.watch(LEASES, lease["metadata"]["resourceVersion"], only):
        if event["type"] == "MODIFIED":
            seen.append(holder(event["object"]))
            if seen[-1] == next_identity:
                break
    assert seen[-2:] == ["", next_identity]
    await until(admin, JOBS.format(team), "before-1", lambda job: bool(job))
    await teams.until_reason(team, "before", "Starting")


async def test_a_standby_that_is_stopped_takes_nothing_with_it(pair: Pair, teams: Teams) -> None:
    leader, standby = await asyncio.to_thread(pair.roles)
    assert await asyncio.to_thread(standby.stop) == 0
    team = await teams.ready()
    await teams.task(team)
    await teams.until_reason(team, "task", "Starting")
    assert leader.leads()
