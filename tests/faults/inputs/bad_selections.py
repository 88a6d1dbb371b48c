"""Bad ModelSelections."""

from typing import Any

from bad_input import ALARM, DROP, OK, SELECTION, Case, Change

LINEAR = {"name": "linear", "method": "LogisticRegression"}


def _case(name: str, change: Change, refused: str = "", *ends: str, **more: Any) -> Case:
    return Case(name, SELECTION, change, refused, ends or ("InvalidSpec", ALARM), **more)


def _candidate(**fields: Any) -> Change:
    return {f"spec/candidates/0/{key}": value for key, value in fields.items()}


SELECTIONS = (
    _case("selection.without-spec", {"spec": DROP}, "spec"),
    _case("selection.spec-a-list", {"spec": [1]}, "spec"),
    _case("selection.name-41-long", {"metadata/name": "s" * 41}, "metadata.name", ALARM, OK),
    _case("selection.name-with-dot", {"metadata/name": "a.b"}, "metadata.name", ALARM, OK),
    _case("selection.no-candidates", {"spec/candidates": []}, "spec.candidates"),
    _case("selection.candidates-null", {"spec/candidates": None}, "spec.candidates"),
    _case("selection.candidates-a-text", {"spec/candidates": "all"}, "spec.candidates"),
    _case(
        "selection.candidates-51",
        {"spec/candidates": [{**LINEAR, "name": f"c{number}"} for number in range(51)]},
        "spec.candidates",
    ),
    _case("selection.candidates-same-name", {"spec/candidates/+": LINEAR}, "spec.candidates[2]"),
    _case("selection.candidates-equal", {"spec/candidates": [LINEAR, {**LINEAR, "name": "again"}]}, "", "InvalidSpec"),
    _case("selection.candidate-named-final", _candidate(name="final"), "", "InvalidSpec"),
    _case("selection.candidate-upper-case", _candidate(name="Linear"), "spec.candidates[0].name"),
    _case("selection.candidate-no-method", _candidate(method=DROP), "spec.candidates[0].method"),
    _case("selection.method-unknown", _candidate(method="Magic"), "", "UnknownMethod"),
    _case("selection.method-evaluation", _candidate(method="Evaluation"), "", "InvalidSpec"),
    _case("selection.method-comparison", _candidate(method="Comparison"), "", "InvalidSpec"),
    _case("selection.parameter-unknown", _candidate(parameters={"depth": 3}), "", "InvalidParameter"),
    _case("selection.parameter-a-list", _candidate(parameters={"C": [1]}), "spec.candidates[0].parameters.C"),
    _case(
        "selection.model-path",
        _candidate(modelFrom={"namespace": "..", "name": "x"}),
        "spec.candidates[0].modelFrom.namespace",
    ),
    _case(
        "selection.model-of-strangers",
        _candidate(modelFrom={"namespace": "elsewhere", "name": "bert"}),
        "",
        "InvalidSpec",
    ),
    _case(
        "selection.resources-negative",
        _candidate(resourcesPerNode={"cpu": "-4"}),
        "spec.candidates[0].resourcesPerNode.cpu",
    ),
    _case("selection.resources-zero", _candidate(resourcesPerNode={"cpu": "0"}), "", "InvalidSpec"),
    _case("selection.metric-unknown", {"spec/objective/metric": "beauty"}, "", "InvalidSpec"),
    _case("selection.metric-empty", {"spec/objective/metric": ""}, "spec.objective.metric"),
    _case("selection.objective-missing", {"spec/objective": DROP}, "spec.objective"),
    _case("selection.goal-wrong-way", {"spec/objective/goal": "Minimize"}, "", "InvalidSpec"),
    _case("selection.goal-unknown", {"spec/objective/goal": "Best"}, "spec.objective.goal"),
    _case("selection.tolerance-negative", {"spec/objective/tolerance": "-0.5"}, "", "InvalidSpec"),
    _case("selection.tolerance-not-a-number", {"spec/objective/tolerance": "NaN"}, "spec.objective.tolerance"),
    _case("selection.tolerance-a-number", {"spec/objective/tolerance": 0.01}, "spec.objective.tolerance"),
    _case(
        "selection.tolerance-beyond-numbers",
        {"spec/objective/tolerance": "1e9999999999999999999999"},
        "spec.objective.tolerance",
    ),
    _case("selection.tolerance-huge", {"spec/objective/tolerance": "1e999"}, "", OK),
    _case("selection.seeds-0", {"spec/seeds": 0}, "spec.seeds"),
    _case("selection.seeds-6", {"spec/seeds": 6}, "spec.seeds"),
    _case("selection.seeds-2-to-70", {"spec/seeds": 2**70}, "spec.seeds"),
    _case("selection.parallelism-51", {"spec/parallelism": 51}, "spec.parallelism"),
    _case("selection.budget-0", {"spec/budget/cpuSeconds": 0}, "spec.budget.cpuSeconds"),
    _case("selection.budget-a-text", {"spec/budget/cpuSeconds": "1h"}, "spec.budget.cpuSeconds"),
    _case("selection.promotion-empty", {"spec/promotion": {}}, "spec.promotion.alias"),
    _case("selection.alias-path", {"spec/promotion/alias": "../best"}, "spec.promotion.alias"),
    _case("selection.promotion-mode-unknown", {"spec/promotion/mode": "Always"}, "spec.promotion.mode"),
    _case("selection.no-data", {"spec/datasets": []}, "spec.datasets"),
    _case("selection.data-of-strangers", {"spec/datasets/0/datasetRef/namespace": "elsewhere"}, "", "GrantMissing"),
    _case("selection.nothing-to-learn", {"spec/datasets/0/role": "Evaluate"}, "must have role Train"),
    _case("selection.task-unknown", {"spec/task": "Vision"}, "", "UnknownMethod"),
    _case(
        "selection.wrong-format",
        {"spec/task": "TextClassification"},
        "",
        "InvalidSpec",
        "UnknownMethod",
        "InvalidParameter",
    ),
    _case("selection.suspend-a-text", {"spec/suspend": "true"}, "spec.suspend", ALARM, "InvalidSpec"),
    _case("selection.unknown-fields", {"spec/podTemplate": {}, "spec/searchSpace": []}, "", OK),
)
