"""What is to be done about a ModelSelection in this release: say plainly that it is not run."""

import datetime as dt

from collabspace.api.conditions import SELECTION_CONDITIONS, ConditionType, Reason
from collabspace.api.selection import SelectionStatus
from collabspace.core import status
from collabspace.core.observed import ObservedSelection
from collabspace.core.plan import Plan
from collabspace.core.status import Judged

SelectionPlan = Plan[SelectionStatus]


def decide_selection(selection: ObservedSelection, now: dt.datetime) -> SelectionPlan:
    """Accepted=False and Stalled=True, with the reason NotSupported, or InvalidSpec when it cannot be read."""
    if selection.meta.deletion_timestamp is not None:
        return Plan()
    reason = Reason.NOT_SUPPORTED if selection.spec is not None else Reason.INVALID_SPEC
    verdict = Judged("False", reason, selection.problem)
    judged = dict.fromkeys(SELECTION_CONDITIONS, verdict) | {
        ConditionType.STALLED: Judged("True", reason, selection.problem)
    }
    before, generation = selection.status, selection.meta.generation
    after = SelectionStatus(
        observed_generation=generation,
        conditions=status.conditions(SELECTION_CONDITIONS, before.conditions, judged, generation, now),
    )
    return Plan(status=after if after != before else None)
