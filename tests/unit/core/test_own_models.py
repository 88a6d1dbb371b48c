"""Tasks that start from, measure or compare what their own team has stored."""

from dataclasses import replace
from typing import Any

import pytest
from core_facts import NOW, OTHER, OWN, SETTINGS, UIDS, at, dataset, digest, meta, task, text
from selection_play import CATALOGUE, DATA

from collabspace.api.dataset import DatasetSpec, DatasetStatus, Version
from collabspace.api.run import InitialModel, RunResult
from collabspace.api.task import Attempt, PinnedDataset, TaskSpec, TaskStatus
from collabspace.core import job
from collabspace.core.admission import ADMITTED
from collabspace.core.observed import (
    AliasRecord,
    Dataset,
    Models,
    ObservedTask,
    StoredResult,
    TeamFacts,
    observe,
    references,
)
from collabspace.core.parameters import check
from collabspace.core.task import decide_task
from collabspace.core.task_plan import TaskPlan, is_final
from collabspace.core.task_world import TaskWorld

STORED = StoredResult("uid-first", "Tabular", digest("first"))
MODELS = Models(
    {(OWN, "first"): STORED, (OWN, "second"): StoredResult("uid-second", "Tabular", digest("second"))},
    {(OWN, "best"): AliasRecord(UIDS[OWN], "uid-first", "first", digest("first"))},
)
EVALUATED = [DATA | {"role": "Evaluate"}]


def source(kind: str, name: str, namespace: str = OWN, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "namespace": namespace, "name": name, **more}


def compared(name: str, candidate: str, stored: str) -> dict[str, Any]:
    return {"name": name, "candidate": candidate, "taskName": name, "digest": digest(stored)}


BOTH = [compared("first", "one", "first"), compared("second", "two", "second")]


def evaluation(**model: Any) -> ObservedTask:
    return task(method="Evaluation", modelFrom=model, datasets=EVALUATED)


def comparison(results: list[dict[str, Any]], **changes: Any) -> ObservedTask:
    return task(**{"method": "Comparison", "results": results, "datasets": [DATA]} | changes)


def plan_of(observed: ObservedTask, models: Models = MODELS, **changes: Any) -> TaskPlan:
    known = {"verdict": ADMITTED, "models": models} | changes
    datasets = known.pop("datasets", {(OWN, "table"): dataset()})
    found = TaskWorld(CATALOGUE, SETTINGS, datasets, UIDS, TeamFacts(True), **known)
    return decide_task(observed, found, NOW)


@pytest.mark.parametrize(
    "model",
    [
        source("CollabTask", "first"),
        source("CollabTask", "first", digest=digest("first")),
        source("Alias", "best"),
        source("Alias", "best", digest=digest("first")),
    ],
)
def test_a_stored_result_goes_into_the_run_document_by_uid_and_digest(model: dict[str, Any]) -> None:
    plan = plan_of(evaluation(**model))
    assert plan.create is not None
    assert plan.create.run.training.initial_model == InitialModel(uid="uid-first", digest=digest("first"))
    assert not plan.create.run.training.random_init


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (source("CollabTask", "none"), "does not exist in this namespace"),
        (source("CollabTask", "empty"), "has stored no result yet"),
        (source("CollabTask", "first", digest=digest("x")), f"is {digest('first')}, not {digest('x')}"),
        (source("Alias", "none"), "stands for nothing yet"),
        (source("Alias", "best", digest=digest("x")), "name that digest"),
    ],
)
def test_a_task_waits_for_a_model_that_is_not_there_yet(model: dict[str, Any], said: str) -> None:
    models = Models(MODELS.results | {(OWN, "empty"): StoredResult("uid-empty", "Tabular", None)}, MODELS.aliases)
    plan = plan_of(evaluation(**model), models)
    assert plan.create is None and plan.status is not None
    assert plan.status.reason == "DatasetNotReady"
    assert said in next(each.message for each in plan.status.conditions if each.type == "DataAuthorized")


def test_what_was_given_to_an_attempt_stays_with_it() -> None:
    """Also when the alias has moved and the compared task is gone."""
    observed = evaluation(**source("Alias", "best"))
    first = plan_of(observed)
    assert first.create is not None
    body = first.create.job
    body["metadata"] |= {"uid": "uid-job", "creationTimestamp": "2026-06-01T12:00:00Z"}
    facts = job.read(body)
    assert facts is not None and ("modelFrom", "uid-first", digest("first")) in facts.pinned
    plan = plan_of(observed, Models(), job=facts, jobs=(facts,))
    assert plan.stop is None and plan.status is not None and plan.status.reason == "Starting"


def test_a_running_comparison_goes_on_when_a_compared_task_is_deleted() -> None:
    first = plan_of(comparison(BOTH))
    assert first.create is not None
    assert first.create.run.training.results == [
        RunResult(name="first", candidate="one", uid="uid-first", digest=digest("first")),
        RunResult(name="second", candidate="two", uid="uid-second", digest=digest("second")),
    ]
    body = first.create.job
    body["metadata"] |= {"uid": "uid-job", "creationTimestamp": "2026-06-01T12:00:00Z"}
    facts = job.read(body)
    plan = plan_of(comparison(BOTH), Models(), job=facts)
    assert plan.stop is None and plan.status is not None and plan.status.reason == "Starting"


def after_an_interruption(observed: ObservedTask, models: Models) -> TaskPlan:
    """Its first attempt had its models, was interrupted, and the next one may start."""
    first = plan_of(observed)
    assert first.create is not None
    model = first.create.run.training.initial_model
    pinned = [PinnedDataset(name="modelFrom", uid=model.uid, digest=model.digest)] if model is not None else []
    ended = Attempt(number=1, outcome="Interrupted", reason="Interrupted", end_time=text(at(-3600)))
    return plan_of(replace(observed, status=TaskStatus(attempts=[ended], datasets=pinned)), models)


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "deleted and made again"])
@pytest.mark.parametrize("observed", [comparison(BOTH), evaluation(**source("CollabTask", "first"))])
def test_what_goes_on_after_a_result_that_it_needs_was_deleted_ends_and_says_so(
    observed: ObservedTask, again: bool
) -> None:
    other = {(OWN, "first"): StoredResult("uid-other", "Tabular", None)} if again else {}
    left = Models({(OWN, "second"): MODELS.results[OWN, "second"]} | other)
    plan = after_an_interruption(observed, left)
    assert plan.status is not None and plan.create is None and is_final(plan.status)
    assert plan.status.reason == "ResultGone"
    said = next(each.message for each in plan.status.conditions if each.type == "Stalled")
    assert f"CollabTask {OWN}/first was deleted" in said and "submit the task anew" in said
    assert [each.number for each in plan.status.attempts] == [1]


@pytest.mark.parametrize(
    "observed", [comparison(BOTH), evaluation(**source("CollabTask", "first")), evaluation(**source("Alias", "best"))]
)
def test_the_next_attempt_has_the_same_models_while_they_are_there(observed: ObservedTask) -> None:
    plan = after_an_interruption(observed, MODELS)
    assert plan.create is not None and plan.create.run.execution.attempt == 2


def test_a_comparison_that_never_started_ends_as_well_when_a_compared_task_is_deleted() -> None:
    plan = plan_of(comparison(BOTH), Models({(OWN, "second"): MODELS.results[OWN, "second"]}))
    assert plan.status is not None and is_final(plan.status)
    assert plan.status.reason == "ResultGone"


def test_a_result_that_is_not_there_is_waited_for() -> None:
    plan = plan_of(comparison([BOTH[0], compared("second", "two", "other")]))
    assert plan.status is not None and plan.status.reason == "DatasetNotReady"


WEIGHTS = PinnedDataset(name="modelFrom", uid="uid-weights", digest=digest("weights"))
SHARED = source("SharedDataset", "weights", OTHER)
BESIDE = {
    "name": "base",
    "datasetRef": {"namespace": OTHER, "name": "weights"},
    "version": digest("weights"),
    "role": "Evaluate",
}


def resting(method: str = "Adapter", weights: dict[str, Any] = SHARED, **parameters: str) -> Models:
    """Task and alias of a model that a method made from weights."""
    spec = task(method=method, modelFrom=weights, parameters=parameters).spec
    made = StoredResult("uid-first", "Tabular", digest("first"), made_by=spec, started_from=WEIGHTS)
    return Models({(OWN, "first"): made}, MODELS.aliases)


def with_weights(*versions: str, uses: tuple[str, ...] = ("Train", "Evaluate")) -> dict[Any, Dataset]:
    """The table, and weights of another team that grants them."""
    grant = {"name": "g", "namespace": OWN, "namespaceUID": UIDS[OWN], "uses": list(uses)}
    body = {"metadata": meta("weights", OTHER), "spec": {"format": "Model", "grants": [grant]}}
    seen = observe(body, DatasetSpec, DatasetStatus)
    listed = tuple(
        Version(digest=digest(each), created_time=text(NOW), records=1, bytes=1, files=1) for each in versions
    )
    return {(OWN, "table"): dataset(), (OTHER, "weights"): Dataset(seen, listed)}


@pytest.mark.parametrize("model", [source("CollabTask", "first"), source("Alias", "best")])
def test_a_model_that_rests_on_weights_is_measured_only_with_these_named_beside_the_data(model: dict[str, Any]) -> None:
    plan = plan_of(evaluation(**model), resting())
    assert plan.create is None and plan.status is not None and plan.status.reason == "InvalidSpec"
    said = next(each.message for each in plan.status.conditions if each.type == "Accepted")
    entry = f"{{name: base, datasetRef: {{namespace: {OTHER}, name: weights}}, version: {digest('weights')}"
    assert entry in said and "merge: Yes" in said
    named = task(method="Evaluation", modelFrom=model, datasets=[*EVALUATED, BESIDE])
    plan = plan_of(named, resting(), datasets=with_weights("newer", "weights"))
    assert plan.create is not None
    pinned = {each.name: (each.uid, each.digest) for each in plan.create.run.training.datasets}
    assert pinned["base"] == ("uid-weights", digest("weights"))


def test_the_weights_beside_the_data_need_their_owners_grant_for_this_use() -> None:
    named = task(method="Evaluation", modelFrom=source("CollabTask", "first"), datasets=[*EVALUATED, BESIDE])
    plan = plan_of(named, resting(), datasets=with_weights("weights", uses=("Train",)))
    assert plan.create is None and plan.status is not None and plan.status.reason == "UseNotGranted"


def test_other_weights_than_those_that_the_model_rests_on_do_not_do() -> None:
    other = BESIDE | {"version": digest("newer")}
    named = task(method="Evaluation", modelFrom=source("CollabTask", "first"), datasets=[*EVALUATED, other])
    plan = plan_of(named, resting(), datasets=with_weights("newer", "weights"))
    assert plan.create is None and plan.status is not None and plan.status.reason == "InvalidSpec"


def test_weights_are_no_data_of_a_training_and_not_all_that_an_evaluation_measures_on() -> None:
    first = source("CollabTask", "first")
    for observed in (
        task(method="Linear", datasets=[DATA, BESIDE]),
        task(method="Evaluation", modelFrom=first, datasets=[BESIDE]),
    ):
        plan = plan_of(observed, resting(), datasets=with_weights("weights"))
        assert plan.create is None and plan.status is not None and plan.status.reason == "InvalidSpec"


@pytest.mark.parametrize("models", [resting(merge="Yes"), resting("Network")], ids=["merged", "fine-tuned"])
def test_a_whole_model_needs_no_weights_beside(models: Models) -> None:
    assert plan_of(evaluation(**source("CollabTask", "first")), models).create is not None


def test_a_training_does_not_start_from_a_model_that_is_not_whole() -> None:
    plan = plan_of(task(method="Network", modelFrom=source("CollabTask", "first")), resting())
    assert plan.create is None and plan.status is not None and plan.status.reason == "InvalidSpec"


def test_results_of_another_task_are_refused() -> None:
    other = Models(MODELS.results | {(OWN, "second"): StoredResult("u", "TextClassification", digest("second"))})
    plan = plan_of(comparison(BOTH), other)
    assert plan.status is not None and plan.status.reason == "InvalidSpec"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "Evaluation", "datasets": EVALUATED}, "modelFrom: method Evaluation measures a model"),
        ({"method": "Evaluation", "modelFrom": source("Alias", "best")}, "write role: Evaluate"),
        ({"modelFrom": source("Alias", "best", OTHER), "method": "Network"}, f"write {OWN}"),
        ({"modelFrom": source("CollabTask", "x", OTHER), "method": "Network"}, "modelFrom.namespace is 'hospital-b'"),
        ({"method": "Comparison"}, "results: 0 of 0 candidates"),
        ({"method": "Comparison", "results": BOTH[:1]}, "results: 1 of 1 candidates"),
        (
            {"method": "Comparison", "results": [*BOTH, compared("third", "x", "y") | {"name": "first"}]},
            "two of them have the same name",
        ),
        (
            {"method": "Comparison", "results": [*BOTH, BOTH[0] | {"name": "third"}]},
            "one is named twice",
        ),
        ({"method": "Comparison", "results": BOTH, "modelFrom": source("Alias", "best")}, "remove modelFrom"),
        ({"method": "Linear", "results": BOTH}, "results: method Linear compares nothing"),
    ],
)
def test_what_a_method_cannot_use_is_refused_by_field(changes: dict[str, Any], said: str) -> None:
    spec = TaskSpec.model_validate({"task": "Tabular", "datasets": [DATA]} | changes)
    found = check(spec, CATALOGUE, OWN)
    assert [each.reason.value for each in found.problems] == ["InvalidSpec"]
    assert said in found.problems[0].message


def test_a_task_refers_to_all_that_it_waits_for() -> None:
    spec = comparison(BOTH, modelFrom=source("Alias", "best")).spec
    assert {tuple(each) for each in references(spec, OWN)} == {
        ("SharedDataset", OWN, "table"),
        ("Alias", OWN, "best"),
        ("CollabTask", OWN, "first"),
        ("CollabTask", OWN, "second"),
    }
