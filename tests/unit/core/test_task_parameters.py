"""What a spec may ask of the trainer."""

from typing import Any

import pytest
from core_facts import CATALOGUE, reference, spec

from collabspace.core.parameters import check

TOKENS = {"task": "TokenClassification", "method": "FullFineTuning", "initialization": "Random"}
MODEL = {"namespace": "hospital-a", "name": "base"}


def test_defaults_are_filled_in_and_what_is_given_wins() -> None:
    checked = check(spec(**TOKENS, parameters={"epochs": 5}), CATALOGUE)
    assert checked.problems == ()
    assert checked.parameters == {"epochs": 5, "learningRate": "0.0001", "optimizer": "AdamW"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"epochs": "5"}, {"epochs": 5}),
        ({"learningRate": 1}, {"learningRate": "1"}),
        ({"learningRate": "1e-4"}, {"learningRate": "1e-4"}),
    ],
    ids=["a whole number as text", "a number as whole number", "a number with exponent"],
)
def test_a_value_may_be_written_as_number_or_text(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    checked = check(spec(**TOKENS, parameters=given), CATALOGUE)
    assert checked.problems == ()
    assert checked.parameters == {"epochs": 3, "learningRate": "0.0001", "optimizer": "AdamW"} | wanted


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"task": "Tabulr"}, "UnknownMethod", ["'Tabulr'", "Did you mean Tabular?", "TokenClassification"]),
        ({"method": "logisticregression"}, "UnknownMethod", ["Did you mean LogisticRegression?"]),
        ({"parameters": {"c": 1}}, "InvalidParameter", ["parameters.c", "Did you mean C?", "It has: C"]),
        (TOKENS | {"parameters": {"epochs": 0}}, "InvalidParameter", ["parameters.epochs", "'0'", "from 1 to 100"]),
        (TOKENS | {"parameters": {"epochs": "2.5"}}, "InvalidParameter", ["'2.5'", "whole number"]),
        (TOKENS | {"parameters": {"learningRate": "nan"}}, "InvalidParameter", ["'nan'", "a number from 0 to 1"]),
        (TOKENS | {"parameters": {"learningRate": "1e999999999"}}, "InvalidParameter", ["learningRate"]),
        (TOKENS | {"parameters": {"optimizer": "Adm"}}, "InvalidParameter", ["'Adm'", "Adam, AdamW"]),
        ({"gates": [{"metric": "acuracy", "minimum": "1"}]}, "InvalidSpec", ["gates", "Did you mean accuracy?"]),
        (
            {"gates": [{"metric": "loss", "minimum": "1"}]},
            "InvalidSpec",
            ["gates", "'loss' is no metric", "have a floor"],
        ),
        ({"datasets": [reference(role="Evaluate")]}, "InvalidSpec", ["at least one must have role Train"]),
        ({"datasets": [reference(), reference()]}, "InvalidSpec", ["same name"]),
        ({"resourcesPerNode": {"cpu": "0"}}, "InvalidSpec", ["above 0"]),
        ({"modelFrom": MODEL}, "InvalidSpec", ["LogisticRegression starts from no weights"]),
        (TOKENS | {"modelFrom": MODEL}, "InvalidSpec", ["exclude each other"]),
        (TOKENS | {"initialization": "Pretrained"}, "InvalidSpec", ["initialization: Random"]),
        (TOKENS | {"method": "LoRA"}, "InvalidSpec", ["LoRA needs weights"]),
        (
            TOKENS | {"method": "LoRA", "initialization": "Pretrained", "modelFrom": MODEL, "resourcesPerNode": {}},
            "InvalidSpec",
            ["LoRA needs nvidia.com/gpu"],
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_field_value_and_remedy(
    changes: dict[str, Any], reason: str, words: list[str]
) -> None:
    problem = check(spec(**changes), CATALOGUE).problems[0]
    assert problem.reason == reason
    assert [word for word in words if word not in problem.message] == []


def test_all_problems_are_told_at_once() -> None:
    wrong = TOKENS | {"parameters": {"epochs": 0, "learningRate": "2", "x": 1}, "resourcesPerNode": {"memory": "0"}}
    assert len(check(spec(**wrong), CATALOGUE).problems) == 4


def test_weights_or_the_word_random_decide_where_learning_starts() -> None:
    assert check(spec(**TOKENS), CATALOGUE).random_init
    weights = check(spec(**TOKENS | {"initialization": "Pretrained", "modelFrom": MODEL}), CATALOGUE)
    assert (weights.problems, weights.random_init) == ((), False)
    assert not check(spec(), CATALOGUE).random_init
