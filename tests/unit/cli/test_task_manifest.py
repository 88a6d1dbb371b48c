"""What was typed becomes a manifest; what the operator would refuse is refused before it is sent."""

from typing import Any

import pytest
from cli_workplace import DIGEST, raw_task

from collabspace.api.catalogue import catalogue
from collabspace.cli.errors import CommandError
from collabspace.cli.parameters import DatasetChoice, ModelChoice
from collabspace.cli.task_manifest import Typed, build, check

NOTES = (DatasetChoice("hospital-a", "notes"),)
TINY = ModelChoice("SharedDataset", None, "tiny")
HUBS = ModelChoice("SharedDataset", "hub", "tiny")


def typed(**parts: Any) -> Typed:
    whole = {"name": "x", "task": "TokenClassification", "method": "FullFineTuning", "datasets": NOTES, "settings": {}}
    return Typed(**({"random_init": True} | whole | parts))


def built(**parts: Any) -> dict[str, Any]:
    spec: dict[str, Any] = build(typed(**parts), "lab", catalogue())["spec"]
    return spec


def test_only_what_was_typed_is_written() -> None:
    assert built() == {
        "task": "TokenClassification",
        "method": "FullFineTuning",
        "datasets": [{"name": "notes", "datasetRef": {"namespace": "hospital-a", "name": "notes"}, "role": "Train"}],
        "initialization": "Random",
    }


def test_everything_that_can_be_typed_has_its_field() -> None:
    spec = built(
        settings={"epochs": "5", "learningRate": "1e-4"}, model=HUBS, random_init=False, seed=7, priority=-3,
        gates={"entity_micro_f1": "0.8"}, cpu="2", memory="4Gi", gpus=1,
        datasets=(DatasetChoice(None, "own", "Evaluate", DIGEST),),
    )  # fmt: skip
    assert spec["parameters"] == {"epochs": 5, "learningRate": "1e-4"}
    assert spec["modelFrom"] == {"kind": "SharedDataset", "namespace": "hub", "name": "tiny"}
    assert (spec["seed"], spec["priority"]) == (7, -3)
    assert spec["gates"] == [{"metric": "entity_micro_f1", "minimum": "0.8"}]
    assert spec["resourcesPerNode"] == {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}
    assert spec["datasets"][0] == {
        "name": "own", "datasetRef": {"namespace": "lab", "name": "own"}, "role": "Evaluate", "version": DIGEST,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["CollabTask", "Alias"])
@pytest.mark.parametrize("method", ["FullFineTuning", "Evaluation"])
def test_a_model_of_the_own_team_is_started_from_or_measured(kind: str, method: str) -> None:
    document = build(typed(method=method, model=ModelChoice(kind, None, "tiny"), random_init=False), "lab", catalogue())
    check(document, catalogue())
    assert document["spec"]["modelFrom"] == {"kind": kind, "namespace": "lab", "name": "tiny"}


def test_an_evaluation_only_measures_so_its_data_need_no_role() -> None:
    datasets = (DatasetChoice("a", "notes"), DatasetChoice("b", "notes", "Train"))
    roles = [each["role"] for each in built(method="Evaluation", datasets=datasets)["datasets"]]
    assert roles == ["Evaluate", "Train"]


def test_limits_have_their_fields_and_a_copy_is_not_suspended() -> None:
    spec = built(max_attempts=5, deadline=7200, pending_deadline=60, ttl=0, budget={"gpu": 3600})
    limits = {
        "maxAttempts": 5,
        "activeDeadlineSeconds": 7200,
        "pendingDeadlineSeconds": 60,
        "ttlSecondsAfterFinished": 0,
        "budget": {"gpuSeconds": 3600},
    }
    assert spec == built() | limits
    like = spec | {"suspend": True}
    copy = build(Typed("y", None, None, (), {}, budget={"cpu": 60}), "lab", catalogue(), like)["spec"]
    assert copy == spec | {"budget": {"gpuSeconds": 3600, "cpuSeconds": 60}}


def test_zero_is_typed_too() -> None:
    spec = built(seed=0, priority=0, gpus=0)
    assert (spec["seed"], spec["priority"], spec["resourcesPerNode"]) == (0, 0, {"nvidia.com/gpu": "0"})


@pytest.mark.parametrize(
    ("references", "labels"),
    [
        (["a/notes", "b/notes"], ["a", "b"]),
        (["a/notes", "b/cases"], ["notes", "cases"]),
        (["a/notes", "a/cases", "b/notes"], ["a-notes", "cases", "b"]),
    ],
)
def test_datasets_of_one_name_are_told_apart_by_their_owner(references: list[str], labels: list[str]) -> None:
    datasets = [DatasetChoice(*reference.split("/")) for reference in references]
    assert [each["name"] for each in built(datasets=datasets)["datasets"]] == labels


def test_a_label_that_was_given_stands() -> None:
    datasets = [DatasetChoice("a", "notes", label="first"), DatasetChoice("b", "notes", label="second")]
    assert [each["name"] for each in built(datasets=datasets)["datasets"]] == ["first", "second"]


def test_a_name_that_grows_too_long_asks_for_a_label() -> None:
    datasets = [DatasetChoice(owner, name) for owner in ("a" * 40, "b") for name in ("n" * 40, "m")]
    with pytest.raises(CommandError, match="longer than 63 characters"):
        built(datasets=datasets)


def test_the_same_dataset_twice_is_refused() -> None:
    with pytest.raises(CommandError, match="does not tell 2 datasets apart"):
        built(datasets=NOTES * 2)


def test_a_copy_differs_in_what_was_typed_only() -> None:
    like = raw_task()["spec"]
    copy = build(Typed("y", None, None, (), {"epochs": "9"}, memory="8Gi"), "lab", catalogue(), like)
    assert copy["metadata"] == {"name": "y", "namespace": "lab"}
    assert copy["spec"] == like | {
        "parameters": {"epochs": 9, "learningRate": "1e-3"},
        "resourcesPerNode": {"cpu": "1", "memory": "8Gi", "nvidia.com/gpu": "1"},
    }
    assert like == raw_task()["spec"]


def test_a_copy_with_weights_forgets_the_random_start_and_the_other_way_round() -> None:
    like = raw_task()["spec"]
    with_weights = build(Typed("y", None, None, (), {}, model=TINY), "lab", catalogue(), like)["spec"]
    assert "initialization" not in with_weights
    random_again = build(Typed("z", None, None, (), {}, random_init=True), "lab", catalogue(), with_weights)["spec"]
    assert "modelFrom" not in random_again


def test_a_complete_task_passes() -> None:
    check(raw_task(), catalogue())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": "TokenClasification"}, "Did you mean TokenClassification?"),
        ({"method": "LoRB"}, "no such method"),
        (
            {"parameters": {"epoch": 3}},
            "parameters.epoch: method FullFineTuning has no such parameter. Did you mean epochs?",
        ),
        ({"parameters": {"epochs": 0}}, "parameters.epochs: '0' is not allowed"),
        ({"parameters": {"learningRate": 0.001}}, 'Put it in quotes: "0.001"'),
        ({"parameters": 7}, "spec.parameters"),
        ({"initialization": "Pretrained"}, "set initialization: Random to learn from nothing"),
        ({"gates": [{"metric": "accuracy", "minimum": "0.5"}]}, "'accuracy' is no metric of task TokenClassification"),
        ({"datasets": []}, "spec.datasets"),
        ({"resourcesPerNode": {"memory": "4Gib"}}, "spec.resourcesPerNode.memory"),
        ({"seed": -1}, "spec.seed"),
        (
            {"initialization": "Pretrained", "modelFrom": {"kind": "Alias", "namespace": "film-club", "name": "x"}},
            "modelFrom.namespace is 'film-club': kind Alias is of the own namespace alone",
        ),
    ],
)
def test_what_the_operator_would_refuse_is_named_by_its_field(change: dict[str, Any], said: str) -> None:
    with pytest.raises(CommandError) as refused:
        check(raw_task(spec=change), catalogue())
    assert said in str(refused.value)
    assert str(refused.value).startswith("error: task joint: ")


def test_all_problems_are_named_at_once() -> None:
    change = {"parameters": {"epoch": 3, "dropout": "2"}, "gates": [{"metric": "x", "minimum": "1"}]}
    with pytest.raises(CommandError) as refused:
        check(raw_task(spec=change), catalogue())
    for field in ("parameters.epoch", "parameters.dropout", "gates"):
        assert field in str(refused.value)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": "Pod", "apiVersion": "v1"},
        raw_task() | {"apiVersion": "collabspace.io/v2"},
        raw_task() | {"metadata": 3},
        raw_task() | {"metadata": {"name": "x"}},
        raw_task() | {"metadata": {"name": "x", "namespace": "../../secrets"}},
        raw_task() | {"spec": None},
        raw_task("a.b"),
        raw_task("a" * 51),
        raw_task(""),
    ],
)
def test_anything_but_a_named_task_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(CommandError):
        check(document, catalogue())
