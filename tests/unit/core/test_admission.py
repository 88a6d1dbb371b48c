"""Admission: tables for each rule, then whole lives played to the end."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence

import pytest
from core_facts import NOW, at
from hypothesis import given, settings
from hypothesis import strategies as st

from collabspace.core.admission import PATIENCE, Decision, Holding, Node, Quota, Verdict, Waiting, decide
from collabspace.core.quantity import Amount

GIB = 2**30
BIG = Node("big", Amount(8, 64_000, 256 * GIB))


def ask(gpus: int = 1, cpus: int = 1, memory: int = 1) -> Amount:
    return Amount(gpus, cpus * 1000, memory * GIB)


def waits(uid: str, amount: Amount | None = None, team: str = "a", priority: int = 0, age: float = 0) -> Waiting:
    return Waiting(uid, team, amount or ask(), priority, at(-age))


def judge(
    waiting: Sequence[Waiting],
    holdings: Sequence[Holding] = (),
    quota: int | Quota = 4,
    nodes: Sequence[Node] = (BIG,),
) -> dict[str, Verdict]:
    quotas = {"a": quota if isinstance(quota, Quota) else Quota(quota), "b": Quota(4)}
    return decide(waiting, Counter(holdings), quotas, nodes, NOW)


def admitted(verdicts: dict[str, Verdict]) -> set[str]:
    return {uid for uid, each in verdicts.items() if each.decision is Decision.ADMIT}


def test_what_fits_is_admitted_many_at_a_time() -> None:
    assert admitted(judge([waits("x"), waits("y", team="b"), waits("z")])) == {"x", "y", "z"}


def test_priority_goes_first_then_age_then_uid() -> None:
    queue = [waits("young"), waits("old", age=60), waits("high", priority=1), waits("later-uid", age=60)]
    assert admitted(judge(queue, quota=1)) == {"high"}
    assert admitted(judge(queue, quota=2)) == {"high", "later-uid"}
    assert admitted(judge(queue, quota=3)) == {"high", "later-uid", "old"}


def test_a_task_over_the_quota_waits_and_is_told_the_numbers() -> None:
    verdict = judge([waits("x", ask(4))], [Holding("a", ask(2)), Holding("a", ask(0)), Holding("b", ask(1))])["x"]
    assert verdict == Verdict(Decision.WAIT, verdict.reason, "GPU: asked 4, quota 4, in use 2 by 1 task")
    assert verdict.reason == "WaitingForQuota"


def test_the_numbers_are_those_after_the_pass() -> None:
    verdicts = judge([waits("first", ask(3), age=9), waits("second", ask(2))])
    assert verdicts["second"].message == "GPU: asked 2, quota 4, in use 3 by 1 task"


def test_asking_for_more_than_the_team_owns_is_refused() -> None:
    assert judge([waits("x", ask(5))])["x"].reason == "ExceedsQuota"
    refused = judge([waits("x", ask(2))], quota=0)["x"]
    assert refused.decision is Decision.REFUSE
    assert "asked 2 GPU, team a has no GPU quota" in refused.message


def test_without_an_annotation_cpus_are_not_limited_and_with_one_they_are() -> None:
    task = waits("x", ask(0, cpus=3))
    assert admitted(judge([task], [Holding("a", ask(0, cpus=50))], Quota(0))) == {"x"}
    held = [Holding("a", ask(0, cpus=2))]
    assert judge([task], held, Quota(0, 4000))["x"].message == "CPU: asked 3, quota 4, in use 2 by 1 task"
    assert judge([task], held, Quota(0, 2000))["x"].reason == "ExceedsQuota"


def test_a_team_without_settings_owns_no_gpu() -> None:
    assert judge([waits("x", team="stranger")])["x"].reason == "ExceedsQuota"


def test_no_node_is_ready_so_nothing_is_refused_for_its_size() -> None:
    verdict = judge([waits("x", ask(4, cpus=500))], nodes=[Node("down", Amount(1, 1, 1), usable=False)])["x"]
    assert (verdict.decision, verdict.message.endswith("no node of the cluster is ready")) == (Decision.WAIT, True)


def test_larger_than_any_node_is_refused_with_the_largest_one_named() -> None:
    refused = judge([waits("x", ask(1, cpus=100))])["x"]
    assert refused.reason == "ExceedsCapacity"
    assert "64 CPU" in refused.message


def test_a_node_that_is_away_still_counts_for_what_could_ever_fit() -> None:
    small = Node("small", Amount(1, 1000, GIB))
    verdict = judge([waits("x", ask(4))], nodes=[small, Node("away", BIG.allocatable, usable=False)])["x"]
    assert (verdict.decision, verdict.reason) == (Decision.WAIT, "WaitingForQuota")


def test_a_task_goes_onto_one_node_and_is_not_spread() -> None:
    halves = [Node("one", Amount(2, 8000, 64 * GIB)), Node("two", Amount(2, 8000, 64 * GIB))]
    queue = [waits("x", ask(1), age=3), waits("y", ask(1), age=2), waits("z", ask(2), age=1)]
    assert admitted(judge(queue, nodes=halves)) == {"x", "y", "z"}
    held = [Holding("b", ask(2)), Holding("b", ask(1))]
    assert admitted(judge([waits("z", ask(2))], held, nodes=halves)) == set()


def test_a_smaller_task_passes_one_that_does_not_fit() -> None:
    queue = [waits("large", ask(4), age=60), waits("small", ask(1))]
    assert admitted(judge(queue, [Holding("a", ask(1))])) == {"small"}


def test_after_long_waiting_nobody_of_the_team_passes_any_more_but_other_teams_go_on() -> None:
    long = PATIENCE.total_seconds()
    queue = [waits("large", ask(4), age=long), waits("small", ask(1)), waits("theirs", team="b")]
    verdicts = judge(queue, [Holding("a", ask(1))])
    assert admitted(verdicts) == {"theirs"}
    assert verdicts["small"].message == "GPU: asked 1, quota 4, in use 1 by 1 task; the rest is kept for an older task"
    assert admitted(judge([*queue, waits("no-gpu", ask(0))], [Holding("a", ask(1))])) == {"theirs", "no-gpu"}


amounts = st.builds(ask, st.integers(0, 5), st.integers(1, 8), st.integers(1, 16))
tasks = st.lists(
    st.tuples(amounts, st.sampled_from("abc"), st.integers(-2, 2), st.integers(0, 5), st.integers(1, 9)),
    min_size=1,
    max_size=40,
)
quota_sets = st.fixed_dictionaries(
    {team: st.builds(Quota, st.integers(0, 6), st.sampled_from([None, 8000])) for team in "abc"}
)
node_lists = st.lists(
    st.builds(
        Node,
        st.text("xyz", min_size=1, max_size=3),
        st.builds(ask, st.integers(0, 6), st.integers(2, 16), st.integers(8, 64)),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda node: node.name,
)


@settings(max_examples=150, deadline=None)
@given(tasks, quota_sets, node_lists)
def test_every_task_ends_or_is_refused_and_no_quota_is_ever_exceeded(
    specs: list[tuple[Amount, str, int, int, int]], quotas: dict[str, Quota], nodes: list[Node]
) -> None:
    """Time in steps: arrivals, a pass, ends. Played until nothing moves."""
    coming = {f"t{number}": each for number, each in enumerate(specs)}
    waiting: dict[str, Waiting] = {}
    running: dict[str, tuple[Holding, int]] = {}
    ended: set[str] = set()
    for step in range(600):
        now = NOW + dt.timedelta(minutes=step)
        for uid, (amount, team, priority, arrival, _) in coming.items():
            if arrival == step:
                waiting[uid] = Waiting(uid, team, amount, priority, now)
        running = {uid: each for uid, each in running.items() if each[1] > step or ended.add(uid)}
        holdings = Counter(each for each, _ in running.values())
        verdicts = decide(waiting.values(), holdings, quotas, nodes, now)
        assert verdicts == decide(list(waiting.values())[::-1], holdings, quotas, nodes, now)
        assert verdicts.keys() == waiting.keys()
        for uid in admitted(verdicts):
            task = waiting.pop(uid)
            running[uid] = (Holding(task.team, task.amount), step + coming[uid][4])
        for team, quota in quotas.items():
            held = [each.amount for each, _ in running.values() if each.team == team]
            assert sum(each.gpus for each in held) <= quota.gpus
            assert quota.cpu_millis is None or sum(each.cpu_millis for each in held) <= quota.cpu_millis
        if step > 5 and not running:
            assert all(
                each.decision is Decision.REFUSE for each in decide(waiting.values(), {}, quotas, nodes, now).values()
            )
            break
    assert len(ended) + len(waiting) == len(specs)
    assert not running


@settings(max_examples=150, deadline=None)
@given(tasks, quota_sets)
def test_nothing_stands_idle_that_a_young_task_could_use(
    specs: list[tuple[Amount, str, int, int, int]], quotas: dict[str, Quota]
) -> None:
    queue = [Waiting(f"t{number}", each[1], each[0], each[2], NOW) for number, each in enumerate(specs)]
    endless = [Node("endless", Amount(10**6, 10**9, 10**15))]
    verdicts = decide(queue, {}, quotas, endless, NOW)
    held = Counter(Holding(each.team, each.amount) for each in queue if each.uid in admitted(verdicts))
    rest = [each for each in queue if each.uid not in admitted(verdicts)]
    assert admitted(decide(rest, held, quotas, endless, NOW)) == set()


def test_a_pass_over_ten_thousand_tasks_is_linear_enough_to_be_counted_in_steps() -> None:
    """No timing: the work is counted by how often amounts are compared."""
    count = 0

    class Counted(Amount):
        def fits(self, room: Amount) -> bool:
            nonlocal count
            count += 1
            return super().fits(room)

    queue = [Waiting(f"t{number:05}", "a", Counted(1, 1000, GIB), 0, NOW) for number in range(10_000)]
    nodes = [Node(f"n{number:03}", Amount(4, 16_000, 64 * GIB)) for number in range(1_000)]
    held = {Holding("b", Counted(2, 1000, GIB)): 1_000}
    verdicts = decide(queue, held, {"a": Quota(10_000)}, nodes, NOW)
    assert len(admitted(verdicts)) == 2_000
    assert count <= 2 * (len(queue) + len(nodes))


def test_what_is_held_is_laid_out_like_one_by_one() -> None:
    nodes = [Node("small", Amount(3, 8_000, 64 * GIB)), Node("large", Amount(4, 64_000, 64 * GIB))]
    held = [Holding("b", ask(2)), Holding("b", ask(2)), Holding("b", ask(1, cpus=7))]
    assert admitted(judge([waits("x", ask(1)), waits("y", ask(1), team="b")], held, nodes=nodes)) == {"x"}
    assert admitted(judge([waits("x", ask(2)), waits("y", ask(1))], held[:2], nodes=nodes)) == {"x", "y"}


@pytest.mark.parametrize("quota", [0, 1, 7])
def test_the_same_state_gives_the_same_decision_in_any_order(quota: int) -> None:
    queue = [waits(uid, ask(gpus)) for uid, gpus in zip("abcdefg", (1, 2, 3, 1, 2, 3, 1), strict=True)]
    assert judge(queue, quota=quota) == judge(queue[::-1], quota=quota)
