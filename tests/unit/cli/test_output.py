"""What is printed: aligned, safe on a terminal, and readable by other programs."""

import json

import pytest
import yaml
from cli_workplace import NOW, raw_task
from hypothesis import given
from hypothesis import strategies as st

from collabspace.cli.output import age, aligned, as_yaml, plain, print_objects, qualified, size, span

ESCAPES = "\x1b[31mred\x07\r\n\u202eevil"


def test_columns_stand_three_blanks_apart_and_lines_have_no_blanks_at_the_end() -> None:
    assert aligned(("NAME", "AGE"), [("a", "1s"), ("longer", "")]) == "NAME     AGE\na        1s\nlonger"


def test_nothing_from_outside_can_steer_the_terminal() -> None:
    assert plain(ESCAPES) == " [31mred    evil"
    assert "\x1b" not in aligned(("X",), [(ESCAPES,)])


@given(st.text())
def test_a_cell_is_one_line_whatever_it_holds(text: str) -> None:
    assert aligned(("X",), [(text,)]).count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (130, "2m10s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (172800, "2d"),
    ],
)
def test_ages_are_those_of_kubectl(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_an_object_from_the_future_is_not_younger_than_nothing() -> None:
    assert age("2026-11-22T12:00:05Z", NOW) == "0s"
    assert age(None, NOW) == ""


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 30, "5.0 GiB")])
def test_sizes_are_in_powers_of_1024(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    "text", ["1e-4", "0.5", "3", "-1", "1_000", ".5", "0x1f", "yes", "null", "1e5", "12:30", "2026-01-01"]
)
def test_a_text_that_some_reader_takes_for_something_else_is_quoted(text: str) -> None:
    assert as_yaml({"value": text}) == f"value: '{text}'"


@given(st.dictionaries(st.text(min_size=1), st.one_of(st.text(), st.integers(), st.booleans(), st.none())))
def test_yaml_reads_back_as_what_was_written(document: dict[str, object]) -> None:
    assert yaml.safe_load(as_yaml(document)) == document


def test_lists_of_objects_are_wrapped_as_kubectl_does_and_managed_fields_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    item = raw_task()
    item["metadata"]["managedFields"] = [{"manager": "x"}]
    print_objects([item], "json")
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], document["apiVersion"]) == ("List", "v1")
    assert document["items"][0]["metadata"]["name"] == "joint"
    assert "managedFields" not in document["items"][0]["metadata"]
    print_objects([item], "yaml", single=True)
    assert yaml.safe_load(capsys.readouterr().out)["kind"] == "CollabTask"
    print_objects([item], "name")
    assert capsys.readouterr().out == "collabtask.collabspace.io/joint\n"


def test_objects_of_the_core_group_are_named_without_a_group() -> None:
    assert qualified({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}) == "namespace/a"
