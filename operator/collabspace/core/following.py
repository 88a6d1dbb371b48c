"""A task with an attempt whose end is not on record: what its pod does, whether it must stop, what its end leads to."""

import datetime as dt
from dataclasses import dataclass, replace

from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.run import ExitCode
from collabspace.api.task import Attempt, TaskSpec, TaskStatus
from collabspace.core import attempt, grants, learning, outcome, parameters, retry, status, stopping
from collabspace.core.grants import Authorization, Pin
from collabspace.core.observed import JobFacts, Key, ObservedTask
from collabspace.core.outcome import End, Unsettled
from collabspace.core.plan import Event, Stop
from collabspace.core.status import Judged
from collabspace.core.task_plan import (
    ACCEPTED,
    GRANTED,
    HEALTHY,
    RESERVED,
    Judgements,
    TaskPlan,
    over,
    plan,
    sooner,
    until,
    wait,
)
from collabspace.core.task_world import TaskWorld


@dataclass(frozen=True, slots=True)
class _Case:
    """The attempt that is judged. `job` is its Job as last seen; `granted` what its data's owners say now."""

    task: ObservedTask
    spec: TaskSpec | None
    world: TaskWorld
    number: int
    job: JobFacts | None
    granted: Authorization | None
    now: dt.datetime

    @property
    def refused(self) -> frozenset[Key]:
        return frozenset(self.granted.refused) if self.granted is not None else frozenset()


def follow(task: ObservedTask, world: TaskWorld, number: int, now: dt.datetime) -> TaskPlan:
    """The attempt exists: what its Job's document says holds, and its owners' grants."""
    facts = world.job if world.job is not None and world.job.attempt == number else None
    if facts is None and not world.remains.job_gone:
        # Never start twice: its Job must be there, or be proven gone, before anything is said.
        return TaskPlan()
    case = _Case(task, task.spec, world, number, facts, _granted(task, world, facts, now), now)
    end = outcome.judge(facts, world.pod, world.record, world.broker_known, now, world.remains)
    if isinstance(end, End):
        return _conclude(case, end)
    if facts is None or world.remains.job_gone:
        return TaskPlan(requeue_after=until(end.until, now) if end is not None else None)
    if isinstance(end, Unsettled):
        return _settle(case, facts, end)
    return _watch(case, facts)


def pins(before: TaskStatus, facts: JobFacts | None) -> dict[str, Pin]:
    """The versions that the first attempt had, from its Job while that is known, else from the status."""
    if facts is not None:
        return {name: Pin(uid, digest) for name, uid, digest in facts.pinned}
    return {each.name: Pin(each.uid, each.digest) for each in before.datasets}


def _granted(task: ObservedTask, world: TaskWorld, facts: JobFacts | None, now: dt.datetime) -> Authorization | None:
    """What the grants say about the running attempt; None: the operator cannot tell."""
    namespace = task.meta.namespace
    if task.spec is None or namespace not in world.namespaces:
        return None
    known = pins(task.status, facts)
    # The results that it compares were given to it; those of tasks deleted since are no reason to stop.
    owned = task.spec.model_copy(update={"results": []})
    return grants.authorize(owned, namespace, world.datasets, world.namespaces, now, known, world.models)


def _watch(case: _Case, facts: JobFacts) -> TaskPlan:
    """The attempt goes on, or is told to stop."""
    task, world, now = case.task, case.world, case.now
    running = attempt.running(task.status, facts, world.not_running, now)
    found = _plan_of(case, facts, running.judged, running.judged.reason)
    found = replace(sooner(found, running.look_again), inspect=running.inspect)
    if case.spec is None or facts.suspended:
        return found
    revoked = stopping.revoked(case.granted, world.datasets) if case.granted is not None else ""
    if revoked:
        return _stop(case, facts, Reason.ACCESS_REVOKED, revoked)
    watch = stopping.due(case.spec, task.status, facts, world.record, world.still_seconds, now)
    if watch.stop is not None:
        return _stop(case, facts, *watch.stop)
    expires = case.granted.expires if case.granted is not None else None
    return sooner(sooner(found, watch.look_again), until(expires, now))


def _stop(case: _Case, facts: JobFacts, reason: Reason, message: str) -> TaskPlan:
    ran = status.holds(ConditionType.RUNNING, case.task.status.conditions)
    words = status.bounded(message, 512)
    judged = Judged("True" if ran else "False", Reason.STOPPING, f"{reason}: {words}")
    confirm = case.refused if reason is Reason.ACCESS_REVOKED else frozenset()
    found = _plan_of(case, facts, judged, Reason.STOPPING)
    return replace(found, stop=Stop(facts, reason, words), confirm=confirm)


def _settle(case: _Case, facts: JobFacts, unsettled: Unsettled) -> TaskPlan:
    """For a moment nothing is said: what is missing is on its way, and the end is one write."""
    if unsettled.until is not None:
        return TaskPlan(requeue_after=until(unsettled.until, case.now))
    judged = Judged("False", Reason.CONFIRMING, unsettled.message)
    return sooner(_plan_of(case, facts, judged, Reason.CONFIRMING), status.MINOR_SECONDS)


def _plan_of(case: _Case, facts: JobFacts, running: Judged, reason: Reason) -> TaskPlan:
    refused = case.granted is not None and case.granted.reason is not Reason.GRANTED
    data = Judged("False", case.granted.reason, case.granted.message) if refused and case.granted else GRANTED
    judged: Judgements = {
        ConditionType.ACCEPTED: ACCEPTED,
        ConditionType.DATA_AUTHORIZED: data,
        ConditionType.ADMITTED: RESERVED,
        ConditionType.RUNNING: running,
        ConditionType.SUCCEEDED: Judged("Unknown", running.reason, running.message),
        ConditionType.STALLED: HEALTHY,
    }
    base = attempt.ongoing(case.task.status, facts, case.world.record, case.now)
    return plan(case.task, base, judged, reason, case.now)


def _conclude(case: _Case, end: End) -> TaskPlan:
    """The end of the attempt goes on record, together with what follows from it."""
    task, now = case.task, case.now
    end = _access(case, end)
    entry = attempt.closed(task.status, case.job, case.number, end, now)
    limit = case.spec.max_attempts if case.spec is not None else 1
    after = retry.follow(task.status, entry, end.reason, limit, _can_grow(case, entry))
    base = attempt.ended(task.status, case.job, entry, after, end)
    used = attempt.spent(entry.model_copy(update={"outcome": after.outcome}), attempt.amount_of(task))
    base = attempt.charged(base, entry, used)
    if after.final is not None:
        message = after.message or end.message or after.final.help
        found = over(task, base, after.final, message, now)
        confirm = case.refused if after.final is Reason.ACCESS_REVOKED else frozenset()
    else:
        found = _pause(case, base, entry)
        confirm = frozenset()
    return replace(found, spent=used, confirm=confirm)


def _pause(case: _Case, base: TaskStatus, entry: Attempt) -> TaskPlan:
    """Between two attempts the task holds no quota; the next pass asks for it anew."""
    suspended = case.spec is not None and case.spec.suspend
    reason = Reason.SUSPENDED if suspended else Reason.RETRY_BACKOFF
    message = reason.help if suspended else f"attempt {entry.number}: {entry.reason}: {entry.message}"
    held = replace(case.task, status=base.model_copy(update={"conditions": case.task.status.conditions}))
    found = wait(held, {ConditionType.DATA_AUTHORIZED: GRANTED}, reason, message, case.now)
    event = Event(True, entry.reason, f"attempt {entry.number}: {entry.message}")
    return replace(sooner(found, until(retry.ready_at(base, case.task.meta.uid), case.now) or 0.0), event=event)


def _access(case: _Case, end: End) -> End:
    """A refusal of the broker, in the light of the grants: taken back for good, to be waited for, or a mistake."""
    if end.exit_code != ExitCode.ACCESS_REFUSED or end.reason is not Reason.ACCESS_REVOKED:
        return end
    granted = case.granted
    if granted is None or granted.reason is Reason.GRANTED:
        return replace(end, reason=Reason.BROKER_UNAVAILABLE, message=f"the broker refused access: {end.message}")
    revoked = stopping.revoked(granted, case.world.datasets)
    reason = Reason.ACCESS_REVOKED if revoked else Reason.INTERRUPTED
    return replace(end, reason=reason, message=f"the broker refused access: {granted.message}")


def _can_grow(case: _Case, entry: Attempt) -> bool:
    if case.spec is None or entry.reason != Reason.OUT_OF_MEMORY:
        return False
    checked = parameters.check(case.spec, case.world.catalogue)
    suggested = suggestion(case.world)
    found = learning.size(case.spec.resources_per_node, checked.parameters, entry, suggested, case.world.offers)
    return found is not None


def suggestion(world: TaskWorld) -> int | None:
    """The micro-batch that the trainer of the newest attempt thinks would fit."""
    claims = outcome.claims_of(world.pod, world.record)
    return claims.suggested_micro_batch if claims is not None else None
