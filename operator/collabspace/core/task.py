"""What is to be done about one CollabTask: refuse it, let it wait, start its attempt, follow it, end it.

Everything is computed anew from the world at each pass. Two things are final: a success, and an attempt that ended
badly. A refused spec is not: correct it, or the quota, and the task goes on.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace

from collabspace.api.catalogue import Catalogue
from collabspace.api.conditions import TASK_CONDITIONS, ConditionType, Reason
from collabspace.api.task import Assignment, TaskSpec, TaskStatus
from collabspace.core import attempt, grants, job, outcome, parameters, status
from collabspace.core.admission import Decision, Verdict
from collabspace.core.observed import (
    AttemptRecord,
    Dataset,
    JobFacts,
    Key,
    NotRunning,
    ObservedTask,
    PodFacts,
    TeamFacts,
)
from collabspace.core.plan import Creation, Event, Plan
from collabspace.core.quantity import Amount
from collabspace.core.status import Judged

TaskPlan = Plan[TaskStatus]
Judgements = dict[ConditionType, Judged]

ACCEPTED = Judged("True", Reason.VALID)
GRANTED = Judged("True", Reason.GRANTED)
RESERVED = Judged("True", Reason.QUOTA_RESERVED)
HEALTHY = Judged("False", Reason.HEALTHY)
TURNS = (ConditionType.STALLED, ConditionType.SUCCEEDED, ConditionType.ADMITTED)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server did not take the Job. The task waits and tries again later."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class TaskWorld:
    """All that a decision about one task depends on, but for the task itself.

    `datasets` holds those of the task's references that exist; `namespaces` maps every namespace to its uid;
    `broker_known` says that the broker's feed is current; `job_gone` that a live read found the attempt's Job missing.
    """

    catalogue: Catalogue
    settings: job.JobSettings
    datasets: Mapping[Key, Dataset]
    namespaces: Mapping[str, str]
    team: TeamFacts
    verdict: Verdict | None = None
    refusal: Refusal | None = None
    job: JobFacts | None = None
    job_gone: bool = False
    pod: PodFacts | None = None
    record: AttemptRecord | None = None
    broker_known: bool = False
    not_running: NotRunning | None = None


def is_final(before: TaskStatus) -> bool:
    """Whether the task is over for good."""
    if status.holds(ConditionType.SUCCEEDED, before.conditions):
        return True
    return status.holds(ConditionType.STALLED, before.conditions) and has_started(before)


def has_started(before: TaskStatus) -> bool:
    """Whether an attempt of the task is on record."""
    return bool(before.attempts)


def decide_task(task: ObservedTask, world: TaskWorld, now: dt.datetime) -> TaskPlan:
    """The plan for a task in this world. The same arguments give the same plan."""
    if task.meta.deletion_timestamp is not None or is_final(task.status):
        return Plan()
    if world.job is not None or world.job_gone:
        return _follow(task, world, now)
    if has_started(task.status):
        # Never start twice: its Job must be there, or be proven gone, before anything is said.
        return Plan()
    return _start(task, world, now)


def _start(task: ObservedTask, world: TaskWorld, now: dt.datetime) -> TaskPlan:
    spec = task.spec
    if spec is None:
        return _refuse(task, Reason.INVALID_SPEC, task.problem, now)
    checked = parameters.check(spec, world.catalogue)
    if checked.problems:
        return _refuse(task, checked.problems[0].reason, "; ".join(each.message for each in checked.problems), now)
    judged: Judgements = {ConditionType.ACCEPTED: ACCEPTED}
    if world.team.ready is None:
        return Plan()
    # Before the grants: whoever is no team yet must not be sent to another team's owner first.
    if not world.team.ready:
        return _wait(task, judged, Reason.TEAM_NOT_READY, world.team.message, now, None)
    granted = grants.authorize(spec, task.meta.namespace, world.datasets, world.namespaces, now)
    if granted.reason is not Reason.GRANTED:
        judged[ConditionType.DATA_AUTHORIZED] = Judged("False", granted.reason, granted.message)
        return _wait(task, judged, granted.reason, granted.message, now, granted.expires)
    entry = world.catalogue.task(spec.task)
    misfits = grants.misfits(spec, entry.format, world.datasets) if entry is not None else ()
    if misfits:
        return _refuse(task, Reason.INVALID_SPEC, "; ".join(misfits), now)
    judged[ConditionType.DATA_AUTHORIZED] = GRANTED
    if world.refusal is not None:
        return _wait(task, judged, world.refusal.reason, world.refusal.message, now, granted.expires)
    return _queue(task, spec, world, judged, granted, checked, now)


def _queue(
    task: ObservedTask,
    spec: TaskSpec,
    world: TaskWorld,
    judged: Judgements,
    granted: grants.Authorization,
    checked: parameters.Checked,
    now: dt.datetime,
) -> TaskPlan:
    """Follows the admission pass; a task that has no verdict yet stands in the queue and its status stays."""
    amount = job.ask(spec.resources_per_node)
    requeue = _until(granted.expires, now)
    if world.verdict is None:
        return Plan(queued=amount, requeue_after=requeue)
    verdict = world.verdict
    if verdict.decision is Decision.REFUSE:
        return _refuse(task, verdict.reason, verdict.message, now, amount, GRANTED)
    if verdict.decision is Decision.WAIT:
        return _wait(task, judged, verdict.reason, verdict.message, now, granted.expires, amount)
    try:
        run = job.run_document(task, spec, granted, checked.parameters, checked.random_init)
    except job.DocumentTooLargeError as error:
        return _refuse(task, Reason.INVALID_SPEC, str(error), now)
    return Plan(create=Creation(run, job.build(run, spec.resources_per_node, world.settings)), queued=amount)


def _refuse(
    task: ObservedTask,
    reason: Reason,
    message: str,
    now: dt.datetime,
    queued: Amount | None = None,
    data: Judged = status.PENDING,
) -> TaskPlan:
    """Nothing was started. Accepted=False leaves the spec open to correction."""
    verdict = Judged("False", reason, message)
    judged = {
        ConditionType.ACCEPTED: verdict,
        ConditionType.DATA_AUTHORIZED: data,
        ConditionType.ADMITTED: verdict,
        ConditionType.RUNNING: verdict,
        ConditionType.SUCCEEDED: verdict,
        ConditionType.STALLED: Judged("True", reason, message),
    }
    return _plan(task, TaskStatus(), judged, reason, now, queued=queued)


def _wait(
    task: ObservedTask,
    judged: Judgements,
    reason: Reason,
    message: str,
    now: dt.datetime,
    expires: dt.datetime | None,
    queued: Amount | None = None,
) -> TaskPlan:
    verdict = Judged("False", reason, message)
    judged = {
        ConditionType.DATA_AUTHORIZED: status.PENDING,
        ConditionType.ADMITTED: verdict,
        ConditionType.RUNNING: verdict,
        ConditionType.SUCCEEDED: Judged("Unknown", reason, message),
        ConditionType.STALLED: HEALTHY,
    } | judged
    return _plan(task, TaskStatus(), judged, reason, now, queued=queued, requeue=_until(expires, now))


def _follow(task: ObservedTask, world: TaskWorld, now: dt.datetime) -> TaskPlan:
    """The attempt exists: what its Job's document says holds, whatever datasets and grants say today."""
    there = None if world.job_gone else world.job
    end = outcome.judge(there, world.pod, world.record, world.broker_known, now)
    if isinstance(end, outcome.End):
        return _finish(task, world, end, now)
    base = attempt.ongoing(task.status, world.job, world.record, now)
    judged: Judgements = {
        ConditionType.ACCEPTED: ACCEPTED,
        ConditionType.DATA_AUTHORIZED: GRANTED,
        ConditionType.ADMITTED: RESERVED,
        ConditionType.STALLED: HEALTHY,
    }
    if isinstance(end, outcome.Unsettled):
        return _settle(task, base, judged, end, now)
    running = attempt.running(task.status, world.job, world.not_running, now)
    judged[ConditionType.RUNNING] = running.judged
    judged[ConditionType.SUCCEEDED] = Judged("Unknown", running.judged.reason, running.judged.message)
    plan = _plan(task, base, judged, running.judged.reason, now, requeue=running.look_again)
    return replace(plan, inspect=running.inspect)


def _settle(
    task: ObservedTask, base: TaskStatus, judged: Judgements, unsettled: outcome.Unsettled, now: dt.datetime
) -> TaskPlan:
    """For a moment nothing is said: what is missing is on its way, and the end is one write."""
    if unsettled.until is not None:
        return Plan(requeue_after=_until(unsettled.until, now))
    judged[ConditionType.RUNNING] = Judged("False", Reason.CONFIRMING, unsettled.message)
    judged[ConditionType.SUCCEEDED] = Judged("Unknown", Reason.CONFIRMING, unsettled.message)
    return _plan(task, base, judged, Reason.CONFIRMING, now, requeue=status.MINOR_SECONDS)


def _finish(task: ObservedTask, world: TaskWorld, end: outcome.End, now: dt.datetime) -> TaskPlan:
    message = end.message or end.reason.help
    data = GRANTED
    if end.reason is Reason.ACCESS_REVOKED:
        data = Judged("False", Reason.ACCESS_REVOKED, _why_refused(task, world, now) or message)
        message = data.message
    good = end.reason is Reason.COMPLETED
    verdict = Judged("False", end.reason, message)
    judged = {
        ConditionType.ACCEPTED: ACCEPTED,
        ConditionType.DATA_AUTHORIZED: data,
        ConditionType.ADMITTED: RESERVED,
        ConditionType.RUNNING: verdict,
        ConditionType.SUCCEEDED: Judged("True", end.reason, message) if good else verdict,
        ConditionType.STALLED: HEALTHY if good else Judged("True", end.reason, message),
    }
    ended = attempt.ended(task.status, world.job, end, now)
    return replace(_plan(task, ended.status, judged, end.reason, now), spent=ended.spent)


def _why_refused(task: ObservedTask, world: TaskWorld, now: dt.datetime) -> str:
    if task.spec is None:
        return ""
    granted = grants.authorize(task.spec, task.meta.namespace, world.datasets, world.namespaces, now)
    return f"the broker refused access: {granted.message}" if granted.reason is not Reason.GRANTED else ""


def _plan(
    task: ObservedTask,
    base: TaskStatus,
    judged: Mapping[ConditionType, Judged],
    reason: Reason,
    now: dt.datetime,
    queued: Amount | None = None,
    requeue: float | None = None,
) -> TaskPlan:
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
    if after == before:
        return Plan(queued=queued, requeue_after=requeue)
    return Plan(status=after, queued=queued, event=_event(before, after, reason), requeue_after=requeue)


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


def _until(moment: dt.datetime | None, now: dt.datetime) -> float | None:
    return max(0.0, (moment - now).total_seconds()) if moment is not None else None
