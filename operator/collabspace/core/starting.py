"""A task without an attempt to follow: may the next one start, and on what terms?"""

import datetime as dt

from collabspace.api import timestamp
from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.run import Budget
from collabspace.api.task import MAX_NAME, NAME_RULE, TaskSpec, TaskStatus
from collabspace.core import attempt, following, grants, job, learning, models, parameters, retry, status, stopping
from collabspace.core.admission import Decision
from collabspace.core.grants import Authorization
from collabspace.core.observed import MODEL, ObservedTask
from collabspace.core.plan import Creation, Queued
from collabspace.core.status import Judged
from collabspace.core.task_plan import (
    GRANTED,
    TaskPlan,
    has_started,
    over,
    refuse,
    sooner,
    until,
    wait,
)
from collabspace.core.task_world import TaskWorld


def start(task: ObservedTask, world: TaskWorld, now: dt.datetime) -> TaskPlan:
    """Waits, refuses, queues, or creates the Job of the next attempt."""
    spec = task.spec
    if spec is None:
        return refuse(task, Reason.INVALID_SPEC, task.problem, now)
    if len(task.meta.name) > MAX_NAME or "." in task.meta.name:
        return refuse(task, Reason.INVALID_SPEC, NAME_RULE[1], now)
    checked = parameters.check(spec, world.catalogue, task.meta.namespace)
    if checked.problems:
        return refuse(task, checked.problems[0].reason, "; ".join(each.message for each in checked.problems), now)
    spent = _spent_up(spec, task.status)
    if spent is not None:
        return over(task, attempt.between(task.status), *spent, now)
    if spec.suspend:
        return wait(task, {}, Reason.SUSPENDED, Reason.SUSPENDED.help, now)
    deadline = _pending_deadline(task, spec, now)
    if deadline is not None and now >= deadline:
        return _too_late(task, spec, now)
    return sooner(_judge(task, spec, world, checked, now), until(deadline, now))


def _spent_up(spec: TaskSpec, before: TaskStatus) -> tuple[Reason, str] | None:
    """Whether nothing is left of what the task may use over all its attempts."""
    used = before.usage
    if used is None:
        return None
    limit = spec.active_deadline_seconds
    if limit is not None and used.active_seconds >= limit:
        words = f"all attempts together ran for {used.active_seconds} s, spec.activeDeadlineSeconds is {limit}"
        return Reason.DEADLINE_EXCEEDED, words
    budget = spec.budget
    for field, most, spent in (
        ("cpuSeconds", budget.cpu_seconds if budget else None, used.cpu_seconds),
        ("gpuSeconds", budget.gpu_seconds if budget else None, used.gpu_seconds),
    ):
        if most is not None and spent >= most:
            return Reason.BUDGET_SPENT, f"all attempts together used {spent}, spec.budget.{field} is {most}"
    return None


def _pending_deadline(task: ObservedTask, spec: TaskSpec, now: dt.datetime) -> dt.datetime | None:
    """When the wait for the first attempt has been too long: counted from creation, or from the last resume."""
    if spec.pending_deadline_seconds is None or has_started(task.status):
        return None
    admitted = status.find(ConditionType.ADMITTED, task.status.conditions)
    if admitted is None:
        since = timestamp.parse(task.meta.creation_timestamp)
    else:
        # Unknown: it was suspended until now.
        since = retry.moment(admitted.last_transition_time) or now if admitted.status == "False" else now
    return since + dt.timedelta(seconds=spec.pending_deadline_seconds)


def _too_late(task: ObservedTask, spec: TaskSpec, now: dt.datetime) -> TaskPlan:
    admitted = status.find(ConditionType.ADMITTED, task.status.conditions)
    what = f"{admitted.reason}: {admitted.message}" if admitted is not None else "admission"
    words = f"not started within {spec.pending_deadline_seconds} s, spec.pendingDeadlineSeconds; it waited for {what}"
    return over(task, TaskStatus(), Reason.PENDING_DEADLINE_EXCEEDED, words, now)


def _judge(
    task: ObservedTask, spec: TaskSpec, world: TaskWorld, checked: parameters.Checked, now: dt.datetime
) -> TaskPlan:
    pins = following.pins(task.status, None)
    model = pins[MODEL].uid if MODEL in pins else ""
    gone = models.gone(spec, task.meta.namespace, world.models, model if has_started(task.status) else None)
    if gone:
        return over(task, attempt.between(task.status), Reason.RESULT_GONE, gone, now)
    last = attempt.newest(task.status)
    ready_at = retry.ready_at(task.status, task.meta.uid)
    if last is not None and ready_at is not None and now < ready_at:
        words = f"attempt {last.number}: {last.reason}: {last.message}"
        found = wait(task, {ConditionType.DATA_AUTHORIZED: GRANTED}, Reason.RETRY_BACKOFF, words, now)
        return sooner(found, until(ready_at, now))
    if world.team.ready is None:
        return TaskPlan()
    # Before the grants: whoever is no team yet must not be sent to another team's owner first.
    if not world.team.ready:
        return wait(task, {}, Reason.TEAM_NOT_READY, world.team.message, now)
    namespace = task.meta.namespace
    granted = grants.authorize(spec, namespace, world.datasets, world.namespaces, now, pins, world.models)
    found = _judge_data(task, spec, world, checked, granted, now)
    return sooner(found, until(granted.expires, now))


def _judge_data(
    task: ObservedTask,
    spec: TaskSpec,
    world: TaskWorld,
    checked: parameters.Checked,
    granted: Authorization,
    now: dt.datetime,
) -> TaskPlan:
    if granted.reason is not Reason.GRANTED:
        data = {ConditionType.DATA_AUTHORIZED: Judged("False", granted.reason, granted.message)}
        return wait(task, data, granted.reason, granted.message, now)
    entry = world.catalogue.task(spec.task)
    misfits = list(grants.misfits(spec, entry.format, world.datasets)) if entry is not None else []
    misfits += models.misfits(spec, task.meta.namespace, world.models)
    lacking = models.incomplete(spec, world.models, world.catalogue, granted.initial_model, granted.datasets)
    misfits += [lacking] if lacking else []
    if misfits:
        return refuse(task, Reason.INVALID_SPEC, "; ".join(misfits), now)
    if world.refusal is not None:
        data = {ConditionType.DATA_AUTHORIZED: GRANTED}
        return wait(task, data, world.refusal.reason, world.refusal.message, now)
    last = attempt.newest(task.status)
    suggested = following.suggestion(world)
    size = learning.size(spec.resources_per_node, checked.parameters, last, suggested, world.offers)
    if size is None:
        words = last.message if last is not None else ""
        return over(task, attempt.between(task.status), Reason.OUT_OF_MEMORY, words, now)
    terms = job.Terms(
        granted=granted,
        parameters=checked.parameters,
        random_init=checked.random_init,
        attempt=max(world.broker_attempt, last.number if last is not None else 0) + 1,
        memory=size.memory,
        micro_batch=size.micro_batch,
        deadline=_deadline(spec, task.status, now),
        budget=_budget(spec, task.status),
    )
    return _queue(task, spec, world, terms, now)


def _queue(task: ObservedTask, spec: TaskSpec, world: TaskWorld, terms: job.Terms, now: dt.datetime) -> TaskPlan:
    """Follows the admission pass; a task that has no verdict yet stands in the queue and its status stays."""
    queued = Queued(terms.attempt, job.ask(job.resources(spec, terms)))
    verdict = world.verdict
    if verdict is None:
        return TaskPlan(queued=queued)
    if verdict.decision is Decision.REFUSE:
        return refuse(task, verdict.reason, verdict.message, now, queued, GRANTED)
    if verdict.decision is Decision.WAIT:
        data = {ConditionType.DATA_AUTHORIZED: GRANTED}
        return wait(task, data, verdict.reason, verdict.message, now, queued)
    try:
        run = job.run_document(task, spec, terms)
    except job.DocumentTooLargeError as error:
        return refuse(task, Reason.INVALID_SPEC, str(error), now)
    return TaskPlan(create=Creation(run, job.build(run, job.resources(spec, terms), world.settings)), queued=queued)


def _deadline(spec: TaskSpec, before: TaskStatus, now: dt.datetime) -> str | None:
    left = stopping.remaining(spec, before, now)
    return timestamp.rfc3339(now + dt.timedelta(seconds=left)) if left is not None else None


def _budget(spec: TaskSpec, before: TaskStatus) -> Budget:
    """What is left of the task's own budget."""
    used = before.usage
    if spec.budget is None:
        return Budget()
    cpu, gpu = spec.budget.cpu_seconds, spec.budget.gpu_seconds
    return Budget(
        cpu_seconds=cpu - (used.cpu_seconds if used is not None else 0) if cpu is not None else None,
        gpu_seconds=gpu - (used.gpu_seconds if used is not None else 0) if gpu is not None else None,
    )
