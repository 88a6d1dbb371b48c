"""What follows the end of an attempt: the end of the task, or another attempt after a pause.

Interruptions from outside cost nothing; failures that another try may mend count against maxAttempts; what the same
input would only repeat ends the task at once.
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collabspace.api import timestamp
from collabspace.api.conditions import Reason
from collabspace.api.task import Attempt, TaskStatus

INTERRUPTIONS = frozenset({Reason.INTERRUPTED, Reason.NODE_LOST, Reason.SUSPENDED})
TRANSIENT = frozenset({Reason.BROKER_UNAVAILABLE, Reason.NO_PROGRESS})
# Exit codes of UserError that no second try mends: no such program, and a success that was none.
HOPELESS = frozenset({0, 126, 127})
MAX_CRASHES = 3
FAILURE_SECONDS = (10, 30, 60, 120, 300)
INTERRUPTION_SECONDS = (1, 5, 15, 60, 300)
QUICK_SECONDS = 60
# So many interruptions in a row without a new checkpoint are a failure: something here stops it each time.
MAX_VAIN = 10
COMPLETED, FAILED, INTERRUPTED = "Completed", "Failed", "Interrupted"
ENDED = frozenset({COMPLETED, FAILED, INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Follow:
    """`final` is why the task is over; None: another attempt follows. `counted`: against maxAttempts."""

    outcome: str
    counted: bool
    final: Reason | None
    message: str = ""


def follow(before: TaskStatus, entry: Attempt, reason: Reason, max_attempts: int, can_grow: bool) -> Follow:
    """What follows `entry`, the attempt that just ended for `reason`. `can_grow`: there is a size left to try."""
    others = [each for each in before.attempts if each.number != entry.number]
    if reason is Reason.COMPLETED:
        return Follow(COMPLETED, False, reason)
    if reason is Reason.OUT_OF_MEMORY and can_grow:
        return Follow(FAILED, False, None)
    if reason in INTERRUPTIONS and not _in_vain([*others, entry]):
        return Follow(INTERRUPTED, False, None)
    if reason is Reason.USER_ERROR and entry.exit_code not in HOPELESS:
        crashes = [each for each in others if each.reason == Reason.USER_ERROR]
        if len(crashes) + 1 >= MAX_CRASHES or any(each.signature == entry.signature for each in crashes):
            return Follow(FAILED, True, reason, entry.message)
    elif reason not in TRANSIENT and reason not in INTERRUPTIONS:
        return Follow(FAILED, True, reason, entry.message)
    failed = before.failed_attempts + 1
    if failed >= max_attempts:
        attempts = "1 attempt" if failed == 1 else f"{failed} attempts"
        words = f"{attempts} failed and spec.maxAttempts is {max_attempts}; the last: {reason}: {entry.message}"
        return Follow(FAILED, True, Reason.ATTEMPTS_EXHAUSTED, words)
    return Follow(FAILED, True, None)


def ready_at(status: TaskStatus, uid: str) -> dt.datetime | None:
    """When the next attempt may start; None: at once. The same status gives the same moment."""
    attempts = sorted(status.attempts, key=lambda each: each.number)
    last = attempts[-1] if attempts else None
    ended = moment(last.end_time) if last is not None else None
    if last is None or ended is None or last.reason in (Reason.SUSPENDED, Reason.OUT_OF_MEMORY):
        return None
    if last.outcome == INTERRUPTED:
        steps, times = INTERRUPTION_SECONDS, _trailing(attempts, _is_quick)
    else:
        steps, times = FAILURE_SECONDS, _trailing(attempts, lambda each: each.outcome == FAILED)
    seconds = steps[min(max(times - 1, 0), len(steps) - 1)]
    return ended + dt.timedelta(seconds=seconds * _spread(f"{uid}/{last.number}"))


def _in_vain(attempts: Sequence[Attempt]) -> bool:
    latest = sorted(attempts, key=lambda each: each.number)[-MAX_VAIN:]
    steps = {each.checkpoint_step for each in latest}
    stopped = (each.outcome != FAILED and each.reason in INTERRUPTIONS - {Reason.SUSPENDED} for each in latest)
    return len(latest) == MAX_VAIN and len(steps) == 1 and all(stopped)


def _is_quick(each: Attempt) -> bool:
    start, end = moment(each.start_time), moment(each.end_time)
    long = start is not None and end is not None and (end - start).total_seconds() >= QUICK_SECONDS
    return each.outcome == INTERRUPTED and not long


def _trailing(attempts: Sequence[Attempt], test: Callable[[Attempt], bool]) -> int:
    count = 0
    for each in reversed(attempts):
        if not test(each):
            break
        count += 1
    return count


def _spread(text: str) -> float:
    """Between 0.8 and 1.2, the same for the same text: those that failed together do not return together."""
    return 0.8 + 0.4 * int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**32


def moment(text: str | None) -> dt.datetime | None:
    """The time, None when it is missing or no time."""
    if text is None:
        return None
    try:
        return timestamp.parse(text)
    except ValueError:
        return None
