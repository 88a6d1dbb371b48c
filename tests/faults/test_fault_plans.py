"""A part of the fault plans that is the same in every run: all kinds of fault, and what plans found before.

`make faults` runs all of them; `python tests/faults/run.py --plan ID` repeats one.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from judges import Judge, judged
from plans import KINDS, chosen
from play import record
from recorder import Summary, reference
from rig import Rig

import audited_calls

PLANS = (
    "train/crash-before/W2",
    "train/crash-after/W2",
    "train/lost-reply/W2",
    "train/status-409/W2",
    "train/status-429/W2",
    "train/truncate/E4",
    "train/duplicate/E9",
    "data-error/crash-after/W4",
    "data-error/replay/E9",
    "too-large/crash-before/W6",
    "too-large/stale-restart/E3",  # a conflict was met with the same view again and again
    "out-of-memory/reorder/E8",
    "out-of-memory/status-503/W4",
    "granted-late/stale-restart/E3",  # an attempt that the broker told of before its task was known was forgotten
    "granted-late/delay/E8",
    "quota/hide/E12",
    "quota/status-500/W9",
    "revoked/crash-after/W6",
    "revoked/status-409/W6",  # a Job whose stop met a conflict ran on
    "revoked/lost-reply/W8",
    "evicted/delay/E8",
    "suspended/crash-before/W9",
    "deleted/hide/E11",
    "selection/status-409/W7",
    "selection/crash-after/W35",
)


@pytest.fixture(scope="module")
def known() -> dict[str, Summary]:
    return reference()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig"), lambda _line: None) as rig:
        rig.call(record(rig, "train"))  # makes the dataset that all use
        yield rig
        audited_calls.keep(rig.audit_log, [Path(__file__)])


@pytest.fixture(scope="module")
def judge(rig: Rig) -> Iterator[Judge]:
    with Judge(rig) as judge:
        yield judge


def test_every_kind_of_fault_is_among_them() -> None:
    assert {plan.split("/")[1] for plan in PLANS} == set(KINDS)


@pytest.mark.parametrize("plan", PLANS)
def test_a_fault_changes_nothing_in_the_end(rig: Rig, judge: Judge, known: dict[str, Summary], plan: str) -> None:
    (wanted,) = chosen(known, [plan])
    verdict = judged(rig, judge, wanted, known[wanted.workload])
    assert verdict.violations == []
    assert verdict.fired
