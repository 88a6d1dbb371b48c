"""One holding per task: of its newest attempt, whatever late news says."""

from collabspace.controller.holdings import Holdings
from collabspace.core.admission import Holding
from collabspace.core.quantity import Amount

ONE, TWO = Amount(1), Amount(2)


def test_late_news_of_an_earlier_attempt_neither_takes_nor_frees_anything() -> None:
    held = Holdings()
    held.hold("uid", 1, "team", ONE)
    assert held.release("uid", 1)
    held.hold("uid", 2, "team", TWO)
    held.hold("uid", 1, "team", ONE)
    assert not held.release("uid", 1)
    assert held.counts() == {Holding("team", TWO): 1}
    assert held.attempt("uid") == 2


def test_the_end_of_a_later_attempt_frees_what_an_earlier_one_held() -> None:
    held = Holdings()
    held.hold("uid", 1, "team", ONE)
    assert held.release("uid", 2)
    assert not held.release("uid", 2)
    assert held.attempt("uid") == 0
    assert not held.counts()


def test_equal_holdings_are_counted() -> None:
    held = Holdings()
    for uid in ("one", "two", "three"):
        held.hold(uid, 1, "team", ONE)
    held.hold("one", 2, "team", TWO)
    held.release("two", 1)
    assert held.counts() == {Holding("team", ONE): 1, Holding("team", TWO): 1}
