"""What the node does next with a pod, as tables."""

import datetime as dt
from typing import Any

import pytest

from collabspace.kube import clock
from collabspace.local.node.container import Ended
from collabspace.local.node.decision import Decision, RunState, Situation, back_off, decide
from collabspace.local.node.manifest import Pod, parse

NOW = clock.parse("2026-01-01T12:00:00Z")
AGO = NOW - dt.timedelta(seconds=5)
RUNS = RunState(0, AGO, None)


def pod(
    *mains: str, inits: tuple[str, ...] = (), sidecars: tuple[str, ...] = (), delete_in: int | None = None, **spec: Any
) -> Pod:
    metadata = {"uid": "u", "namespace": "n", "name": "p", "resourceVersion": "1"}
    if delete_in is not None:
        metadata["deletionTimestamp"] = clock.rfc3339(NOW + dt.timedelta(seconds=delete_in))
    before = [{"name": name, "image": "i", "restartPolicy": "Always"} for name in sidecars]
    before += [{"name": name, "image": "i"} for name in inits]
    containers = [{"name": name, "image": "i"} for name in mains]
    status = {"startTime": clock.rfc3339(AGO), **spec.pop("status", {})}
    full = {"restartPolicy": "Never", "containers": containers, "initContainers": before, **spec}
    return parse({"metadata": metadata, "spec": full, "status": status})


def ended(code: int, attempt: int = 0) -> RunState:
    return RunState(attempt, AGO, Ended(code, None, "Completed" if code == 0 else "Error", "", AGO, AGO))


def step(of: Pod, runs: dict[str, RunState] | None = None, **more: dt.datetime) -> Decision:
    return decide(Situation(of, runs or {}, NOW, **more))


def starts(decision: Decision) -> list[tuple[str, int]]:
    return [(start.container.name, start.attempt) for start in decision.start]


def test_all_main_containers_start_at_once() -> None:
    assert starts(step(pod("a", "b"))) == [("a", 0), ("b", 0)]


def test_init_containers_come_first_and_one_by_one() -> None:
    both = pod("a", inits=("one", "two"))
    assert starts(step(both)) == [("one", 0)]
    assert starts(step(both, {"one": RUNS})) == []
    assert starts(step(both, {"one": ended(0)})) == [("two", 0)]
    done = step(both, {"one": ended(0), "two": ended(0)})
    assert (starts(done), done.phase) == ([("a", 0)], "Pending")


def test_a_failed_init_container_ends_the_pod() -> None:
    decision = step(pod("a", inits=("one",)), {"one": ended(1)})
    assert (decision.over, decision.phase, decision.start) == (True, "Failed", ())


def test_a_sidecar_needs_only_to_have_been_started() -> None:
    assert starts(step(pod("a", sidecars=("s",)), {"s": RUNS})) == [("a", 0)]


@pytest.mark.parametrize(("codes", "phase"), [((0, 0), "Succeeded"), ((0, 3), "Failed")])
def test_the_phase_is_what_all_main_containers_make_of_it(codes: tuple[int, int], phase: str) -> None:
    decision = step(pod("a", "b"), {"a": ended(codes[0]), "b": ended(codes[1])})
    assert (decision.over, decision.phase) == (True, phase)


def test_one_running_main_container_keeps_the_pod_running() -> None:
    decision = step(pod("a", "b"), {"a": ended(3), "b": RUNS})
    assert (decision.over, decision.phase, decision.terminate) == (False, "Running", frozenset())


def test_sidecars_end_after_the_main_containers_and_within_the_grace_period() -> None:
    both = pod("a", sidecars=("s",), terminationGracePeriodSeconds=7)
    decision = step(both, {"s": RUNS, "a": ended(0)})
    assert (decision.terminate, decision.kill) == ({"s"}, frozenset())
    assert decision.again == AGO + dt.timedelta(seconds=7)
    assert step(both, {"s": ended(143), "a": ended(0)}).phase == "Succeeded"


def test_a_deleted_pod_is_asked_first_and_killed_at_its_time() -> None:
    decision = step(pod("a", delete_in=3), {"a": RUNS})
    assert (decision.terminate, decision.kill, decision.again) == ({"a"}, frozenset(), NOW + dt.timedelta(seconds=3))
    assert step(pod("a", delete_in=0), {"a": RUNS}).kill == {"a"}


def test_a_deleted_pod_starts_nothing_more() -> None:
    decision = step(pod("a", inits=("one",), delete_in=30), {"one": ended(0)})
    assert (decision.start, decision.over, decision.phase) == ((), True, "Failed")


def test_a_pod_that_vanished_gets_two_seconds() -> None:
    decision = step(pod("a", terminationGracePeriodSeconds=600), {"a": RUNS}, gone=NOW)
    assert (decision.terminate, decision.again) == ({"a"}, NOW + dt.timedelta(seconds=2))


def test_a_finished_pod_never_runs_again() -> None:
    decision = step(pod("a", restartPolicy="Always", status={"phase": "Failed"}))
    assert (decision.start, decision.over, decision.phase) == ((), True, "Failed")


def test_the_deadline_ends_the_pod_with_its_reason_even_if_it_then_exits_0() -> None:
    late = pod("a", activeDeadlineSeconds=5, terminationGracePeriodSeconds=30)
    assert step(late, {"a": RUNS}).terminate == {"a"}
    after = step(late, {"a": ended(0)})
    assert after.stop is not None
    assert (after.phase, after.stop.reason) == ("Failed", "DeadlineExceeded")


def test_before_the_deadline_the_pod_is_looked_at_again_then() -> None:
    assert step(pod("a", activeDeadlineSeconds=9), {"a": RUNS}).again == AGO + dt.timedelta(seconds=9)


def test_a_node_that_shuts_down_waits_ten_seconds_at_most() -> None:
    decision = step(pod("a", terminationGracePeriodSeconds=600), {"a": RUNS}, evicted=NOW)
    assert (decision.terminate, decision.again) == ({"a"}, NOW + dt.timedelta(seconds=10))


@pytest.mark.parametrize(
    ("policy", "code", "restarts"),
    [("Never", 1, False), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Always", 0, True), ("Always", 1, True)],
)
def test_restart_policies(policy: str, code: int, restarts: bool) -> None:
    decision = step(pod("a", restartPolicy=policy), {"a": ended(code)})
    assert decision.over is not restarts
    assert decision.again == (AGO + dt.timedelta(seconds=10) if restarts else None)


def test_a_rested_container_starts_with_the_next_number() -> None:
    rested = RunState(2, AGO, Ended(1, None, "Error", "", AGO, NOW - back_off(2)))
    assert starts(step(pod("a", restartPolicy="Always"), {"a": rested})) == [("a", 3)]


def test_rests_double_up_to_five_minutes() -> None:
    assert [back_off(attempt).total_seconds() for attempt in (0, 1, 2, 5, 99)] == [10, 20, 40, 300, 300]
