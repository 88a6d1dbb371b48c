"""kill -9 before and after every write around a promotion: there is one promotion, of the winner's stored result."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from kill_points import KillingProxy, KillPoint, Meant, strike_at_promotion
from operator_harness import GROUPS, IDENTITY, FakeBroker, FakeNode, Teams, until
from replica_harness import Replica
from selection_harness import SELECTIONS, Selections

from collabspace.kube.client import KubeClient, Object
from collabspace.local.cluster import LocalCluster

ONE = [{"name": "linear", "method": "LogisticRegression"}]
# The statuses that the operator writes from the end of the last candidate on, by what they say first.
WRITES = ("Comparing", "Promoting", "Completed")
POINTS = [(write, after) for write in (*WRITES, "alias") for after in (False, True)]


@pytest.fixture(scope="module")
def proxied(
    cluster: LocalCluster, fake_node: FakeNode, broker: FakeBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Replica, KillingProxy]]:
    folder = tmp_path_factory.mktemp("killed")
    proxy = KillingProxy(cluster, cluster.user(IDENTITY, GROUPS), folder)
    process = Replica(proxy.kubeconfig, broker.url, folder / "operator.log")
    # Under its own name it leads again at once.
    process.environment["COLLABSPACE_INSTANCE"] = "killed"
    process.start()
    yield process, proxy
    if process.running():
        process.stop()
    proxy.stop()


@pytest.fixture
async def teams(admin: KubeClient, broker: FakeBroker, proxied: object) -> AsyncIterator[Teams]:
    teams = Teams(admin, broker)
    yield teams
    await teams.remove()


def says(selection: str, reason: str) -> Meant:
    def meant(method: str, target: str, body: Object) -> bool:
        status = body.get("status") if isinstance(body, dict) else None
        return method == "PATCH" and f"/modelselections/{selection}/status" in target and status["reason"] == reason

    return meant


async def test_the_operator_killed_before_and_after_each_write_promotes_once(
    teams: Teams, broker: FakeBroker, proxied: tuple[Replica, KillingProxy]
) -> None:
    process, proxy = proxied
    selections = Selections(teams, broker)
    selections.team = team = await teams.ready()
    for number in range(len(POINTS)):
        await selections.make(name=f"s{number}", candidates=ONE, promotion={"alias": f"best-{number}"})
    for number, (write, after) in enumerate(POINTS):
        name = f"s{number}"
        point = KillPoint(says(name, write), after, lambda: process.stop(signal.SIGKILL))
        if write == "alias":
            strike_at_promotion(broker, point)
        else:
            proxy.point = point
        await selections.score(f"{name}-linear", "0.9")
        async with asyncio.timeout(60):
            await point.done.wait()
        proxy.point = None
        strike_at_promotion(broker, None)
        assert not process.running()
        await asyncio.to_thread(process.start)
        done = await until(
            teams.admin, SELECTIONS.format(team), name, lambda item: item["status"]["reason"] == "Completed"
        )
        status, alias = done["status"], broker.aliases[team, f"best-{number}"]
        assert status["promotion"]["state"] == "Promoted", (write, after)
        assert (len(alias["keys"]), alias["digest"]) == (1, status["winner"]["resultDigest"]), (write, after)
    assert len(broker.promotions) == len(POINTS)
