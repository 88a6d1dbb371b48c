"""What a selection may spend: played to the end, whatever its tasks cost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_play import Play, candidate, fails, scores, selection_body

from collabspace.api.conditions import Reason

LINEAR, FOREST = candidate("linear"), candidate("forest", "Forest")
# Ten records are learned from: what a run costs is the start, in the catalogue's eyes.
PRIOR = 10


def play(cpu: int, *candidates: dict[str, object], costs: dict[str, int] | None = None, **changes: object) -> Play:
    ends = {f"sel-{name}": scores("0.5", cost) for name, cost in (costs or {}).items()}
    return Play(selection_body(*candidates or (LINEAR, FOREST), budget={"cpuSeconds": cpu}, **changes), ends)


def budget_of(played: Play, name: str) -> int | None:
    task = played.tasks[name]
    assert task.spec is not None and task.spec.budget is not None
    return task.spec.budget.cpu_seconds


def test_what_is_left_is_shared_by_what_may_run_at_once() -> None:
    played = play(100, parallelism=2, costs={"linear": 10, "forest": 20})
    while len(played.tasks) < 2:
        played.step()
    assert (budget_of(played, "sel-linear"), budget_of(played, "sel-forest")) == (50, 50)


def test_one_at_a_time_may_spend_all_that_is_left() -> None:
    played = play(100, costs={"linear": 30, "forest": 60}).run()
    assert (budget_of(played, "sel-linear"), budget_of(played, "sel-forest")) == (100, 70)


def test_what_does_not_fit_any_more_is_skipped_and_the_rest_is_ranked() -> None:
    played = play(35, costs={"linear": 30}).run()
    assert played.states == {"linear": ("Ranked", ""), "forest": ("Skipped", "BudgetExhausted")}
    entry = next(each for each in played.status.leaderboard if each.candidate == "forest")
    assert "5 of spec.budget.cpuSeconds 35 are left" in entry.message
    assert played.status.reason == "Completed"


def test_nothing_is_skipped_while_a_running_task_may_give_budget_back() -> None:
    played = play(25, parallelism=2, costs={"linear": 1, "forest": 1})
    played.body["candidates"].append(candidate("second", parameters={"C": "2"}))
    played.run()
    assert set(played.states.values()) == {("Ranked", "")}


def test_a_budget_for_one_of_two_runs_one_of_them() -> None:
    played = play(15, parallelism=2, costs={"linear": 15}).run()
    assert played.created == ["sel-linear"]


def test_a_first_run_that_cost_more_than_expected_is_what_the_next_of_its_kind_is_expected_to_cost() -> None:
    second = candidate("second", parameters={"C": "2"})
    played = play(90, LINEAR, second, costs={"linear": 60}).run()
    assert played.states["second"] == ("Skipped", "BudgetExhausted")


def test_seeds_that_the_budget_does_not_cover_leave_a_candidate_ranked_by_those_it_has() -> None:
    played = play(70, LINEAR, seeds=3, costs={"linear": 30, "linear-1": 30}).run()
    entry = played.status.leaderboard[0]
    assert (entry.rank, entry.runs, entry.reason) == (1, 2, "BudgetExhausted")


def test_a_run_that_spent_its_own_budget_is_excluded() -> None:
    played = play(100)
    played.ends["sel-linear"] = fails(Reason.BUDGET_SPENT, cost=100)
    played.run()
    assert played.states == {"linear": ("Excluded", "BudgetSpent"), "forest": ("Skipped", "BudgetExhausted")}
    assert played.status.reason == "NoWinner"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 4), st.integers(1, 3), st.lists(st.integers(1, 120), min_size=3, max_size=3))
def test_no_more_than_the_budget_is_ever_at_stake(cpu: int, parallelism: int, seeds: int, costs: list[int]) -> None:
    """A task stops by itself at what it was given; so spent and promised together stay within the budget."""
    three = (LINEAR, FOREST, candidate("third", parameters={"C": "3"}))
    played = play(cpu, *three, parallelism=parallelism, seeds=seeds)
    end = played.end

    def bounded(name: str) -> None:
        task = played.tasks[name]
        given_ = task.spec.budget if task.spec is not None else None
        if given_ is not None and given_.cpu_seconds is not None:
            wants = costs[len(played.created) % 3]
            played.ends[name] = (
                scores("0.5", wants) if wants <= given_.cpu_seconds else fails(Reason.BUDGET_SPENT, given_.cpu_seconds)
            )
        end(name)

    played.end = bounded  # type: ignore[method-assign]
    played.run()
    assert played.status.cost.cpu_seconds <= cpu


@pytest.mark.parametrize("field", ["cpuSeconds", "gpuSeconds"])
def test_a_task_on_the_cpu_is_not_held_up_by_a_budget_of_gpu_seconds(field: str) -> None:
    played = Play(selection_body(budget={field: 1000})).run()
    assert {state for state, _ in played.states.values()} == {"Ranked"}
