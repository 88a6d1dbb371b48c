"""Edits in the midst of things: each a row of steps on one object, without waiting between them."""

from dataclasses import dataclass
from typing import Any

from bad_input import ALARM, DATASET, DROP, GONE, OK, SELECTION, TASK, Change


@dataclass(frozen=True)
class Write:
    """The object with this change is written over what is there; `again` times in a row, with `undo` between."""

    change: Change
    again: int = 1
    undo: Change | None = None


@dataclass(frozen=True)
class Delete:
    """The object is deleted, and made anew with this change when there is one."""

    anew: Change | None = None


@dataclass(frozen=True)
class Transition:
    """`ends` is what may come of the object, as in Case; GONE when it is deleted."""

    id: str
    kind: str
    steps: tuple[Write | Delete, ...]
    ends: tuple[str, ...]

    @property
    def group(self) -> str:
        return "transitions"


BROKEN = {"spec/datasets": "none"}
SUSPENDED, RESUMED = {"spec/suspend": True}, {"spec/suspend": False}
GOOD: Change = {}
LIVELY = (OK, "Suspended", "Stopping", "RetryBackoff", "WaitingForQuota", "Starting")


def _task(name: str, *steps: Write | Delete, ends: tuple[str, ...] = (OK,)) -> Transition:
    return Transition(f"transitions.{name}", TASK, steps, ends)


def _fields(**fields: Any) -> Change:
    return {f"spec/{key}": value for key, value in fields.items()}


TRANSITIONS = (
    _task("suspend-storm", Write(SUSPENDED, 20, RESUMED), ends=LIVELY),
    _task("suspend-and-stay", Write(SUSPENDED, 5, RESUMED), Write(SUSPENDED), ends=LIVELY),
    _task("priority-storm", Write(_fields(priority=1000), 20, _fields(priority=-1000))),
    _task("deadlines-edited", Write(_fields(activeDeadlineSeconds=31_536_000, ttlSecondsAfterFinished=0))),
    _task("deadlines-taken-away", Write(_fields(activeDeadlineSeconds=DROP, pendingDeadlineSeconds=DROP))),
    _task("deadline-in-the-past", Write(_fields(activeDeadlineSeconds=1)), ends=(*LIVELY, "DeadlineExceeded")),
    _task(
        "pending-deadline-of-a-second",
        Write(_fields(pendingDeadlineSeconds=1)),
        ends=(*LIVELY, "PendingDeadlineExceeded"),
    ),
    _task("method-swapped", Write(_fields(method="RandomForest", parameters={})), ends=(OK, "InvalidSpec")),
    _task("resources-swapped", Write({"spec/resourcesPerNode/cpu": "3"})),
    _task("broken-and-mended", Write(BROKEN), Write(GOOD), ends=(OK, "InvalidSpec")),
    _task("broken-in-the-midst", Write(BROKEN), ends=(OK, ALARM, "InvalidSpec")),
    _task("deleted", Delete(), ends=(GONE,)),
    _task("deleted-and-made-again", Delete(GOOD), ends=(OK, "NameConflict")),
    _task("deleted-and-made-again-wrong", Delete(_fields(method="Magic")), ends=("UnknownMethod", "NameConflict")),
    _task("made-again-five-times", *(Delete(GOOD),) * 5, ends=(OK, "NameConflict")),
    Transition("transitions.dataset-format", DATASET, (Write(_fields(format="Model")),), (OK,)),
    Transition("transitions.dataset-splits", DATASET, (Write({"spec/splits/seed": 9}),), (OK,)),
    Transition("transitions.dataset-contract", DATASET, (Write({"spec/contract/target/column": "z"}),), (OK,)),
    Transition("transitions.dataset-grant-storm", DATASET, (Write(_fields(grants=[]), 20, GOOD),), (OK,)),
    Transition("transitions.dataset-made-again", DATASET, (Delete(GOOD),), (OK, "NoVersion")),
    Transition("transitions.selection-storm", SELECTION, (Write(SUSPENDED, 10, RESUMED),), (OK, *LIVELY)),
    Transition(
        "transitions.selection-candidates",
        SELECTION,
        (Write({"spec/candidates/0/method": "Magic"}),),
        (OK, "UnknownMethod"),
    ),
    Transition("transitions.selection-deleted", SELECTION, (Delete(),), (GONE,)),
    Transition("transitions.selection-made-again", SELECTION, (Delete(GOOD),), (OK, "NameConflict")),
)
