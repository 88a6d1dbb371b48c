"""The attempts of a task as people read them: a table, and one line for each new one. Pure."""

import datetime as dt

from collabspace.api.task import Attempt, CollabTask
from collabspace.cli.output import Cell, plain, span

STYLES = {"Running": "blue", "Completed": "green", "Interrupted": "yellow", "Failed": "red"}
HEADERS = ("ATTEMPT", "OUTCOME", "REASON", "EXIT", "NODE", "TOOK", "CHECKPOINT", "CHANGED", "MESSAGE")
OPTIONAL = ("REASON", "EXIT", "NODE", "CHECKPOINT", "CHANGED", "MESSAGE")


def count(task: CollabTask) -> int:
    """How many there were, those that the status has forgotten included."""
    return max((each.number for each in task.status.attempts), default=0)


def newest(task: CollabTask) -> Attempt | None:
    return max(task.status.attempts, key=lambda each: each.number, default=None)


def worth_telling(task: CollabTask) -> bool:
    """Whether the attempts say more than the state of the task does."""
    last = newest(task)
    return last is not None and (last.number > 1 or last.outcome in ("Failed", "Interrupted"))


def rows(task: CollabTask, now: dt.datetime) -> list[tuple[Cell, ...]]:
    """Rows for HEADERS, oldest first."""
    return [
        (
            str(each.number),
            (each.outcome, STYLES.get(each.outcome, "")),
            each.reason,
            "" if each.exit_code is None else str(each.exit_code),
            each.node,
            _took(each, now),
            _checkpoint(each),
            each.change,
            each.message,
        )
        for each in task.status.attempts
    ]


def _checkpoint(attempt: Attempt) -> str:
    """`step 40`; `-` for one that ended without, empty while it runs and may still save."""
    if attempt.checkpoint_step:
        return f"step {attempt.checkpoint_step}"
    return "" if attempt.outcome == "Running" and not attempt.end_time else "-"


def _took(attempt: Attempt, now: dt.datetime) -> str:
    if not attempt.start_time:
        return ""
    end = dt.datetime.fromisoformat(attempt.end_time) if attempt.end_time else now
    return span(max(0, int((end - dt.datetime.fromisoformat(attempt.start_time)).total_seconds())))


def resumed_from(task: CollabTask, number: int) -> int | None:
    """Step of the newest checkpoint that the attempts before this one left; None when they left none."""
    earlier = [each.checkpoint_step for each in task.status.attempts if each.number < number and each.checkpoint_step]
    return earlier[-1] if earlier else None


def ended_line(attempt: Attempt) -> str:
    """`attempt 1 failed: OutOfMemory (exit code 30): peak 3 GiB`."""
    said = f"exit code {attempt.exit_code}"
    code = f" ({said})" if attempt.exit_code is not None and not attempt.message.startswith(said) else ""
    message = f": {plain(attempt.message)}" if attempt.message else ""
    return f"attempt {attempt.number} {attempt.outcome.lower() or 'ended'}: {attempt.reason}{code}{message}"


def begun_line(task: CollabTask, attempt: Attempt) -> str:
    """`attempt 2 after OutOfMemory, from step 40: 4 records at a time instead of 8, accumulated to a batch`.

    From the beginning where none before it left a checkpoint; not said where some of them are forgotten.
    """
    before = next((each for each in task.status.attempts if each.number == attempt.number - 1), None)
    after = f" after {before.reason}" if before and before.reason else ""
    step = resumed_from(task, attempt.number)
    whole = all(any(each.number == number for each in task.status.attempts) for number in range(1, attempt.number))
    start = f", from step {step}" if step else ", from the beginning" if whole else ""
    change = f": {plain(attempt.change)}" if attempt.change else ""
    return f"attempt {attempt.number}{after}{start}{change}"


class Announcer:
    """Says each attempt after the first once, when it is first seen; of those before the first look only the newest."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def lines(self, task: CollabTask) -> list[str]:
        """What is new since the last call for this task."""
        key, last = task.metadata.uid, count(task)
        known = max(1, self._known.get(key, last - 1))
        self._known[key] = max(last, known)
        return [begun_line(task, each) for each in task.status.attempts if each.number > known]
