"""Plans that write a task's status: one dominant reason, the same in every condition that it concerns."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace

from collabspace.api import timestamp
from collabspace.api.conditions import TASK_CONDITIONS, ConditionType, Reason
from collabspace.api.task import Assignment, TaskStatus
from collabspace.core import attempt, status
from collabspace.core.observed import ObservedTask
from collabspace.core.plan import Event, Plan, Queued
from collabspace.core.status import Judged

TaskPlan = Plan[TaskStatus]
Judgements = dict[ConditionType, Judged]

ACCEPTED = Judged("True", Reason.VALID)
GRANTED = Judged("True", Reason.GRANTED)
RESERVED = Judged("True", Reason.QUOTA_RESERVED)
HEALTHY = Judged("False", Reason.HEALTHY)
TURNS = (ConditionType.STALLED, ConditionType.SUCCEEDED, ConditionType.ADMITTED)


def is_final(before: TaskStatus) -> bool:
    """Whether the task is over for good."""
    ends = (ConditionType.SUCCEEDED, ConditionType.STALLED)
    return before.completion_time is not None and any(status.holds(kind, before.conditions) for kind in ends)


def has_started(before: TaskStatus) -> bool:
    """Whether an attempt of the task is on record."""
    return bool(before.attempts)


def refuse(
    task: ObservedTask,
    reason: Reason,
    message: str,
    now: dt.datetime,
    queued: Queued | None = None,
    data: Judged = status.PENDING,
) -> TaskPlan:
    """Nothing is started. Accepted=False leaves the spec open to correction, unless an attempt has already run."""
    verdict = Judged("False", reason, message)
    judged = {
        ConditionType.ACCEPTED: ACCEPTED if has_started(task.status) else verdict,
        ConditionType.DATA_AUTHORIZED: data,
        ConditionType.ADMITTED: verdict,
        ConditionType.RUNNING: verdict,
        ConditionType.SUCCEEDED: verdict,
        ConditionType.STALLED: Judged("True", reason, message),
    }
    return replace(plan(task, attempt.between(task.status), judged, reason, now), queued=queued)


def wait(
    task: ObservedTask,
    judged: Judgements,
    reason: Reason,
    message: str,
    now: dt.datetime,
    queued: Queued | None = None,
) -> TaskPlan:
    """The task waits for something that may come by itself or by others; `judged` is what is known beside that."""
    verdict = Judged("False", reason, message)
    # Unknown while suspended: the deadline for the wait starts anew when the status turns to False.
    admitted = Judged("Unknown", reason, message) if reason is Reason.SUSPENDED else verdict
    judged = {
        ConditionType.ACCEPTED: ACCEPTED,
        ConditionType.DATA_AUTHORIZED: status.PENDING,
        ConditionType.ADMITTED: admitted,
        ConditionType.RUNNING: verdict,
        ConditionType.SUCCEEDED: Judged("Unknown", reason, message),
        ConditionType.STALLED: HEALTHY,
    } | judged
    return replace(plan(task, attempt.between(task.status), judged, reason, now), queued=queued)


def over(task: ObservedTask, base: TaskStatus, reason: Reason, message: str, now: dt.datetime) -> TaskPlan:
    """The task ends for good; `base` is the rest of its status."""
    good = reason is Reason.COMPLETED
    verdict = Judged("False", reason, message)
    judged = {
        ConditionType.ACCEPTED: ACCEPTED,
        ConditionType.DATA_AUTHORIZED: verdict if reason is Reason.ACCESS_REVOKED else GRANTED,
        ConditionType.ADMITTED: RESERVED if has_started(base) else verdict,
        ConditionType.RUNNING: verdict,
        ConditionType.SUCCEEDED: Judged("True", reason, message) if good else verdict,
        ConditionType.STALLED: HEALTHY if good else Judged("True", reason, message),
    }
    if base.completion_time is None:
        base = base.model_copy(update={"completion_time": timestamp.rfc3339(now)})
    return plan(task, base, judged, reason, now)


def plan(
    task: ObservedTask, base: TaskStatus, judged: Mapping[ConditionType, Judged], reason: Reason, now: dt.datetime
) -> TaskPlan:
    """Writes `base` with these conditions, if that differs from what is written."""
    before = task.status
    generation = task.meta.generation
    after = base.model_copy(
        update={
            "observed_generation": generation,
            "conditions": status.conditions(TASK_CONDITIONS, before.conditions, judged, generation, now),
            "reason": reason.value,
            "assignment": Assignment(namespace=task.meta.namespace),
        }
    )
    return TaskPlan() if after == before else TaskPlan(status=after, event=_event(before, after, reason))


def sooner(plan: TaskPlan, seconds: float | None) -> TaskPlan:
    """The same plan, looked at again in so many seconds at the latest."""
    if seconds is None:
        return plan
    known = plan.requeue_after
    return replace(plan, requeue_after=seconds if known is None else min(known, seconds))


def until(moment: dt.datetime | None, now: dt.datetime) -> float | None:
    """Seconds from now to the moment, at least 0."""
    return max(0.0, (moment - now).total_seconds()) if moment is not None else None


def _event(before: TaskStatus, after: TaskStatus, reason: Reason) -> Event | None:
    """An event only where the task turns: admitted after a wait, succeeded, ended or refused for good."""
    turns = {kind: status.holds(kind, after.conditions) and not status.holds(kind, before.conditions) for kind in TURNS}
    kind = next((kind for kind in TURNS if turns[kind]), None)
    if kind is None or (kind is ConditionType.ADMITTED and not before.conditions):
        return None
    condition = status.find(kind, after.conditions)
    words = condition.message if condition is not None else ""
    name = "Admitted" if kind is ConditionType.ADMITTED else reason.value
    return Event(kind is ConditionType.STALLED, name, words)
