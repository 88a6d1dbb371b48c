"""A selection as people read it: ranks and reasons, cost, verdicts, and what a figure does not say."""

from typing import Any

import pytest
from cli_workplace import DIGEST, NOW, SINCE, a_report, condition

from collabspace.api import names
from collabspace.api.catalogue import catalogue
from collabspace.api.conditions import SELECTION_CONDITIONS
from collabspace.api.selection import ModelSelection
from collabspace.cli import selection_rows, winner_figures
from collabspace.cli.errors import CommandError
from collabspace.cli.output import text_of
from collabspace.cli.selection_manifest import check
from collabspace.cli.selection_state import has_ended, state_of
from collabspace.cli.selection_views import next_commands_of

LINEAR = {"name": "linear", "method": "LogisticRegression"}
FOREST = {"name": "forest", "method": "RandomForest"}
ENTRIES = [
    {"rank": 1, "candidate": "linear", "taskName": "sentiment-linear", "validationValue": "0.75", "state": "Ranked",
     "cost": {"cpuSeconds": 3}, "runs": 1},
    {"candidate": "forest", "taskName": "sentiment-forest", "state": "Excluded", "reason": "MetricInvalid",
     "message": "accuracy is nan", "cost": {"cpuSeconds": 40, "gpuSeconds": 2}},
]  # fmt: skip
COMPARED = [
    {"rival": "Winner", "candidate": "linear", "testValue": "0.74", "runs": 1},
    {"rival": "Baseline", "candidate": "forest", "testValue": "0.73", "difference": "0.010", "low": "-0.02",
     "high": "0.04", "verdict": "Undecided", "runs": 1, "message": "1 run each"},
]  # fmt: skip


def raw(**parts: Any) -> dict[str, Any]:
    spec = {
        "task": "TextClassification",
        "datasets": [{"name": "s", "datasetRef": {"namespace": "lab", "name": "snippets"}, "role": "Train"}],
        "objective": {"metric": "accuracy"},
        "candidates": [LINEAR, FOREST],
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelSelection",
        "metadata": {"name": "sentiment", "namespace": "lab", "uid": "u", "creationTimestamp": SINCE},
        "spec": spec | parts.get("spec", {}),
        "status": parts.get("status", {}),
    }


def selection(reason: str = "Completed", succeeded: str = "True", **status: Any) -> ModelSelection:
    conditions = [
        condition(kind, succeeded if kind == "Succeeded" else "False", reason, "told") for kind in SELECTION_CONDITIONS
    ]
    return ModelSelection.model_validate(raw(status={"reason": reason, "conditions": conditions, **status}))


def test_a_winner_shows_its_own_figure_on_each_split_with_interval_and_number_of_records() -> None:
    metrics = [
        {"name": "entity_micro_f1", "value": 0.9, "split": "validation"},
        {"name": "entity_micro_f1", "value": 0.819, "split": "test", "low": 0.79, "high": 0.843},
        {"name": "entity_micro_f1", "value": 0.7, "split": "test", "dataset": "a"},
    ]
    measured = winner_figures.of_report(a_report(metrics=metrics), "entity_micro_f1")
    assert winner_figures.rows(measured) == [
        ("test", "0.819", "0.790 to 0.843", "20"),
        ("validation", "0.900", "-", "0"),
    ]
    assert winner_figures.documents(measured)[0] == metrics[1] | {"records": 20, "dataset": "", "label": ""}
    assert winner_figures.of_report(a_report(), "accuracy") == []


def test_the_leaderboard_shows_rank_value_cost_and_why_one_has_no_rank() -> None:
    first, second = selection_rows.board_rows(selection(leaderboard=ENTRIES))
    assert [text_of(cell) for cell in first][:4] == ["1", "linear", "LogisticRegression", "0.75"]
    assert text_of(first[4]).startswith("███████") and "3 CPU-s" in first
    assert [text_of(cell) for cell in second] == [
        "", "forest", "RandomForest", "", "", "",
        "2 GPU-s, 40 CPU-s", "Excluded", "MetricInvalid", "", "accuracy is nan",
    ]  # fmt: skip


def test_figures_that_are_no_shares_get_no_bars() -> None:
    entries = [ENTRIES[0] | {"validationValue": "3.2"}, ENTRIES[0] | {"candidate": "b", "validationValue": "0.5"}]
    assert [text_of(row[4]) for row in selection_rows.board_rows(selection(leaderboard=entries))] == ["", ""]


def test_the_comparison_says_the_interval_the_verdict_and_what_one_run_cannot_tell() -> None:
    shown = selection(leaderboard=ENTRIES, comparison=COMPARED)
    winner, baseline = selection_rows.comparison_rows(shown.status.comparison)
    assert [text_of(cell) for cell in winner][4:7] == ["", "", ""]
    assert [text_of(cell) for cell in baseline][4:8] == ["0.010", "-0.02 to 0.04", "Undecided", "1"]
    text = " ".join(selection_rows.reading(shown))
    assert "Undecided: these records and runs cannot tell" in text and "Better:" not in text
    assert "scored once" in text and "1 run each" in text


def test_winner_and_alias_are_told_in_a_line_each() -> None:
    winner = {"candidate": "linear", "taskName": "sentiment-linear", "taskUid": "u", "resultDigest": DIGEST,
              "metricValue": "0.75", "message": "the cheapest within the tolerance"}  # fmt: skip
    promotion = {"state": "Awaiting", "alias": "production", "message": "a person decides"}
    shown = selection(winner=winner, promotion=promotion)
    assert selection_rows.outcome(shown) == [
        "Winner: linear, 0.75: the cheapest within the tolerance",
        "Alias production: Awaiting: a person decides",
    ]
    assert selection_rows.awaits_a_person(shown)
    assert [text_of(cell) for cell in selection_rows.list_row(shown, NOW)][3:9] == [
        "Succeeded", "Completed", "0 of 2", "linear", "0.75", "production: Awaiting",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "succeeded", "state", "ended"),
    [
        ("Completed", "True", "Succeeded", True),
        ("NoWinner", "False", "Failed", True),
        ("Comparing", "Unknown", "Running", False),
        ("WaitingForQuota", "Unknown", "Waiting", False),
        ("", "Unknown", "Waiting", False),
    ],
)
def test_a_selection_stands_where_its_conditions_say(reason: str, succeeded: str, state: str, ended: bool) -> None:
    shown = selection(reason or "Pending", succeeded)
    assert (state_of(shown).value, has_ended(shown)) == (state, ended)


def test_a_status_of_an_older_spec_ends_nothing() -> None:
    old = raw(status={"observedGeneration": 1, "conditions": [condition("Succeeded", "False", "InvalidSpec")]})
    old["metadata"]["generation"] = 2
    assert not has_ended(ModelSelection.model_validate(old))


WRONG = {
    "another kind": ({"kind": "CollabTask"}, {}, "select takes a"),
    "a name too long": ({"metadata": {"name": "a" * 41, "namespace": "lab"}}, {}, "at most 40"),
    "a float": ({}, {"objective": {"metric": "accuracy", "tolerance": 0.01}}, 'Put it in quotes: "0.01"'),
    "no candidate": ({}, {"candidates": []}, "spec.candidates"),
    "a thousand candidates": ({}, {"candidates": [LINEAR | {"name": f"c{n}"} for n in range(1000)]}, "spec.candidates"),
    "a metric that nobody reports": ({}, {"objective": {"metric": "acuracy"}}, "accuracy"),
    "a goal that is none": ({}, {"objective": {"metric": "accuracy", "goal": "Max"}}, "spec.objective.goal"),
    "the wrong goal": ({}, {"objective": {"metric": "accuracy", "goal": "Minimize"}}, "write Maximize"),
    "two of a name": ({}, {"candidates": [LINEAR, LINEAR]}, "two of them are named"),
    "an alias with a slash": ({}, {"promotion": {"alias": "other-team/production"}}, "spec.promotion.alias"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_could_never_run_is_refused_before_it_is_sent(wrong: str) -> None:
    parts, spec, said = WRONG[wrong]
    with pytest.raises(CommandError) as refused:
        check(raw(spec=spec) | parts, catalogue())
    assert said in str(refused.value)


def test_a_selection_that_can_run_passes() -> None:
    assert check(raw(), catalogue()).objective.metric == "accuracy"


@pytest.mark.parametrize("reason", ["InvalidSpec", "InvalidParameter", "UnknownMethod"])
def test_a_selection_refused_for_its_spec_is_handed_in_again_from_the_corrected_file(reason: str) -> None:
    assert next_commands_of(selection(reason, "False")) == ["kubectl collab select -f FILE -n lab"]


def test_a_selection_that_ended_otherwise_is_to_be_looked_at() -> None:
    assert next_commands_of(selection("NoWinner", "False")) == ["kubectl collab compare sentiment -n lab"]
