"""`status.attempts`, `progress`, `result`, `metrics` and `usage`: what is told about the attempt of a task."""

import datetime as dt
import math
from dataclasses import dataclass

from collabspace.api import timestamp
from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.task import Attempt, PinnedDataset, TaskMetric, TaskProgress, TaskResult, TaskStatus, TaskUsage
from collabspace.core import status
from collabspace.core.observed import AttemptRecord, JobFacts, NotRunning
from collabspace.core.outcome import End
from collabspace.core.plan import Spent
from collabspace.core.status import Judged

PATIENCE_SECONDS = 30
PROGRESS_STEP = 10
PROGRESS_SECONDS = 60
MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Running:
    judged: Judged
    inspect: bool = False
    look_again: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    status: TaskStatus
    spent: Spent | None


def running(before: TaskStatus, job: JobFacts | None, found: NotRunning | None, now: dt.datetime) -> Running:
    """Whether the pod runs; a Job without one is looked at more closely after half a minute."""
    # A pod that ran is not called starting again when it stops being ready: its end is on the way.
    if job is None or job.ready or status.holds(ConditionType.RUNNING, before.conditions):
        return Running(Judged("True", Reason.TRAINING))
    age = (now - timestamp.parse(job.created)).total_seconds()
    if age < PATIENCE_SECONDS:
        return Running(Judged("False", Reason.STARTING), look_again=PATIENCE_SECONDS - age)
    again = min(300.0, max(PATIENCE_SECONDS, age / 2))
    if found is None:
        return Running(_as_it_stood(before), inspect=True, look_again=again)
    reason = Reason.IMAGE_PULL_FAILED if found.image else Reason.PODS_PENDING
    return Running(Judged("False", reason, found.words), inspect=True, look_again=again)


def _as_it_stood(before: TaskStatus) -> Judged:
    """Before anybody has looked, what was found the last time still counts."""
    known = status.find(ConditionType.RUNNING, before.conditions)
    for reason in (Reason.PODS_PENDING, Reason.IMAGE_PULL_FAILED):
        if known is not None and known.reason == reason:
            return Judged("False", reason, known.message)
    return Judged("False", Reason.STARTING)


def ongoing(before: TaskStatus, job: JobFacts | None, record: AttemptRecord | None, now: dt.datetime) -> TaskStatus:
    """The status of a task whose attempt is not over, conditions aside."""
    if job is None:
        return before
    base = _pinned(before, job)
    entry = Attempt(number=job.attempt, start_time=job.created, outcome="Running")
    progress = _progress(before.progress, record, now)
    return base.model_copy(update={"attempts": _with(before, entry), "progress": progress})


def ended(before: TaskStatus, job: JobFacts | None, end: End, now: dt.datetime) -> Ended:
    """The status of a task whose attempt is over, conditions aside, and what the attempt used."""
    base = _pinned(before, job) if job is not None else before
    number = job.attempt if job is not None else max((each.number for each in before.attempts), default=1)
    known = next((each for each in before.attempts if each.number == number), None)
    ended_time = end.ended or timestamp.rfc3339(now)
    started = job.created if job is not None else (known.start_time if known is not None else None)
    entry = Attempt(
        number=number,
        start_time=started,
        end_time=ended_time,
        outcome="Completed" if end.reason is Reason.COMPLETED else "Failed",
        reason=end.reason.value,
        exit_code=end.exit_code,
        node=end.node,
        message=status.bounded(end.message, 512),
    )
    spent = _spent(job, end, number, ended_time)
    update: dict[str, object] = {
        "attempts": _with(before, entry),
        "completion_time": ended_time,
        "metrics": _metrics(end),
        "result": TaskResult(digest=end.result.digest, bytes=end.result.bytes) if end.result is not None else None,
        "progress": _last_progress(before.progress, end, ended_time),
    }
    if spent is not None:
        update["usage"] = TaskUsage(gpu_seconds=spent.gpu_seconds, cpu_seconds=spent.cpu_seconds)
    return Ended(base.model_copy(update=update), spent)


def _pinned(before: TaskStatus, job: JobFacts) -> TaskStatus:
    pinned = [PinnedDataset(name=name, digest=digest) for name, digest in job.pinned]
    return before.model_copy(update={"datasets": pinned, "start_time": before.start_time or job.created})


def _with(before: TaskStatus, entry: Attempt) -> list[Attempt]:
    others = [each for each in before.attempts if each.number != entry.number]
    return sorted([*others, entry], key=lambda each: each.number)[-MAX_ATTEMPTS:]


def _progress(known: TaskProgress | None, record: AttemptRecord | None, now: dt.datetime) -> TaskProgress | None:
    """Coarse on purpose: a new figure only when it moved by a tenth and a minute went by."""
    if record is None or record.progress is None:
        return known
    told = record.progress
    if known is not None and (
        abs(told.percent - known.percent) < PROGRESS_STEP
        or (now - timestamp.parse(known.last_update_time)).total_seconds() < PROGRESS_SECONDS
    ):
        return known
    return TaskProgress(
        percent=told.percent, step=told.step, total_steps=told.total_steps, last_update_time=timestamp.rfc3339(now)
    )


def _last_progress(known: TaskProgress | None, end: End, ended_time: str) -> TaskProgress | None:
    claims = end.claims
    if claims is None or claims.total_steps == 0:
        return known
    percent = min(100, 100 * claims.step // claims.total_steps)
    return TaskProgress(percent=percent, step=claims.step, total_steps=claims.total_steps, last_update_time=ended_time)


def _metrics(end: End) -> list[TaskMetric]:
    if end.claims is None:
        return []
    return [
        TaskMetric(
            name=each.name, value=each.value, dataset=each.dataset, label=each.label, low=each.low, high=each.high
        )
        for each in end.claims.metrics
    ]


def _spent(job: JobFacts | None, end: End, number: int, ended_time: str) -> Spent | None:
    if job is None:
        return None
    start, stop = timestamp.parse(end.started or job.created), timestamp.parse(ended_time)
    seconds = max(0, math.ceil((stop - start).total_seconds()))
    outcome = "Completed" if end.reason is Reason.COMPLETED else end.reason.value
    return Spent(number, job.amount.gpus * seconds, math.ceil(job.amount.cpu_millis * seconds / 1000), outcome)
