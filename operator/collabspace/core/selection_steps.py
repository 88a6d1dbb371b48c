"""Tasks that a selection makes once its candidates have ended: each is created, waited for, and then believed."""

from collabspace.api import names
from collabspace.api.conditions import Reason
from collabspace.api.task import TaskSpec
from collabspace.core.selection_case import Case
from collabspace.core.selection_children import Stage, Trial, look, manifest
from collabspace.core.selection_status import ongoing, sooner
from collabspace.core.selection_world import SelectionPlan

LOOK_SECONDS = 60.0
REFUSED_SECONDS = 30.0


def step(case: Case, part: str, wanted: TaskSpec) -> Trial | SelectionPlan:
    """The task once it is over, well or not; until then what is to be done about it."""
    trial = look(case.selection, names.trial_name(case.name, part), wanted, case.world.children)
    if trial.stage in (Stage.ENDED, Stage.FAILED):
        return trial
    if trial.stage is Stage.FOREIGN:
        return sooner(_comparing(case, Reason.NAME_CONFLICT, trial.message), LOOK_SECONDS)
    refusal = case.world.refusals.get(trial.name)
    if trial.stage is Stage.MISSING and refusal is not None:
        return sooner(_comparing(case, refusal.reason, refusal.message), REFUSED_SECONDS)
    words = f"CollabTask {trial.name}: {trial.reason}: {trial.message}" if trial.reason else f"CollabTask {trial.name}"
    found = _comparing(case, Reason.COMPARING, words)
    if trial.stage is Stage.MISSING:
        children = (manifest(case.selection, trial.name, wanted, None),)
        return SelectionPlan(status=found.status, event=found.event, children=children)
    if trial.stage is Stage.CHANGED and trial.task is not None:
        # It compares what is not the case any more, or was edited: it is made anew.
        return SelectionPlan(status=found.status, event=found.event, discard=(trial.task,))
    return found


def _comparing(case: Case, reason: Reason, message: str) -> SelectionPlan:
    return ongoing(case.selection, case.base, reason, message, case.now)
