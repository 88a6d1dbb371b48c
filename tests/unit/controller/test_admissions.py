"""The admission queue over the pure pass: reservations, wake-ups, and what is told how often."""

from collections.abc import Iterable
from typing import Any

import pytest

from collabspace.api import names
from collabspace.api.resource import ObjectMeta
from collabspace.controller import admissions
from collabspace.controller.admissions import Admissions, _rest_after
from collabspace.controller.queue import KeyQueue, WorkKey
from collabspace.controller.world import ADMISSION_KEY, TASK, World
from collabspace.core.admission import Decision, Verdict, Waiting, decide
from collabspace.core.plan import Queued
from collabspace.core.quantity import Amount

TEAM = "team"
ONE_GPU = Amount(1, 1000, 2**30)


def namespace(gpus: str, version: int = 1) -> dict[str, Any]:
    meta = {"name": TEAM, "uid": "uid-team", "resourceVersion": str(version)}
    return {"metadata": meta | {"labels": {names.TEAM_LABEL: "true"}, "annotations": {names.GPU_QUOTA: gpus}}}


def node() -> dict[str, Any]:
    status = {
        "allocatable": {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "8"},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    return {"metadata": {"name": "node", "uid": "uid-node", "resourceVersion": "1"}, "status": status}


def meta(name: str) -> ObjectMeta:
    return ObjectMeta(name=name, namespace=TEAM, uid=f"uid-{name}", creation_timestamp="2026-01-01T00:00:00Z")


class Desk:
    """A world with one team and one node, and its queue."""

    def __init__(self, gpus: str = "1") -> None:
        self.queue = KeyQueue()
        self.world = World(self.queue.add)
        self.admissions = Admissions(self.world, self.queue)
        self.world.namespaces.apply("ADDED", namespace(gpus))
        self.world.nodes.apply("ADDED", node())

    async def woken(self) -> list[WorkKey]:
        found = []
        while len(self.queue):
            key = await self.queue.get()
            self.queue.done(key)
            found.append(key)
        return found

    async def run(self) -> list[str]:
        """One pass; the names of the tasks it wakes."""
        await self.woken()
        self.admissions._rest_until = 0.0
        self.admissions.run()
        return [key.name for key in await self.woken() if key.kind == TASK]

    def decision(self, name: str) -> Decision | None:
        verdict = self.admissions.verdict((TEAM, name), f"uid-{name}")
        return verdict.decision if verdict is not None else None


@pytest.fixture
async def desk() -> Desk:
    return Desk()


async def test_a_new_task_asks_for_a_pass_and_the_same_one_again_does_not(desk: Desk) -> None:
    await desk.woken()
    desk.admissions.put(meta("a"), 0, Queued(1, ONE_GPU))
    assert await desk.woken() == [ADMISSION_KEY]
    desk.admissions.put(meta("a"), 0, Queued(1, ONE_GPU))
    assert await desk.woken() == []
    desk.admissions.put(meta("a"), 5, Queued(1, ONE_GPU))
    assert await desk.woken() == [ADMISSION_KEY]


async def test_an_admitted_task_holds_its_quota_before_its_job_exists(desk: Desk) -> None:
    desk.admissions.put(meta("a"), 0, Queued(1, ONE_GPU))
    assert await desk.run() == ["a"]
    desk.admissions.put(meta("b"), 9, Queued(1, ONE_GPU))
    assert await desk.run() == ["b"]
    assert (desk.decision("a"), desk.decision("b")) == (Decision.ADMIT, Decision.WAIT)


async def test_an_admitted_task_that_may_not_start_after_all_gives_its_quota_back(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.admissions.put(meta(name), 0, Queued(1, ONE_GPU))
    await desk.run()
    desk.admissions.drop((TEAM, "a"))
    assert ADMISSION_KEY in await desk.woken()
    assert await desk.run() == ["b"]
    assert desk.decision("b") is Decision.ADMIT


async def test_a_pass_that_says_nothing_new_wakes_nobody(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.admissions.put(meta(name), 0, Queued(1, ONE_GPU))
    assert sorted(await desk.run()) == ["a", "b"]
    assert await desk.run() == []


async def test_new_words_for_the_same_verdict_are_told_at_most_once_a_minute() -> None:
    desk = Desk("2")
    desk.admissions.put(meta("large"), 0, Queued(1, Amount(2, 1000, 2**30)))
    desk.admissions.put(meta("small"), -1, Queued(1, ONE_GPU))
    await desk.run()
    desk.admissions.put(meta("waits"), -2, Queued(1, Amount(2, 1000, 2**30)))
    assert await desk.run() == ["waits"]
    desk.admissions.drop((TEAM, "large"))
    desk.admissions.put(meta("other"), 3, Queued(1, ONE_GPU))
    woken = await desk.run()
    assert "waits" not in woken
    before = desk.admissions.verdict((TEAM, "waits"), "uid-waits")
    assert before is not None
    assert "by 1 task" in before.message
    desk.admissions._told[TEAM, "waits"] -= 61
    assert await desk.run() == ["waits"]
    assert "by 2 tasks" in desk.admissions.verdict((TEAM, "waits"), "uid-waits").message  # type: ignore[union-attr]


async def test_a_task_made_anew_under_the_same_name_does_not_inherit_a_verdict(desk: Desk) -> None:
    desk.admissions.put(meta("a"), 0, Queued(1, ONE_GPU))
    await desk.run()
    assert desk.admissions.verdict((TEAM, "a"), "uid-of-the-next") is None


async def test_a_raised_quota_asks_for_a_pass(desk: Desk) -> None:
    for name in ("a", "b"):
        desk.admissions.put(meta(name), 0, Queued(1, ONE_GPU))
    await desk.run()
    desk.world.namespaces.apply("MODIFIED", namespace("2", 2))
    assert ADMISSION_KEY in await desk.woken()
    assert await desk.run() == ["b"]


async def test_the_loop_rests_between_passes(desk: Desk) -> None:
    await desk.run()
    desk.admissions._rest_until += 5
    assert (desk.admissions.run() or 0) > 4


@pytest.mark.parametrize(("taken", "rest"), [(0.001, 0.009), (0.005, 0.045), (0.010, 0.050), (0.1, 0.3), (1.0, 3.0)])
def test_short_passes_leave_nine_tenths_of_the_loop_and_long_ones_three_quarters(taken: float, rest: float) -> None:
    assert _rest_after(taken) == pytest.approx(rest)


async def test_a_pass_looks_no_more_at_what_is_admitted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[list[str]] = []

    def decided(waiting: Iterable[Waiting], *rest: Any) -> dict[str, Verdict]:
        tasks = list(waiting)
        looked.append([each.uid for each in tasks])
        return decide(tasks, *rest)

    monkeypatch.setattr(admissions, "decide", decided)
    for name in ("a", "b"):
        desk.admissions.put(meta(name), 0, Queued(1, ONE_GPU))
    for _ in range(2):
        await desk.run()
    assert looked == [["uid-a", "uid-b"], ["uid-b"]]
    desk.admissions.put(meta("a"), 0, Queued(2, ONE_GPU))
    await desk.run()
    assert sorted(looked[-1]) == ["uid-a", "uid-b"], "its next attempt is judged anew"
