"""One ModelSelection through its life, with tasks that end as a test says."""

from dataclasses import replace
from typing import Any

import pytest
from core_facts import OTHER, OWN, UIDS, digest, meta, text
from selection_play import DATA, NOW, Ends, Play, candidate, fails, scores, selection_body

from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.dataset import DatasetSpec, DatasetStatus, Version
from collabspace.api.selection import PromotionState, SelectionStatus, Verdict
from collabspace.api.task import PinnedDataset, TaskSpec, TaskStatus
from collabspace.core import status
from collabspace.core.observed import AliasRecord, Dataset, ObservedTask, observe
from collabspace.core.selection_world import Answer, SelectionPlan

PROMOTION = {"alias": "best", "mode": "Automatic"}
THREE = [candidate("linear"), candidate("forest", "Forest"), candidate("network", "Network", initialization="Random")]
GOOD = {"sel-linear": scores("0.80", 10), "sel-forest": scores("0.90", 40), "sel-network": scores("0.85", 90)}
# The forest is surely ahead of both others.
SURE = {"linear": ("0.1", "0.05", "0.15"), "network": ("0.05", "0.02", "0.08")}


def play(*candidates: dict[str, Any], ends: dict[str, Ends] | None = None, **changes: Any) -> Play:
    known = {name: changes.pop(name) for name in list(changes) if name in Play.__dataclass_fields__}
    return Play(selection_body(*candidates or THREE, **changes), ends if ends is not None else dict(GOOD), **known)


def champion(task: str = "old") -> AliasRecord:
    return AliasRecord(UIDS[OWN], f"uid-{task}", task, digest(task), text(NOW), ("somebody",))


def held(played: Play, kind: ConditionType) -> tuple[str, str]:
    found = status.find(kind, played.status.conditions)
    assert found is not None
    return found.status, found.reason


def test_the_best_wins_is_compared_and_becomes_the_alias() -> None:
    played = play(promotion=PROMOTION, differences=SURE, final={"baseline": ("0.1", "0.05", "0.15")}).run()
    assert played.created == ["sel-linear", "sel-network", "sel-forest", "sel-choose", "sel-final"]
    assert played.ranks == ["forest", "network", "linear"]
    assert played.status.winner is not None
    assert (played.status.winner.candidate, played.status.winner.metric_value) == ("forest", "0.9")
    assert held(played, ConditionType.SUCCEEDED) == ("True", "Completed")
    assert [(each.rival.value, each.candidate) for each in played.status.comparison] == [
        ("Winner", "forest"),
        ("Baseline", "linear"),
    ]
    promotion = played.status.promotion
    assert promotion is not None and promotion.state is PromotionState.PROMOTED
    assert played.alias is not None and played.alias.digest == promotion.result_digest
    assert played.changes == 1
    assert [event.reason for event in played.events] == ["Comparing", "Promoting", "Completed"]
    assert played.status.cost.cpu_seconds == 140


def test_every_child_says_the_pinned_version_and_its_own_seed() -> None:
    played = play(seeds=2).run()
    specs = {name: task.spec for name, task in played.tasks.items() if task.spec is not None}
    assert {name: each.seed for name, each in specs.items() if "linear" in name} == {"sel-linear": 0, "sel-linear-1": 1}
    assert {each.datasets[0].version for each in specs.values()} == {digest("one")}
    assert [each.name for each in played.status.datasets] == ["train"]


def test_the_versions_are_on_record_before_any_task_exists() -> None:
    played = play()
    plan = played.decide()
    assert plan.status is not None and plan.status.datasets and not plan.children


def test_a_selection_of_one_has_nothing_to_compare_and_says_so() -> None:
    played = play(candidate("forest", "Forest"), promotion=PROMOTION).run()
    assert played.created == ["sel-forest"]
    assert played.status.winner is not None and "nothing to compare" in played.status.winner.message
    assert played.status.promotion is not None and played.status.promotion.state is PromotionState.PROMOTED


@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_no_more_tasks_live_at_a_time_than_parallelism_allows(parallelism: int) -> None:
    assert play(seeds=2, parallelism=parallelism).run().most_at_once == parallelism


def test_first_runs_of_all_come_before_further_seeds_and_cheap_ones_first() -> None:
    played = play(seeds=2).run()
    runs = [name for name in played.created if "final" not in name and "choose" not in name]
    assert runs == ["sel-linear", "sel-network", "sel-forest", "sel-linear-1", "sel-network-1", "sel-forest-1"]


def test_some_failing_is_survived() -> None:
    played = play(ends=GOOD | {"sel-forest": fails(Reason.DIVERGED)}).run()
    assert played.states["forest"] == ("Excluded", "Diverged")
    assert played.ranks == ["network", "linear"]
    assert held(played, ConditionType.SUCCEEDED)[0] == "True"


def test_all_failing_leaves_no_winner_and_promotes_nothing() -> None:
    played = play(ends={name: fails() for name in GOOD}, promotion=PROMOTION).run()
    assert held(played, ConditionType.STALLED) == ("True", "NoWinner")
    assert {reason for _, reason in played.states.values()} == {"DataError"}
    assert not played.asked


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ((), "MetricMissing"),
        ((("accuracy", "0.9", "test", ""),), "MetricMissing"),
        ((("accuracy", "0.9", "validation", "cat"),), "MetricMissing"),
        ((("log_loss", "0.9", "validation", ""),), "MetricMissing"),
        ((("accuracy", "NaN", "validation", ""),), "MetricInvalid"),
        ((("accuracy", "1e999", "validation", ""),), "MetricInvalid"),
        ((("accuracy", "1.7", "validation", ""),), "MetricInvalid"),
        ((("accuracy", "-0.1", "validation", ""),), "MetricInvalid"),
        ((("accuracy", "great", "validation", ""),), "MetricInvalid"),
    ],
    ids=["no rows", "test only", "of a label only", "another", "NaN", "infinite", "above 1", "below 0", "no number"],
)
def test_a_figure_that_is_missing_or_absurd_never_wins(
    rows: tuple[tuple[str, str, str, str], ...], reason: str
) -> None:
    played = play(ends=GOOD | {"sel-forest": Ends(rows=rows)}).run()
    assert played.states["forest"] == ("Excluded", reason)
    assert played.ranks[0] == "network"


def test_a_lower_loss_is_better_where_the_goal_says_so() -> None:
    ends = {
        name: Ends(rows=(("log_loss", value, "validation", ""),))
        for name, value in (("sel-linear", "0.3"), ("sel-forest", "0.2"), ("sel-network", "0.9"))
    }
    played = play(ends=ends, objective={"metric": "log_loss", "goal": "Minimize"}).run()
    assert played.ranks == ["forest", "linear", "network"]


def test_the_cheapest_that_is_surely_good_enough_wins() -> None:
    near = SURE | {"linear": ("0.002", "-0.004", "0.008")}
    played = play(differences=near).run()
    assert played.ranks[0] == "forest"
    assert played.status.winner is not None and played.status.winner.candidate == "linear"
    assert "tolerance" in played.status.winner.message


def test_a_best_that_may_be_a_tie_is_marked_undecided() -> None:
    played = play(differences=SURE | {"network": ("0.05", "-0.02", "0.12")}).run()
    assert played.status.winner is not None and played.status.winner.candidate == "forest"
    assert "Undecided" in played.status.winner.message and "network" in played.status.winner.message


def test_a_candidate_whose_name_is_taken_is_excluded_and_the_other_task_stays() -> None:
    played = play()
    made = {"metadata": meta("sel-forest", OWN), "spec": {"task": "Tabular", "method": "Linear", "datasets": []}}
    played.tasks["sel-forest"] = observe(made, TaskSpec, TaskStatus)
    played.owners["sel-forest"] = ""
    played.run()
    assert played.states["forest"] == ("Excluded", "NameConflict")
    assert "sel-forest" in played.tasks and "sel-forest" not in played.created


def until(played: Play, name: str, passes: int = 50) -> Play:
    for _ in range(passes):
        if name in played.tasks:
            return played
        played.step()
    raise AssertionError(f"{name} never came")


def test_a_task_that_somebody_edits_counts_as_a_conflict() -> None:
    played = until(play(), "sel-forest")
    task = played.tasks["sel-forest"]
    assert task.spec is not None
    played.tasks["sel-forest"] = replace(task, spec=task.spec.model_copy(update={"seed": 7}))
    assert played.run().states["forest"] == ("Excluded", "NameConflict")


def test_a_task_that_somebody_deletes_is_made_again() -> None:
    played = until(play(differences=SURE), "sel-choose")
    del played.tasks["sel-forest"]
    played.run()
    assert played.created.count("sel-forest") == 2
    # What was compared is not the case any more, so it is compared anew.
    assert played.created.count("sel-choose") == 2
    assert played.status.winner is not None and played.status.winner.task_uid == "uid-sel-forest-2"


def test_suspend_halts_every_task_and_resume_lets_them_go_on() -> None:
    played = until(play(parallelism=2), "sel-network")
    played.body["suspend"] = True
    plan = played.decide()
    assert {task.meta.name for task in plan.halt} == {"sel-linear", "sel-network"} and not plan.children
    played.carry_out(plan)
    assert played.status.reason == "Suspended"
    assert played.decide() == SelectionPlan()
    played.body["suspend"] = False
    plan = played.decide()
    assert {task.meta.name for task in plan.resume} == {"sel-linear", "sel-network"}
    played.carry_out(plan)
    assert held(played.run(), ConditionType.SUCCEEDED)[0] == "True"


def test_a_second_look_says_nothing_new() -> None:
    played = play(promotion=PROMOTION, parallelism=2)
    while played.status.completion_time is None:
        played.step()
        plan = played.decide()
        played.carry_out(plan)
        if plan == SelectionPlan(status=plan.status, event=plan.event):
            assert played.decide() == SelectionPlan()


def test_a_failed_comparison_ends_it_with_the_leaderboard_and_no_promotion() -> None:
    played = play(ends=GOOD | {"sel-choose": fails(Reason.OUT_OF_MEMORY)}, promotion=PROMOTION).run()
    assert held(played, ConditionType.STALLED) == ("True", "ComparisonFailed")
    assert played.ranks and not played.asked


FINAL = {"champion": ("0.1", "0.05", "0.15"), "baseline": ("0.1", "0.05", "0.15")}


def test_with_one_run_each_nothing_is_called_better_and_the_champion_stays() -> None:
    played = play(promotion=PROMOTION, differences=SURE, final=FINAL, alias=champion()).run()
    assert {each.rival.value: each.verdict for each in played.status.comparison} == {
        "Winner": Verdict.NONE,
        "Champion": Verdict.UNDECIDED,
        "Baseline": Verdict.UNDECIDED,
    }
    assert played.status.promotion is not None and played.status.promotion.state is PromotionState.KEPT
    assert "seeds: 3" in played.status.promotion.message
    assert played.alias == champion() and not played.asked


def seeded(value: str, name: str) -> dict[str, Ends]:
    return {f"sel-{name}{end}": scores(value, 30) for end in ("", "-1", "-2")}


SEEDED = seeded("0.80", "linear") | seeded("0.90", "forest") | seeded("0.85", "network")


@pytest.mark.parametrize(
    ("row", "verdict", "state"),
    [
        (("champion", "0.1", "0.05", "0.15"), Verdict.BETTER, PromotionState.PROMOTED),
        (("winner", "0.1", "0.05", "0.15"), Verdict.WORSE, PromotionState.KEPT),
        (("champion", "0.01", "-0.05", "0.07"), Verdict.UNDECIDED, PromotionState.KEPT),
        (("champion", "0.001", "-0.005", "0.007"), Verdict.NON_INFERIOR, PromotionState.KEPT),
    ],
)
def test_the_champion_gives_way_only_to_what_is_shown_to_be_better(
    row: tuple[str, str, str, str], verdict: Verdict, state: PromotionState
) -> None:
    final = {row[0]: row[1:], "baseline": ("0.2", "0.1", "0.3")}
    played = play(seeds=3, ends=SEEDED, promotion=PROMOTION, differences=SURE, final=final, alias=champion()).run()
    entry = next(each for each in played.status.comparison if each.rival.value == "Champion")
    assert entry.verdict is verdict
    assert played.status.promotion is not None and played.status.promotion.state is state
    assert played.changes == (state is PromotionState.PROMOTED)
    assert played.created[-2:] == ["sel-champion", "sel-final"]


def old_task(cost: int) -> ObservedTask:
    body = {"metadata": meta("old", OWN), "spec": {"task": "Tabular", "method": "Linear", "datasets": []}}
    told = {
        "reason": "Completed",
        "result": {"digest": digest("old"), "bytes": 1},
        "usage": {"cpuSeconds": cost},
        "completionTime": text(NOW),
    }
    return observe(body | {"status": told}, TaskSpec, TaskStatus)


@pytest.mark.parametrize(("cost", "state"), [(38, PromotionState.PROMOTED), (37, PromotionState.KEPT)])
def test_what_is_no_worse_gives_way_to_a_fifth_less_cost(cost: int, state: PromotionState) -> None:
    final = {"champion": ("0.001", "-0.005", "0.007"), "baseline": ("0.2", "0.1", "0.3")}
    played = play(seeds=3, ends=SEEDED, promotion=PROMOTION, differences=SURE, final=final, alias=champion())
    played.tasks["old"] = old_task(cost)
    played.run()
    measured = played.tasks["sel-champion"].spec
    assert measured is not None and measured.model_from is not None
    assert (measured.model_from.kind.value, measured.model_from.digest) == ("CollabTask", digest("old"))
    assert {each.role.value for each in measured.datasets} == {"Evaluate"}
    assert played.status.promotion is not None and played.status.promotion.state is state


def adapter_task() -> ObservedTask:
    """A champion that holds only what it adds to another team's weights."""
    weights = {"namespace": OTHER, "name": "weights"}
    learned = {"task": "Tabular", "method": "Adapter", "datasets": [DATA], "modelFrom": weights}
    told = {
        "reason": "Completed",
        "result": {"digest": digest("old"), "bytes": 1},
        "datasets": [{"name": "modelFrom", "uid": "uid-weights", "digest": digest("weights")}],
    }
    return observe({"metadata": meta("old", OWN), "spec": learned, "status": told}, TaskSpec, TaskStatus)


@pytest.mark.parametrize("granted", [True, False])
def test_a_champion_that_rests_on_weights_is_measured_with_these_where_their_owner_grants_it(granted: bool) -> None:
    grants = [{"name": "g", "namespace": OWN, "namespaceUID": UIDS[OWN], "uses": ["Evaluate"]}] if granted else []
    body = {"metadata": meta("weights", OTHER), "spec": {"format": "Model", "grants": grants}}
    version = Version(digest=digest("weights"), created_time=text(NOW), records=1, bytes=1, files=1)
    weights = Dataset(observe(body, DatasetSpec, DatasetStatus), (version,))
    played = play(promotion=PROMOTION, differences=SURE, final=FINAL, alias=champion())
    played.tasks["old"], played.others = adapter_task(), {(OTHER, "weights"): weights}
    played.run()
    entry = next(each for each in played.status.comparison if each.rival.value == "Champion")
    assert ("not granted" in entry.message) is not granted
    assert ("sel-champion" in played.tasks) is granted
    if granted:
        measured = played.tasks["sel-champion"].spec
        assert measured is not None
        pinned = {each.name: (each.version, each.role.value) for each in measured.datasets}
        assert pinned == {"train": (digest("one"), "Evaluate"), "base": (digest("weights"), "Evaluate")}


def test_a_champion_that_cannot_be_measured_stays_and_the_message_says_why() -> None:
    played = play(promotion=PROMOTION, alias=champion(), ends=GOOD | {"sel-champion": fails()}).run()
    assert played.status.promotion is not None and played.status.promotion.state is PromotionState.KEPT
    assert "DataError" in played.status.promotion.message


def test_manual_promotion_waits_for_a_person_and_then_says_so() -> None:
    played = play(promotion=PROMOTION | {"mode": "Manual"}).run()
    winner, record = played.status.winner, played.status.promotion
    assert winner is not None and record is not None and record.state is PromotionState.AWAITING
    assert not played.asked
    played.alias = AliasRecord(UIDS[OWN], winner.task_uid, winner.task_name, winner.result_digest, text(NOW), ("hand",))
    played.carry_out(played.decide())
    assert played.status.promotion is not None and played.status.promotion.state is PromotionState.PROMOTED
    assert played.decide() == SelectionPlan()


def test_an_alias_that_moved_while_candidates_were_compared_is_left_alone() -> None:
    played = until(play(promotion=PROMOTION, alias=champion()), "sel-final")
    played.alias = champion("other")
    played.run()
    assert played.status.promotion is not None and played.status.promotion.state is PromotionState.MOVED
    assert played.alias == champion("other") and not played.asked


def test_an_alias_that_moved_in_the_last_moment_is_left_alone() -> None:
    moved = Answer(None, moved=True, words="it stands for another")
    played = play(promotion=PROMOTION, answer=lambda _play, _request: moved).run()
    assert played.status.promotion is not None and played.status.promotion.state is PromotionState.MOVED


def refused() -> Play:
    return play(promotion=PROMOTION, answer=lambda _play, _request: Answer(None, words="no such result")).run()


def test_a_refusal_of_the_broker_ends_it_with_the_winner_on_record_and_without_promotion() -> None:
    played = refused()
    assert held(played, ConditionType.STALLED) == ("True", "PromotionRefused")
    assert held(played, ConditionType.SUCCEEDED) == ("False", "PromotionRefused")
    assert "no such result" in played.message and "kubectl collab promote sel" in played.message
    assert played.status.winner is not None and played.status.winner.candidate == "forest"
    assert played.status.promotion is not None and played.status.promotion.state is PromotionState.KEPT
    assert played.decide() == SelectionPlan() and len(played.asked) == 1


def test_a_refused_promotion_is_asked_again_once_each_time_the_spec_changes() -> None:
    played = refused()
    played.generation, played.body["suspend"] = 2, True
    assert played.decide() == SelectionPlan()
    played.generation, played.body["suspend"] = 3, False
    played.carry_out(played.decide())
    assert held(played, ConditionType.STALLED) == ("True", "PromotionRefused")
    assert played.decide() == SelectionPlan() and len(played.asked) == 2
    played.generation, played.answer = 5, None
    played.carry_out(played.decide())
    assert held(played, ConditionType.SUCCEEDED) == ("True", "Completed")
    assert held(played, ConditionType.STALLED)[0] == "False"
    assert played.status.promotion is not None and played.status.promotion.state is PromotionState.PROMOTED
    assert {request.key for request in played.asked} == {"uid-sel/promotion"} and played.changes == 1
    assert played.decide() == SelectionPlan() and len(played.asked) == 3


@pytest.mark.parametrize(
    ("winners", "state"), [(True, PromotionState.PROMOTED), (False, PromotionState.MOVED)], ids=["winner", "another"]
)
def test_a_refused_promotion_follows_what_a_person_makes_of_the_alias(winners: bool, state: PromotionState) -> None:
    played = refused()
    assert played.status.winner is not None
    by_hand = replace(champion(), digest=played.status.winner.result_digest)
    played.alias = by_hand if winners else champion("other")
    played.carry_out(played.decide())
    assert played.status.promotion is not None and played.status.promotion.state is state
    assert held(played, ConditionType.SUCCEEDED) == ("True", "Completed")
    assert played.decide() == SelectionPlan() and len(played.asked) == 1


def test_a_refused_promotion_that_took_place_all_the_same_is_found_by_its_key() -> None:
    """The operator was killed between the broker's yes, at the second try, and the status."""
    played = refused()
    played.generation, played.answer = 2, None
    before, plan = played.status, played.decide()
    played.carry_out(plan)
    played.status = before
    played.carry_out(played.decide())
    assert played.status.promotion is not None and played.status.promotion.state is PromotionState.PROMOTED
    assert (played.changes, len(played.asked)) == (1, 2)


def test_nothing_is_promoted_before_the_broker_told_what_the_alias_stands_for() -> None:
    played = play(promotion=PROMOTION, broker_read=False)
    for name in ("sel-linear", "sel-network", "sel-forest", "sel-choose"):
        until(played, name)
        played.end(name)
    played.step()
    assert played.decide() == SelectionPlan() and played.status.winner is None
    played.broker_read = True
    assert played.run().changes == 1


def test_an_ended_selection_leaves_no_task_that_lives() -> None:
    played = play().run()
    left = replace(played.tasks["sel-linear"], status=TaskStatus())
    played.tasks["sel-linear"] = left
    assert played.decide() == SelectionPlan(discard=(left,))


def test_a_metric_that_cannot_be_compared_record_by_record_is_ranked_and_marked_undecided() -> None:
    ends = {name: Ends(rows=(("roc_auc", "0.8", "validation", ""),)) for name in GOOD}
    played = play(ends=ends, objective={"metric": "roc_auc"}, promotion=PROMOTION).run()
    assert "sel-choose" not in played.created
    assert played.status.winner is not None and "Undecided" in played.status.winner.message
    assert played.status.promotion is not None and played.status.promotion.state is PromotionState.PROMOTED


def crash_points(played: Play) -> int:
    """How many writes it takes to the end."""
    count = 0
    while played.status.completion_time is None:
        played.step()
        count += 1
    return count


@pytest.mark.parametrize("done", [False, True], ids=["before the write", "after the write"])
def test_a_crash_around_any_step_leads_to_the_same_single_promotion(done: bool) -> None:
    """After a crash the status is what was written last; what was asked of the broker may have been done already."""
    steps = crash_points(play(promotion=PROMOTION, differences=SURE))
    for at in range(steps):
        played = play(promotion=PROMOTION, differences=SURE)
        for _ in range(at):
            played.step()
        before, plan = played.status, played.decide()
        if done:
            played.carry_out(plan)
            # Children and alias are as they were left, the status was not written any more.
            played.status = before
        played.run()
        assert played.changes == 1
        assert played.status.promotion is not None and played.status.promotion.state is PromotionState.PROMOTED
        assert len(played.created) == len(set(played.created))


def test_versions_on_record_that_are_not_those_of_its_datasets_are_chosen_anew() -> None:
    played = play()
    pins = [PinnedDataset(name="another", uid="x", digest=digest("another"))]
    played.status = SelectionStatus(datasets=pins)
    played.step()
    assert [each.name for each in played.status.datasets] == ["train"]
