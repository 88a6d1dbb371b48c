"""Values that people type are read as meant or refused with an example."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collabspace.cli.parameters import (
    BudgetType,
    DatasetChoice,
    DatasetType,
    DurationType,
    GateType,
    ModelChoice,
    ModelSourceType,
    ReferenceType,
    SettingType,
    UseType,
    duration_seconds,
    duration_text,
    is_name,
)

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("30d", 2592000), ("0", 0)]
)
def test_a_duration_has_one_number_and_one_unit(text: str, seconds: int) -> None:
    assert DurationType()(text) == seconds


@given(st.integers(min_value=0, max_value=99_999_999))
def test_a_length_of_time_is_read_back_as_it_was_written(seconds: int) -> None:
    assert duration_seconds(duration_text(seconds)) == seconds


def test_a_length_of_time_is_written_in_its_largest_whole_unit() -> None:
    assert [duration_text(seconds) for seconds in (90, 1800, 7200, 604800, 0)] == ["90s", "30m", "2h", "7d", "0d"]


@pytest.mark.parametrize("text", ["", "1.5h", "-1", "5 m", "5w", "1h30m", "999999999d"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        DurationType()(text)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("notes", DatasetChoice(None, "notes")),
        ("hospital-a/notes", DatasetChoice("hospital-a", "notes")),
        ("hospital-a/notes:evaluate", DatasetChoice("hospital-a", "notes", "Evaluate")),
        ("notes:Train@" + DIGEST, DatasetChoice(None, "notes", "Train", DIGEST)),
        ("a=hospital-a/notes:train", DatasetChoice("hospital-a", "notes", "Train", None, "a")),
        ("a/notes@" + DIGEST, DatasetChoice("a", "notes", None, DIGEST)),
    ],
)
def test_a_dataset_may_say_namespace_role_and_digest(text: str, choice: DatasetChoice) -> None:
    assert DatasetType()(text) == choice


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("base", ModelChoice("SharedDataset", None, "base")),
        ("film-archive/minilm", ModelChoice("SharedDataset", "film-archive", "minilm")),
        ("task/sentiment-linear", ModelChoice("CollabTask", None, "sentiment-linear")),
        ("alias/sentiment", ModelChoice("Alias", None, "sentiment")),
    ],
)
def test_a_model_is_a_dataset_or_of_the_own_team_a_task_or_an_alias(text: str, choice: ModelChoice) -> None:
    assert ModelSourceType()(text) == choice


@pytest.mark.parametrize("text", ["", "/", "task/", "a/task/x", "../x", "Alias/x", "alias/X"])
def test_anything_else_is_no_model_and_all_three_forms_are_named(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"NAME or NAMESPACE/NAME, or .* task/NAME or alias/NAME"):
        ModelSourceType()(text)


@pytest.mark.parametrize(
    "text",
    ["", "/notes", "a/", "a/b/c", "a b", "notes:", "notes@", "notes@sha256:12", "=notes", "A=notes", "../x", "A/b"],
)
def test_a_dataset_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        DatasetType()(text)


def test_a_setting_keeps_all_after_the_first_equals_sign() -> None:
    assert SettingType()("a=b=c") == ("a", "b=c")


@given(st.text())
def test_whatever_passes_as_a_reference_is_made_of_names(text: str) -> None:
    try:
        namespace, name = ReferenceType()(text)
    except click.BadParameter:
        return
    assert is_name(name)
    assert namespace is None or is_name(namespace)


@given(st.text())
def test_no_name_can_leave_its_place_in_a_path(text: str) -> None:
    if is_name(text):
        assert not set(text) & set("/.?#%\\ \n")


def test_a_gate_and_a_budget_are_read_as_they_are_spoken() -> None:
    assert GateType()("entity_micro_f1>=0.8") == GateType()("entity_micro_f1=0.8") == ("entity_micro_f1", "0.8")
    assert BudgetType()("gpu=2h") == ("gpu", 7200)
    assert UseType()("train") == "Train"


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (GateType(), "entity_micro_f1", "in quotes"),
        (GateType(), "entity_micro_f1>0.8", "'entity_micro_f1>=0.8'"),
        (BudgetType(), "gpu", "gpu=2h"),
        (BudgetType(), "tpu=2h", "give cpu or gpu"),
        (UseType(), "Borrow", "there are Train, Evaluate, Derive, Download"),
    ],
)
def test_what_is_no_gate_budget_or_use_is_refused_with_an_example(
    kind: click.ParamType[object], text: str, said: str
) -> None:
    with pytest.raises(click.BadParameter, match=said):
        kind(text)
