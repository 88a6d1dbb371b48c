"""Drawings are pure: numbers and reports in, blocks and tables out."""

import io

import pytest
from cli_workplace import a_report
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from collabspace.cli.drawing import table, width_for
from collabspace.cli.glyphs import bar, progress_bar, sparkline
from collabspace.cli.report import as_text, blocks, drawn


def on_terminal(width: int = 80, **options: object) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False, markup=False, **options)  # type: ignore[arg-type]


def lines_of(console: Console) -> list[str]:
    return console.file.getvalue().split("\n")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "drawn_bar"), [(0, "    "), (1, "████"), (0.5, "██  "), (0.53125, "██▏ "), (2, "████"), (-1, "    ")]
)
def test_a_bar_shows_a_share_in_eighths(value: float, drawn_bar: str) -> None:
    assert bar(value, 4) == drawn_bar


@given(st.floats(allow_nan=True, allow_infinity=True), st.integers(1, 60))
def test_a_bar_always_has_its_width(value: float, width: int) -> None:
    assert len(bar(value, width)) == width


def test_a_sparkline_spans_from_least_to_greatest_and_keeps_the_newest() -> None:
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"
    assert sparkline([9, 1, 2], width=2) == "▁█"
    assert sparkline([5, 5]) == "▁▁"
    assert sparkline([]) == ""


def test_a_loss_that_is_no_number_is_a_gap() -> None:
    assert sparkline([1, float("nan"), 2, float("inf")]) == "▁ █ "
    assert sparkline([float("nan")]) == ""


@given(st.lists(st.floats()), st.integers(1, 40))
def test_a_sparkline_never_fails(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) <= width


def test_progress_is_held_between_0_and_100() -> None:
    assert progress_bar(50, 4) == "██░░  50 %"
    assert progress_bar(150, 4).startswith("████ ")


def test_brackets_in_a_cell_are_text_and_no_markup() -> None:
    console = on_terminal(color_system=None)
    console.print(table(("A",), [("[red]x[/red]",)]))
    assert "[red]x[/red]" in lines_of(console)[1]


def test_a_table_is_as_wide_as_it_must_be_so_that_nothing_is_cut() -> None:
    narrow = [("name", "x" * 30)]
    assert width_for(("A", "B"), narrow, 80) == 80
    assert width_for(("A", "B"), [("n" * 100, "x" * 30)], 80) == 100 + 3 + 30 + 3
    assert width_for(("A", "MESSAGE"), [("n" * 20, "words " * 50)], 80) == 80


def test_a_report_shows_entities_averages_and_unseen_ones_with_bars() -> None:
    renderable, width = drawn(a_report(), 80)
    console = on_terminal(width, color_system=None)
    console.print(renderable)
    lines = lines_of(console)
    disease = next(line for line in lines if line.startswith("Disease"))
    assert disease.split() == ["Disease", "0.900", "0.800", "0.846", bar(0.846, 10).rstrip(), "40"]
    assert any(line.startswith("micro average") and "0.819" in line for line in lines)
    assert any(line.startswith("unseen entities (25% of all)") and "0.343" in line for line in lines)
    assert any(line.startswith("O ") and "0.994" in line for line in lines)
    assert all(len(line.rstrip()) <= 80 for line in lines)


def test_a_report_as_text_has_no_bars_and_no_colours() -> None:
    text = as_text(a_report())
    assert not set(text) & set("█▏\x1b")
    assert "entity_micro_f1 0.819 [0.790, 0.843] on test, 20 records" in text
    assert "simulated GPU (ran on the CPU)" in text


def test_each_owner_has_its_figure_its_interval_and_its_loss_beside_all_of_them() -> None:
    owners = next(block for block in blocks(a_report()) if block.title.startswith("By owner"))
    assert owners.rows[0] == ("hospital-a/notes", "Train", "80", "10", "0.783", "0.750 to 0.810", "0.250")
    assert owners.rows[1] == ("hospital-b/notes", "Train", "80", "10", "0.728", "", "-")
    assert owners.rows[2][2:] == ("160", "20", "0.819", "0.790 to 0.843", "0.500")


def test_losses_are_given_as_mean_and_in_total() -> None:
    losses = next(block for block in blocks(a_report()) if block.title == "Losses")
    assert losses.rows[0] == ("hospital-a/notes", "test", "0.250", "nats/token", "400", "100.0")


def test_a_reader_is_told_of_labels_of_one_owner_and_of_dropped_duplicates() -> None:
    text = as_text(a_report(notes=["the GPU was simulated"]))
    assert "Only a (hospital-a/notes) has: Drug." in text
    assert "3 training records of a equal a tested one: dropped." in text
    assert text.endswith("the GPU was simulated")


def test_a_model_without_steps_does_not_count_them() -> None:
    run = a_report().execution.model_dump(by_alias=True) | {"steps": 0, "totalSteps": 0}
    assert "steps" not in as_text(a_report(execution=run))


def test_the_scores_of_one_dataset_are_not_mixed_into_the_pooled_ones() -> None:
    assert "0.111" not in as_text(a_report())


def test_a_report_on_tables_has_classes_instead_of_entities() -> None:
    scores = {"split": "test", "label": "malignant", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 5}
    report = a_report(perEntity=[], perTag=[], unseen=[], perClass=[scores], headline="accuracy", task="Tabular")
    titles = [block.title for block in blocks(report)]
    assert "Classes on test" in titles
    assert not any("Entities" in title or "Tags" in title for title in titles)
    assert "accuracy was not measured" in as_text(report)


def test_a_report_without_a_test_split_shows_what_there_is() -> None:
    metrics = [{"name": "entity_micro_f1", "value": 0.5, "split": "validation"}]
    assert "entity_micro_f1 0.500 on validation" in as_text(a_report(metrics=metrics))


def test_a_label_that_steers_terminals_is_shown_as_blanks() -> None:
    scores = {"split": "test", "label": "\x1b[2Jx", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 5}
    renderable, width = drawn(a_report(perEntity=[scores]), 80)
    console = on_terminal(width, color_system=None)
    console.print(renderable)
    assert "\x1b" not in "\n".join(lines_of(console))


def test_what_nothing_supports_has_no_figure_and_no_bar() -> None:
    unseen = {"split": "test", "share": 0, "support": 0, "precision": 0, "recall": 0, "f1": 0}
    report = a_report(unseen=[unseen])
    line = next(line for line in as_text(report).splitlines() if line.startswith("unseen"))
    assert line.split()[-4:] == ["-", "-", "-", "0"]
    assert drawn(report, 100)


def test_dropped_duplicates_are_said_once_and_before_the_figures() -> None:
    text = as_text(a_report(notes=["a: 3 training records equal a record of evaluation and were dropped", "Mind."]))
    assert text.count("3 training records") == 1
    assert text.index("3 training records") < text.index("Figures on test") < text.index("Mind.")
