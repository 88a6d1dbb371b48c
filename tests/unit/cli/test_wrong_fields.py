"""What a schema refuses is said in plain words: the field by its path, the value found, and what to write instead."""

from collections.abc import Iterator
from typing import Any

import pytest
from cli_workplace import raw_task
from pydantic import TypeAdapter, ValidationError

from collabspace.api.catalogue import catalogue
from collabspace.api.selection import SelectionSpec
from collabspace.api.task import TaskSpec
from collabspace.cli import selection_manifest, task_manifest
from collabspace.cli.errors import CommandError
from collabspace.cli.wrong_fields import FORMS, wrong_fields

JARGON = ("match pattern", "^", "Input should", "valid", "None", "_")


def selection(**spec: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "task": "TextClassification",
        "datasets": [{"name": "s", "datasetRef": {"namespace": "lab", "name": "snippets"}, "role": "Train"}],
        "objective": {"metric": "accuracy"},
        "candidates": [{"name": "linear", "method": "LogisticRegression"}],
    }
    return whole | spec


def said_of(spec: object) -> str:
    with pytest.raises(CommandError) as refused:
        document = {
            "apiVersion": "collabspace.io/v1alpha1",
            "kind": "ModelSelection",
            "metadata": {"name": "sentiment", "namespace": "lab"},
            "spec": spec,
        }
        selection_manifest.check(document, catalogue())
    return str(refused.value)


def patterns(schema: object) -> Iterator[str]:
    """All that a schema holds, however deep."""
    if isinstance(schema, dict):
        yield from [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
        for inside in schema.values():
            yield from patterns(inside)
    elif isinstance(schema, list):
        for inside in schema:
            yield from patterns(inside)


def candidate(**changes: Any) -> dict[str, Any]:
    return selection(candidates=[{"name": "linear", "method": "LogisticRegression", **changes}])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (candidate(name="Linear Model"), "].name is 'Linear Model': use lower-case letters, digits and hyphens"),
        (candidate(name="x" * 70), "].name has 70 characters: at most 63 are allowed"),
        (candidate(resourcesPerNode={"memory": "4Gib"}), "spec.candidates[linear].resourcesPerNode.memory is '4Gib'"),
        (candidate(resourcesPerNode={"gpu": 1}), "gpu is no field (did you mean nvidia.com/gpu?)"),
        (candidate(parameters={"C": [1]}), "[linear].parameters.C is [1]: write a whole number, or any other value in"),
        (selection(candidates=[{"name": "linear"}]), "spec.candidates[linear].method is missing"),
        (selection(candidates=[{"method": "LoRA"}]), "spec.candidates[1].name is missing"),
        (selection(candidates=[]), "spec.candidates is empty: at least 1 is needed"),
        (selection(candidates={"a": 1}), "spec.candidates is {'a': 1}: write a list: one item a line, each begun with"),
        (selection(candidates=[{"name": f"c{n}", "method": "LoRA"} for n in range(60)]), "has 60 items: at most 50"),
        (
            selection(objective={"metric": "accuracy", "goal": "Maximise"}),
            "(did you mean Maximize?): write Maximize or",
        ),
        (selection(objective={"metric": "accuracy", "tolerance": "1%"}), "is '1%': write a decimal number in quotes"),
        (selection(objective={"metrik": "accuracy"}), "spec.objective.metrik is no field (did you mean metric?)"),
        (selection(seeds=9), "spec.seeds is 9: write 5 or less"),
        (selection(seeds="three"), "spec.seeds is 'three': write a whole number"),
        (selection(suspend="maybe"), "spec.suspend is 'maybe': write true or false"),
        (selection(promotion={"alias": "a/b"}), "spec.promotion.alias is 'a/b': use lower-case"),
        (selection(promotion="x"), "spec.promotion is 'x': write fields below it"),
        (selection(candidats=[]), "spec.candidats is no field (did you mean candidates?)"),
        (None, "spec is empty: write fields below it"),
    ],
)
def test_field_value_and_remedy_are_named_in_plain_words(spec: object, said: str) -> None:
    text = said_of(spec)
    assert said in text
    assert text.startswith("error: selection sentiment: ")
    assert text.endswith("Correct it and select again; nothing was sent.")
    assert not [word for word in JARGON if word in text]


def test_a_task_is_told_of_the_same_way_and_of_at_most_six_fields_at_once() -> None:
    spec = raw_task()["spec"] | {f"wrong{number}": 1 for number in range(8)} | {"seed": -1}
    with pytest.raises(CommandError) as refused:
        task_manifest.check(raw_task() | {"spec": spec}, catalogue())
    assert "task joint: spec.wrong0 is no field" in str(refused.value)
    assert "; and 3 more" in str(refused.value)


def test_what_a_file_holds_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in said_of(selection(seeds="\x1b[2J"))
    assert "\x1b" not in said_of(selection(**{"\x1b[2J": 1}))


@pytest.mark.parametrize("kind", [TaskSpec, SelectionSpec])
def test_every_form_that_a_text_of_the_spec_must_have_is_known_in_words(kind: type[TaskSpec | SelectionSpec]) -> None:
    known = {TypeAdapter(form).json_schema()["pattern"] for form, _ in FORMS}
    used = set(patterns(kind.model_json_schema()))
    assert used and used <= known


def test_a_right_spec_has_no_wrong_field() -> None:
    assert wrong_fields(SelectionSpec, selection()) == ""
    with pytest.raises(ValidationError):
        SelectionSpec.model_validate({})
