"""What a difference is worth: the verdict, from whose side it is seen, and the one order of candidates."""

from decimal import Decimal

import pytest

from collabspace.api.selection import Goal, Verdict
from collabspace.api.task import TaskMetric
from collabspace.core.ranking import Scored, figure, rank
from collabspace.core.selection_comparison import Difference, ahead_of, differences, verdict


def difference(value: str, low: str, high: str) -> Difference:
    return Difference(Decimal(value), Decimal(low), Decimal(high))


@pytest.mark.parametrize(
    ("found", "runs", "said"),
    [
        (("0.1", "0.05", "0.15"), 3, Verdict.BETTER),
        (("-0.1", "-0.15", "-0.05"), 3, Verdict.WORSE),
        (("0.0", "-0.005", "0.02"), 3, Verdict.NON_INFERIOR),
        (("0.0", "-0.01", "0.02"), 3, Verdict.UNDECIDED),
        (("0.1", "0.05", "0.15"), 1, Verdict.UNDECIDED),
        (("-0.1", "-0.15", "-0.05"), 1, Verdict.UNDECIDED),
    ],
)
def test_a_verdict_follows_the_interval_and_one_run_never_tells(
    found: tuple[str, str, str], runs: int, said: Verdict
) -> None:
    assert verdict(difference(*found), Decimal("0.01"), runs)[0] is said


def test_without_a_difference_nothing_is_said() -> None:
    assert verdict(None, Decimal("0.01"), 5)[0] is Verdict.UNDECIDED


def test_the_winner_is_measured_against_a_rival_whoever_was_best() -> None:
    ahead = difference("0.3", "0.2", "0.4")
    assert ahead_of({"rival": ahead}, "winner", "rival") == ahead
    assert ahead_of({"winner": ahead}, "winner", "rival") == difference("-0.3", "-0.4", "-0.2")
    third = {"winner": ahead, "rival": difference("0.5", "0.4", "0.6")}
    assert ahead_of(third, "winner", "rival") == difference("0.2", "0.0", "0.4")
    assert ahead_of({}, "winner", "rival") is None


def test_rows_that_are_no_differences_are_passed_over() -> None:
    rows = [
        TaskMetric(name="difference", value="0.1", label="a", low="0.0", high="0.2"),
        TaskMetric(name="difference", value="NaN", label="b", low="0.0", high="0.2"),
        TaskMetric(name="difference", value="0.1", label="c"),
        TaskMetric(name="accuracy", value="0.1", label="d", low="0.0", high="0.2"),
    ]
    assert set(differences(rows)) == {"a"}


def test_of_equal_figures_the_cheaper_comes_first() -> None:
    scored = [
        Scored("a", Decimal("0.9"), Decimal(5)),
        Scored("b", Decimal("0.90"), Decimal(3)),
        Scored("c", Decimal(1)),
    ]
    assert [each.candidate for each in rank(scored, Goal.MAXIMIZE)] == ["c", "b", "a"]
    assert [each.candidate for each in rank(scored, Goal.MINIMIZE)] == ["b", "a", "c"]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "", "x", "-0.1", "1.01"])
def test_what_cannot_be_an_accuracy_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"no number|no finite|not between"):
        figure("accuracy", text)


@pytest.mark.parametrize(("metric", "text"), [("rmse", "12.5"), ("r2", "-3"), ("loss", "0"), ("accuracy", "1")])
def test_what_can_be_is_taken(metric: str, text: str) -> None:
    assert figure(metric, text) == Decimal(text)
