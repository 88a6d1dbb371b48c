"""Why a running attempt must stop: the owner took the data back, its time is over, it is suspended, it stands still."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from collabspace.api import timestamp
from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.dataset import OnRevoke
from collabspace.api.task import TaskSpec, TaskStatus
from collabspace.core import status
from collabspace.core.grants import Authorization
from collabspace.core.observed import AttemptRecord, Dataset, JobFacts, Key

MINIMUM_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Watchfulness:
    """The reason to stop, if there is one, and else in how many seconds there may be one by itself."""

    stop: tuple[Reason, str] | None = None
    look_again: float | None = None


def revoked(granted: Authorization, datasets: Mapping[Key, Dataset]) -> str:
    """The words of AccessRevoked when an owner wants running tasks to stop; empty when none does.

    A dataset that is gone can say nothing any more: its tasks stop. One that cannot be read is left to its owner.
    """
    for key in granted.refused:
        dataset = datasets.get(key)
        spec = dataset.object.spec if dataset is not None else None
        if dataset is None or (spec is not None and spec.on_revoke is OnRevoke.STOP):
            return granted.message
    return ""


def due(
    spec: TaskSpec,
    before: TaskStatus,
    job: JobFacts,
    record: AttemptRecord | None,
    still_seconds: float | None,
    now: dt.datetime,
) -> Watchfulness:
    """Deadline, suspension and standstill, in this order. `still_seconds`: how long nothing moved, None: unknown."""
    left = remaining(spec, before, now)
    if left is not None and left <= 0:
        words = f"all attempts together ran for {spec.active_deadline_seconds} s, spec.activeDeadlineSeconds"
        return Watchfulness((Reason.DEADLINE_EXCEEDED, words))
    if spec.suspend:
        return Watchfulness((Reason.SUSPENDED, "spec.suspend is true"))
    looks = [left] if left is not None and (job.ready or running_since(before) is not None) else []
    progress = record.progress if record is not None else None
    # A trainer that counts no beats says nothing about standing still.
    if job.ready and progress is not None and progress.beat > 0 and still_seconds is not None:
        if still_seconds >= progress.stall_seconds:
            words = f"nothing moved for {int(still_seconds)} s in stage {progress.stage}, at step {progress.step}"
            return Watchfulness((Reason.NO_PROGRESS, words))
        looks.append(progress.stall_seconds - still_seconds)
    return Watchfulness(None, max(MINIMUM_LOOK, min(looks)) if looks else None)


def remaining(spec: TaskSpec, before: TaskStatus, now: dt.datetime) -> float | None:
    """Seconds that the attempts may still run; None: no end is set. Time without a running pod does not count."""
    if spec.active_deadline_seconds is None:
        return None
    used = float(before.usage.active_seconds) if before.usage is not None else 0.0
    since = running_since(before)
    if since is not None:
        used += (now - since).total_seconds()
    return spec.active_deadline_seconds - used


def running_since(before: TaskStatus) -> dt.datetime | None:
    """Since when the pod of the open attempt runs, as far as was seen."""
    running = status.find(ConditionType.RUNNING, before.conditions)
    if running is None or running.status != "True":
        return None
    try:
        return timestamp.parse(running.last_transition_time)
    except ValueError:
        return None
