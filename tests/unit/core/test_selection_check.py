"""Which selections are refused before anything starts, and in which words."""

from typing import Any

import pytest
from core_facts import OTHER, OWN, digest
from pydantic import ValidationError
from selection_play import CATALOGUE, DATA, Play, candidate, selection_body

from collabspace.api.selection import SelectionSpec
from collabspace.core.selection_check import check
from collabspace.core.selection_world import SelectionPlan


def problems(*candidates: dict[str, Any], **changes: Any) -> str:
    spec = SelectionSpec.model_validate(selection_body(*candidates, **changes))
    return "; ".join(f"{each.reason}: {each.message}" for each in check(spec, CATALOGUE, "sel", OWN))


def test_a_good_selection_has_no_problems() -> None:
    assert problems() == ""


@pytest.mark.parametrize(
    ("candidates", "changes", "said"),
    [
        ([], {"task": "Tabula"}, "UnknownMethod: task is 'Tabula'"),
        ([], {"objective": {"metric": "acuracy"}}, "Did you mean accuracy?"),
        ([], {"objective": {"metric": "log_loss"}}, "objective.goal is Maximize, but of log_loss the lower is better"),
        (
            [],
            {"objective": {"metric": "accuracy", "goal": "Minimize"}},
            "the higher is better; write Maximize",
        ),
        ([], {"objective": {"metric": "accuracy", "tolerance": "-0.1"}}, "objective.tolerance is -0.1"),
        ([candidate("a", "Linar")], {}, "candidates[a].method is 'Linar'"),
        ([candidate("a", parameters={"D": 1})], {}, "InvalidParameter: candidates[a].parameters.D"),
        ([candidate("a", "Comparison")], {}, "candidates[a].method is Comparison, which learns nothing"),
        ([candidate("a", "Evaluation")], {}, "which learns nothing; there is: Linear, Forest, Network"),
        ([candidate("a", "Network")], {}, "candidates[a].modelFrom: method Network starts from weights"),
        ([candidate("a"), candidate("b", parameters={"C": "1"})], {}, "candidates[b] and candidates[a]"),
        ([candidate("a"), candidate("a", "Forest")], {}, "two of them are named 'a'"),
        ([candidate("a"), candidate("a-1", "Forest")], {"seeds": 2}, "would be named sel-a-1"),
        ([candidate("choose")], {}, "would be named sel-choose"),
        ([], {"datasets": [DATA, DATA]}, "datasets: two of them have the same name"),
        ([], {"datasets": [DATA | {"role": "Evaluate"}]}, "datasets: at least one must have role Train"),
        ([candidate("a", resourcesPerNode={"memory": "0"})], {}, "candidates[a].resourcesPerNode"),
    ],
)
def test_what_cannot_run_is_refused_with_field_value_and_remedy(
    candidates: list[dict[str, Any]], changes: dict[str, Any], said: str
) -> None:
    assert said in problems(*candidates, **changes)


def model(name: str, namespace: str = OWN, kind: str = "CollabTask", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "namespace": namespace, "name": name, **more}


def test_a_model_of_another_team_comes_only_as_a_dataset() -> None:
    said = problems(candidate("a", "Network", modelFrom=model("m", OTHER, "Alias")))
    assert "candidates[a].modelFrom.namespace is 'hospital-b'" in said and f"write {OWN}" in said


def test_more_models_than_a_status_can_pin_need_digests() -> None:
    many = [candidate(f"c{n}", "Network", modelFrom=model(f"m{n}")) for n in range(17)]
    assert "16 can be pinned" in problems(*many)
    many[0]["modelFrom"]["digest"] = digest("x")
    assert problems(*many) == ""


def test_a_refused_selection_makes_no_task_and_a_corrected_one_runs() -> None:
    played = Play(selection_body(objective={"metric": "acuracy"}))
    played.step()
    assert played.status.reason == "InvalidSpec" and not played.tasks
    assert played.decide() == SelectionPlan()
    played.body["objective"]["metric"] = "accuracy"
    played.generation = 2
    played.run()
    assert played.status.reason == "Completed"


def test_a_decimal_that_no_number_can_hold_is_none() -> None:
    with pytest.raises(ValidationError, match=r"objective\.tolerance"):
        problems(objective={"metric": "accuracy", "tolerance": "1e9999999999999999999999"})
