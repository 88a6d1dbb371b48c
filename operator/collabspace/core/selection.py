"""What is to be done about one ModelSelection: refuse it, let it wait, run its candidates, compare them, promote one.

Everything is computed anew from the children at each pass. On record and final are: the versions that all candidates
share, the winner together with what the alias stood for when it was known, and the end.
"""

import datetime as dt
from dataclasses import replace

from collabspace.api import timestamp
from collabspace.api.conditions import Reason
from collabspace.api.selection import CandidateState, SelectionSpec, SelectionStatus
from collabspace.core import selection_budget, selection_check, selection_decision, selection_pins, selection_promotion
from collabspace.core.observed import ObservedSelection, ObservedTask
from collabspace.core.selection_board import entries, settle, stand, total
from collabspace.core.selection_case import Case
from collabspace.core.selection_children import (
    Run,
    Stage,
    candidate_names,
    candidate_spec,
    child_names,
    look,
    manifest,
)
from collabspace.core.selection_status import is_final, ongoing, refuse, sooner
from collabspace.core.selection_world import SelectionPlan, SelectionWorld

REFUSED_SECONDS = 30.0
UNSETTLED = (CandidateState.WAITING, CandidateState.RUNNING)
REASONS = {reason.value: reason for reason in Reason}


def decide_selection(selection: ObservedSelection, world: SelectionWorld, now: dt.datetime) -> SelectionPlan:
    """The plan for a selection in this world. The same arguments give the same plan."""
    if selection.meta.deletion_timestamp is not None:
        return SelectionPlan()
    spec = selection.spec
    if is_final(selection.status):
        return _after(selection, spec, world, now) if spec is not None else SelectionPlan()
    if spec is None:
        return refuse(selection, Reason.INVALID_SPEC, selection.problem, now)
    if not selection_pins.covers(spec, selection.status.datasets):
        return _begin(selection, spec, world, now)
    return _run(selection, spec, world, now)


def _begin(selection: ObservedSelection, spec: SelectionSpec, world: SelectionWorld, now: dt.datetime) -> SelectionPlan:
    """Checks the spec and puts the versions on record; nothing is started before they are."""
    problems = selection_check.check(spec, world.catalogue, selection.meta.name, selection.meta.namespace)
    if problems:
        words = "; ".join(each.message for each in problems)
        return refuse(selection, problems[0].reason, words, now)
    if spec.suspend:
        return ongoing(selection, SelectionStatus(), Reason.SUSPENDED, Reason.SUSPENDED.help, now)
    if world.team.ready is None:
        return SelectionPlan()
    if not world.team.ready:
        return ongoing(selection, SelectionStatus(), Reason.TEAM_NOT_READY, world.team.message, now)
    pins = selection_pins.choose(spec, selection.meta.namespace, world, now)
    if pins.wrong:
        return refuse(selection, pins.reason, pins.message, now)
    if not pins.versions:
        found = ongoing(selection, SelectionStatus(), pins.reason, pins.message, now)
        return sooner(found, max(0.0, (pins.expires - now).total_seconds()) if pins.expires is not None else None)
    base = SelectionStatus(datasets=list(pins.versions), start_time=timestamp.rfc3339(now))
    return sooner(ongoing(selection, base, Reason.STARTING, "the versions are pinned; tasks are created", now), 0.0)


def _run(selection: ObservedSelection, spec: SelectionSpec, world: SelectionWorld, now: dt.datetime) -> SelectionPlan:
    pinned = {each.name: each for each in selection.status.datasets}
    runs = _runs(selection, spec, world)
    standings = [
        stand(each, [run for run in runs if run.candidate is each], spec.objective.metric) for each in spec.candidates
    ]
    closed = frozenset(each.candidate.name for each in standings if each.state is CandidateState.EXCLUDED)
    records = selection_pins.training_records(spec, pinned, world.datasets)
    allocation = selection_budget.allocate(spec, runs, closed, world.catalogue, records)
    if not allocation.starts and not any(run.trial.stage is Stage.ACTIVE for run in runs):
        standings = [settle(each, allocation.skipped) for each in standings]
    goal = spec.objective.goal
    base = selection.status.model_copy(
        update={"leaderboard": entries(standings, goal), "cost": total([each.cost for each in standings])}
    )
    case = Case(selection, spec, world, now, pinned, tuple(standings), base)
    if spec.suspend:
        found = ongoing(selection, base, Reason.SUSPENDED, Reason.SUSPENDED.help, now)
    elif any(each.state in UNSETTLED for each in standings):
        found = _train(case, runs, allocation)
    else:
        found = selection_decision.conclude(case)
    return _suspended(case, found)


def _runs(selection: ObservedSelection, spec: SelectionSpec, world: SelectionWorld) -> list[Run]:
    pinned = {each.name: each for each in selection.status.datasets}
    datasets = selection_pins.datasets(spec, pinned)
    found = []
    for candidate, number, name in candidate_names(selection.meta.name, spec):
        model = selection_pins.model(spec, candidate, pinned)
        wanted = candidate_spec(spec, candidate, number, datasets, model)
        found.append(Run(candidate, number, look(selection, name, wanted, world.children)))
    return found


def _train(case: Case, runs: list[Run], allocation: selection_budget.Allocation) -> SelectionPlan:
    """Candidates are under way: more of them start when there is room."""
    refused = [case.world.refusals[each.run.trial.name] for each in allocation.starts if _refused(case, each)]
    children = tuple(
        manifest(case.selection, each.run.trial.name, each.run.trial.wanted, each.budget)
        for each in allocation.starts
        if not _refused(case, each)
    )
    # A candidate that comes back, because its task was deleted, leaves no winner behind.
    base = case.base.model_copy(update={"winner": None, "champion": None, "comparison": []})
    reason, message, running = _dominant(runs)
    if refused and not running:
        reason, message = refused[0].reason, refused[0].message
    found = ongoing(case.selection, base, reason, message, case.now, running)
    found = replace(found, children=children)
    return sooner(found, REFUSED_SECONDS if refused else None)


def _refused(case: Case, start: selection_budget.Start) -> bool:
    return start.run.trial.name in case.world.refusals


def _dominant(runs: list[Run]) -> tuple[Reason, str, bool]:
    """Training, when one trains; else what the first of the live ones waits for."""
    live = [run.trial for run in runs if run.trial.stage is Stage.ACTIVE]
    training = [trial for trial in live if trial.running]
    if training:
        return Reason.TRAINING, "", True
    for trial in live:
        reason = REASONS.get(trial.reason)
        if reason is not None and reason not in (Reason.PENDING, Reason.STARTING):
            return reason, f"CollabTask {trial.name}: {trial.message}", False
    return Reason.STARTING, "", False


def _suspended(case: Case, found: SelectionPlan) -> SelectionPlan:
    """Children are suspended and resumed with the selection."""
    live = _live(case.selection, case.spec, case.world)
    halt = tuple(each for each in live if case.spec.suspend and each.spec is not None and not each.spec.suspend)
    resume = tuple(each for each in live if not case.spec.suspend and each.spec is not None and each.spec.suspend)
    return replace(found, halt=halt, resume=resume)


def _live(selection: ObservedSelection, spec: SelectionSpec, world: SelectionWorld) -> tuple[ObservedTask, ...]:
    """Its own children that are neither over nor being deleted."""
    children = (world.children.get(name) for name in child_names(selection.meta.name, spec))
    return tuple(
        child.task
        for child in children
        if child is not None
        and child.owner_uid == selection.meta.uid
        and child.task.meta.deletion_timestamp is None
        and child.task.status.completion_time is None
    )


def _after(selection: ObservedSelection, spec: SelectionSpec, world: SelectionWorld, now: dt.datetime) -> SelectionPlan:
    """Of an ended selection no task goes on; its alias may still be set."""
    case = Case(selection, spec, world, now, {}, (), selection.status)
    return replace(selection_promotion.reconsider(case), discard=_live(selection, spec, world))
