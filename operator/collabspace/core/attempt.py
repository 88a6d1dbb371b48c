"""`status.attempts`, `progress`, `result`, `metrics` and `usage`: what is told about the attempts of a task."""

import datetime as dt
import math
from dataclasses import dataclass

from collabspace.api import timestamp
from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.task import Attempt, PinnedDataset, TaskMetric, TaskProgress, TaskResult, TaskStatus, TaskUsage
from collabspace.core import learning, retry, status
from collabspace.core.job import ask
from collabspace.core.observed import AttemptRecord, JobFacts, NotRunning, ObservedTask
from collabspace.core.outcome import End
from collabspace.core.plan import Spent
from collabspace.core.quantity import Amount
from collabspace.core.retry import Follow
from collabspace.core.status import Judged
from collabspace.core.stopping import running_since

PATIENCE_SECONDS = 30
LEAVING_SECONDS = 10
PROGRESS_STEP = 10
PROGRESS_SECONDS = 60
MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Running:
    judged: Judged
    inspect: bool = False
    look_again: float | None = None


def running(before: TaskStatus, job: JobFacts, found: NotRunning | None, now: dt.datetime) -> Running:
    """Whether the pod runs; a Job without one is looked at more closely after half a minute."""
    ran = status.holds(ConditionType.RUNNING, before.conditions)
    # The node of a pod that was told to go may be gone itself.
    look = LEAVING_SECONDS if job.stopping else None
    if job.suspended:
        reason, message = job.stop or (Reason.INTERRUPTED, "its Job was suspended")
        judged = Judged("True" if ran else "False", Reason.STOPPING, f"{reason}: {message}")
        return Running(judged, inspect=job.stopping > 0, look_again=look)
    # A pod that ran is not called starting again when it stops being ready: its end is on the way.
    if job.ready or ran:
        return Running(Judged("True", Reason.TRAINING), inspect=job.stopping > 0, look_again=look)
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


def newest(before: TaskStatus) -> Attempt | None:
    """The newest attempt on record."""
    return max(before.attempts, key=lambda each: each.number, default=None)


def open_number(before: TaskStatus, job: JobFacts | None) -> int | None:
    """The attempt whose end is not on record; None between attempts. `job` is the task's newest Job known."""
    last = newest(before)
    if job is not None and (last is None or job.attempt > last.number):
        return job.attempt
    return last.number if last is not None and last.outcome not in retry.ENDED else None


def ongoing(before: TaskStatus, job: JobFacts, record: AttemptRecord | None, now: dt.datetime) -> TaskStatus:
    """The status of a task whose attempt is not over, conditions aside."""
    known = next((each for each in before.attempts if each.number == job.attempt), None)
    entry = known or _opened(before, job)
    step = record.checkpoint_step if record is not None else None
    entry = entry.model_copy(update={"checkpoint_step": entry.checkpoint_step if step is None else step})
    progress = before.progress if known is not None else None
    update = {"attempts": _with(before, entry), "progress": _progress(progress, record, now)}
    return _pinned(before, job).model_copy(update=update)


def between(before: TaskStatus) -> TaskStatus:
    """What stays of the status of a task that waits, conditions aside: its attempts and what they used."""
    kept = ("attempts", "failed_attempts", "datasets", "usage", "start_time", "progress")
    return TaskStatus(**{name: getattr(before, name) for name in kept}) if before.attempts else TaskStatus()


def closed(before: TaskStatus, job: JobFacts | None, number: int, end: End, now: dt.datetime) -> Attempt:
    """The entry of the attempt that is over; what follows from it is not in it yet."""
    known = next((each for each in before.attempts if each.number == number), None)
    entry = known or (_opened(before, job) if job is not None else Attempt(number=number))
    # The clock of a node may be ahead of ours; a pause that began in the future would have no end.
    ended_time = timestamp.rfc3339(min(retry.moment(end.ended) or now, now))
    since = running_since(before)
    started = end.started or (timestamp.rfc3339(since) if since is not None else ended_time)
    claims = end.claims
    step = claims.checkpoint.step if claims is not None and claims.checkpoint is not None else None
    return entry.model_copy(
        update={
            "start_time": started,
            "end_time": ended_time,
            "reason": end.reason.value,
            "exit_code": end.exit_code,
            "node": end.node,
            "message": status.bounded(end.message, 512),
            "checkpoint_step": entry.checkpoint_step if step is None else step,
            "signature": end.signature,
        }
    )


def ended(before: TaskStatus, job: JobFacts | None, entry: Attempt, follow: Follow, end: End) -> TaskStatus:
    """The status of a task whose attempt is over, conditions aside."""
    base = _pinned(before, job) if job is not None else before
    entry = entry.model_copy(update={"outcome": follow.outcome})
    update: dict[str, object] = {
        "attempts": _with(before, entry),
        "failed_attempts": before.failed_attempts + follow.counted,
        "progress": _last_progress(before.progress, end, entry.end_time or ""),
    }
    if follow.final is not None:
        update["completion_time"] = entry.end_time
        update["metrics"] = _metrics(end)
        result = end.result
        update["result"] = TaskResult(digest=result.digest, bytes=result.bytes) if result is not None else None
    return base.model_copy(update=update)


def spent(entry: Attempt, amount: Amount) -> Spent:
    """What an ended attempt used; the same figures whenever they are reckoned again."""
    seconds = active_seconds(entry)
    outcome = entry.reason if entry.outcome != retry.COMPLETED else retry.COMPLETED
    return Spent(entry.number, amount.gpus * seconds, math.ceil(amount.cpu_millis * seconds / 1000), outcome)


def spent_since(task: ObservedTask, since: dt.datetime) -> list[Spent]:
    """What those attempts used that ended after that moment."""
    amount = amount_of(task)
    moments = ((each, retry.moment(each.end_time)) for each in task.status.attempts if each.outcome in retry.ENDED)
    return [spent(each, amount) for each, ended in moments if ended is not None and ended >= since]


def amount_of(task: ObservedTask) -> Amount:
    """What each attempt is charged for; nothing when the spec does not say it in a way that could have run."""
    try:
        return ask(task.spec.resources_per_node) if task.spec is not None else Amount()
    except ValueError:
        return Amount()


def active_seconds(entry: Attempt) -> int:
    """For how long the pod of an ended attempt ran."""
    try:
        start, stop = timestamp.parse(entry.start_time or ""), timestamp.parse(entry.end_time or "")
    except ValueError:
        return 0
    return max(0, math.ceil((stop - start).total_seconds()))


def charged(base: TaskStatus, entry: Attempt, used: Spent) -> TaskStatus:
    """The status with what an attempt used added to what those before it did."""
    before = base.usage or TaskUsage()
    usage = TaskUsage(
        gpu_seconds=before.gpu_seconds + used.gpu_seconds,
        cpu_seconds=before.cpu_seconds + used.cpu_seconds,
        active_seconds=before.active_seconds + active_seconds(entry),
    )
    return base.model_copy(update={"usage": usage})


def _opened(before: TaskStatus, job: JobFacts) -> Attempt:
    earlier = max((each for each in before.attempts if each.number < job.attempt), key=_number, default=None)
    return Attempt(
        number=job.attempt,
        start_time=job.created,
        outcome="Running",
        memory=job.memory[:32],
        micro_batch_size=job.micro_batch,
        change=learning.change(earlier, learning.Size(job.memory, job.micro_batch)),
    )


def _number(each: Attempt) -> int:
    return each.number


def _pinned(before: TaskStatus, job: JobFacts) -> TaskStatus:
    pinned = [PinnedDataset(name=name, uid=uid, digest=digest) for name, uid, digest in job.pinned]
    return before.model_copy(update={"datasets": pinned, "start_time": before.start_time or job.created})


def _with(before: TaskStatus, entry: Attempt) -> list[Attempt]:
    others = [each for each in before.attempts if each.number != entry.number]
    return sorted([*others, entry], key=_number)[-MAX_ATTEMPTS:]


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
    return [TaskMetric(**each.model_dump()) for each in end.claims.metrics]
