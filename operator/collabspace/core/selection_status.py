"""Plans that write a selection's status: one dominant reason, the same in every condition that it concerns."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace

from collabspace.api import timestamp
from collabspace.api.conditions import SELECTION_CONDITIONS, ConditionType, Reason
from collabspace.api.selection import SelectionStatus
from collabspace.core import status
from collabspace.core.observed import ObservedSelection
from collabspace.core.plan import Event
from collabspace.core.selection_world import SelectionPlan
from collabspace.core.status import Judged

ACCEPTED = Judged("True", Reason.VALID)
HEALTHY = Judged("False", Reason.HEALTHY)
ENDS = (ConditionType.SUCCEEDED, ConditionType.STALLED)
# Turns of a selection's life that are told as events, beside its end.
TOLD = frozenset({Reason.COMPARING.value, Reason.PROMOTING.value})


def is_final(before: SelectionStatus) -> bool:
    """Whether the selection is over for good."""
    return before.completion_time is not None and any(status.holds(kind, before.conditions) for kind in ENDS)


def refuse(selection: ObservedSelection, reason: Reason, message: str, now: dt.datetime) -> SelectionPlan:
    """Nothing is started; Accepted=False leaves the spec open to correction."""
    verdict = Judged("False", reason, message)
    judged = dict.fromkeys(SELECTION_CONDITIONS, verdict) | {ConditionType.STALLED: Judged("True", reason, message)}
    return write(selection, SelectionStatus(), judged, reason, now)


def ongoing(
    selection: ObservedSelection,
    base: SelectionStatus,
    reason: Reason,
    message: str,
    now: dt.datetime,
    running: bool = False,
) -> SelectionPlan:
    """The selection goes on, or waits; `running`: a child trains."""
    judged = {
        ConditionType.ACCEPTED: ACCEPTED,
        ConditionType.RUNNING: Judged("True" if running else "False", reason, message),
        ConditionType.SUCCEEDED: Judged("Unknown", reason, message),
        ConditionType.STALLED: HEALTHY,
    }
    return write(selection, base, judged, reason, now)


def over(
    selection: ObservedSelection, base: SelectionStatus, reason: Reason, message: str, now: dt.datetime
) -> SelectionPlan:
    """The selection ends for good."""
    good = reason is Reason.COMPLETED
    verdict = Judged("False", reason, message)
    judged = {
        ConditionType.ACCEPTED: ACCEPTED,
        ConditionType.RUNNING: verdict,
        ConditionType.SUCCEEDED: Judged("True", reason, message) if good else verdict,
        ConditionType.STALLED: HEALTHY if good else Judged("True", reason, message),
    }
    ended = base.model_copy(update={"completion_time": timestamp.rfc3339(now)})
    return write(selection, ended, judged, reason, now)


def write(
    selection: ObservedSelection,
    base: SelectionStatus,
    judged: Mapping[ConditionType, Judged],
    reason: Reason,
    now: dt.datetime,
) -> SelectionPlan:
    """Writes `base` with these conditions, if that differs from what is written."""
    before, generation = selection.status, selection.meta.generation
    after = base.model_copy(
        update={
            "observed_generation": generation,
            "conditions": status.conditions(SELECTION_CONDITIONS, before.conditions, judged, generation, now),
            "reason": reason.value,
        }
    )
    return SelectionPlan() if after == before else SelectionPlan(status=after, event=_event(before, after))


def sooner(plan: SelectionPlan, seconds: float | None) -> SelectionPlan:
    """The same plan, looked at again in so many seconds at the latest."""
    if seconds is None:
        return plan
    return replace(plan, requeue_after=seconds if plan.requeue_after is None else min(plan.requeue_after, seconds))


def _event(before: SelectionStatus, after: SelectionStatus) -> Event | None:
    kind = next((k for k in ENDS if status.holds(k, after.conditions) and not status.holds(k, before.conditions)), None)
    if kind is None and (after.reason == before.reason or after.reason not in TOLD):
        return None
    told = status.find(kind or ConditionType.SUCCEEDED, after.conditions)
    return Event(kind is ConditionType.STALLED, after.reason, told.message if told is not None else "")
