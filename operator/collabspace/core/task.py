"""What is to be done about one CollabTask: refuse it, let it wait, start an attempt, follow it, stop it, end it.

Everything is computed anew from the world at each pass. Three things are on record and final: the end of an attempt,
the versions that the first one had, and the end of the task. A refused spec is not: correct it, or the quota, and the
task goes on.
"""

import datetime as dt
from dataclasses import replace

from collabspace.api import timestamp
from collabspace.api.conditions import Reason
from collabspace.api.task import TaskStatus
from collabspace.core import attempt, following, starting
from collabspace.core.observed import JobFacts, ObservedTask
from collabspace.core.retry import ENDED
from collabspace.core.task_plan import TaskPlan, is_final, until
from collabspace.core.task_world import TaskWorld

# Until the Job of an ended attempt is looked at again.
STILL_SECONDS = 30.0
# Jobs of ended attempts that stay for their logs, beside that of the newest attempt.
KEPT_JOBS = 1


def decide_task(task: ObservedTask, world: TaskWorld, now: dt.datetime) -> TaskPlan:
    """The plan for a task in this world. The same arguments give the same plan."""
    if task.meta.deletion_timestamp is not None:
        return TaskPlan()
    number = attempt.open_number(task.status, world.job)
    if is_final(task.status):
        found = _expire(task, now)
    elif number is not None:
        found = following.follow(task, world, number, now)
    elif _still_runs(task.status, world):
        found = TaskPlan(requeue_after=STILL_SECONDS)
    else:
        found = starting.start(task, world, now)
    return replace(found, remove=litter(task.status, world.jobs))


def _expire(task: ObservedTask, now: dt.datetime) -> TaskPlan:
    """ttlSecondsAfterFinished counts from the end, whenever it was set."""
    seconds = task.spec.ttl_seconds_after_finished if task.spec is not None else None
    if seconds is None or task.status.completion_time is None:
        return TaskPlan()
    try:
        end = timestamp.parse(task.status.completion_time)
    except ValueError:
        return TaskPlan()
    left = until(end + dt.timedelta(seconds=seconds), now)
    return TaskPlan(requeue_after=left) if left else TaskPlan(expired=True)


def _still_runs(before: TaskStatus, world: TaskWorld) -> bool:
    """Whether a Job says otherwise than the record, of its end or of there being none: then no other is started."""
    last = attempt.newest(before)
    if last is None:
        return False
    over = {each.number for each in before.attempts}
    if last.reason != Reason.NODE_LOST and world.pod is None:
        over.remove(last.number)
    return any(each.attempt not in over and not each.finished and not each.halted for each in world.jobs)


def litter(before: TaskStatus, jobs: tuple[JobFacts, ...]) -> tuple[JobFacts, ...]:
    """Jobs that nobody needs: stopped or lost ones, as they could start a pod again, old ones, and those off record."""
    ended = {each.number: each for each in before.attempts if each.outcome in ENDED}
    on_record = {each.number for each in before.attempts}
    last = max(on_record, default=0)
    newest = max((each.attempt for each in jobs), default=0)
    return tuple(
        facts
        for facts in jobs
        if facts.attempt < newest - KEPT_JOBS
        or (facts.attempt < last and facts.attempt not in on_record)
        or (facts.attempt in ended and (facts.suspended or ended[facts.attempt].reason == Reason.NODE_LOST))
    )
