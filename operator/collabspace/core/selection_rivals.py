"""The winner against the champion and the best baseline, once, on the test split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from collabspace.api import names
from collabspace.api.catalogue import Purpose
from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.resource import ObjectReference
from collabspace.api.run import Role
from collabspace.api.selection import ComparisonEntry, Rival, Verdict
from collabspace.api.task import ComparedResult, ModelKind, ModelSource, TaskDataset, TaskSpec
from collabspace.core import grants, selection_comparison, selection_pins, status
from collabspace.core.models import base_of
from collabspace.core.selection_board import MAX_MESSAGE, Standing
from collabspace.core.selection_case import Case
from collabspace.core.selection_children import CHAMPION, FINAL, Stage, Trial
from collabspace.core.selection_comparison import TEST, ahead_of, differences, results_of, values, verdict
from collabspace.core.selection_steps import step
from collabspace.core.selection_world import SelectionPlan

MOST_DATASETS = 16
# Under these names they stand in the comparison: those of candidates could be equal to them.
LABELS = {rival: rival.value.lower() for rival in Rival}


@dataclass(frozen=True, slots=True)
class _Entrant:
    """Who takes part, with the results that stand for it. `why`: it cannot be compared."""

    rival: Rival
    name: str
    results: tuple[ComparedResult, ...]
    why: str = ""


def compare(case: Case, winner: Standing, best: Sequence[Standing]) -> SelectionPlan | Trial | list[ComparisonEntry]:
    """The comparison as the status tells it; a Trial is one that failed; until it is there, what is to be done."""
    method = selection_comparison.method(case.world.catalogue, case.spec, Purpose.COMPARISON)
    if method is None:
        return []
    own = _Entrant(Rival.WINNER, winner.candidate.name, tuple(results_of(winner, LABELS[Rival.WINNER])))
    entrants = [own]
    champion = _champion(case, winner)
    if isinstance(champion, SelectionPlan):
        return champion
    if champion is not None:
        entrants.append(champion)
    baseline = _baseline(case, winner, best)
    if baseline is not None:
        entrants.append(baseline)
    compared = [each for each in entrants if each.results]
    if len(compared) < 2:
        return [_excused(each) for each in entrants if each.why]
    datasets = selection_pins.datasets(case.spec, case.pinned)
    results = [each for entrant in compared for each in entrant.results]
    found = step(case, FINAL, selection_comparison.wanted(case.spec, method, TEST, datasets, results))
    if isinstance(found, SelectionPlan) or found.stage is Stage.FAILED:
        return found
    return [_entry(case, each, own, found) if each.results else _excused(each) for each in entrants]


def _baseline(case: Case, winner: Standing, best: Sequence[Standing]) -> _Entrant | None:
    entry = case.world.catalogue.task(case.spec.task)
    cheap = {each.name for each in entry.methods if each.baseline} if entry is not None else set()
    found = next((each for each in best if each.candidate.method in cheap and each is not winner), None)
    if found is None:
        return None
    return _Entrant(Rival.BASELINE, found.candidate.name, tuple(results_of(found, LABELS[Rival.BASELINE])))


def _champion(case: Case, winner: Standing) -> SelectionPlan | _Entrant | None:
    """The champion, measured on this selection's data by a task of its own."""
    champion, promotion = case.base.champion, case.spec.promotion
    if champion is None or promotion is None:
        return None
    wanted = _evaluation(case, winner)
    name = champion.task_name or promotion.alias
    if wanted is None:
        return _Entrant(Rival.CHAMPION, name, (), "this release cannot measure a stored model of this task")
    found: Trial | SelectionPlan = step(case, CHAMPION, wanted)
    if isinstance(found, SelectionPlan):
        why = _barred(case, wanted)
        return _Entrant(Rival.CHAMPION, name, (), why) if why else found
    task = found.task
    if found.stage is Stage.FAILED or task is None or task.status.result is None:
        return _Entrant(Rival.CHAMPION, name, (), f"CollabTask {found.name}: {found.reason}: {found.message}")
    digest = task.status.result.digest
    label = LABELS[Rival.CHAMPION]
    return _Entrant(
        Rival.CHAMPION, name, (ComparedResult(name=found.name, candidate=label, task_name=found.name, digest=digest),)
    )


def _evaluation(case: Case, winner: Standing) -> TaskSpec | None:
    champion, promotion = case.base.champion, case.spec.promotion
    method = selection_comparison.method(case.world.catalogue, case.spec, Purpose.EVALUATION)
    if method is None or champion is None or promotion is None:
        return None
    stored = case.world.models.results.get((case.namespace, champion.task_name))
    there = stored is not None and stored.digest == champion.result_digest
    kind, model = (ModelKind.COLLAB_TASK, champion.task_name) if there else (ModelKind.ALIAS, promotion.alias)
    datasets = selection_pins.datasets(case.spec, case.pinned, Role.EVALUATE)
    base = base_of(stored, case.world.catalogue) if stored is not None and there else None
    if base is not None and base.source.kind is ModelKind.SHARED_DATASET and len(datasets) < MOST_DATASETS:
        place = ObjectReference(namespace=base.source.namespace, name=base.source.name)
        name = next(each for each in _names_of_base() if each not in case.pinned)
        datasets.append(TaskDataset(name=name, dataset_ref=place, version=base.digest, role=Role.EVALUATE))
    return TaskSpec(
        task=case.spec.task,
        method=method,
        datasets=datasets,
        model_from=ModelSource(kind=kind, namespace=case.namespace, name=model, digest=champion.result_digest),
        resources_per_node=winner.candidate.resources_per_node,
    )


def _names_of_base() -> Iterator[str]:
    yield "base"
    yield from (f"base-{number}" for number in range(2, MOST_DATASETS + 2))


def _barred(case: Case, wanted: TaskSpec) -> str:
    """Why the champion may not be measured on this data; empty: it may."""
    child = case.world.children.get(names.trial_name(case.name, CHAMPION))
    if child is not None and status.holds(ConditionType.RUNNING, child.task.status.conditions):
        return ""
    world = case.world
    pins = {each.name: grants.Pin(each.uid, each.digest) for each in case.pinned.values()}
    found = grants.authorize(wanted, case.namespace, world.datasets, world.namespaces, case.now, pins, world.models)
    return "" if found.reason is Reason.GRANTED else f"{found.reason}: {found.message}"


def _excused(entrant: _Entrant) -> ComparisonEntry:
    words = status.bounded(f"not measured: {entrant.why}", MAX_MESSAGE)
    return ComparisonEntry(
        rival=entrant.rival, candidate=entrant.name, verdict=Verdict.UNDECIDED, runs=0, message=words
    )


def _entry(case: Case, entrant: _Entrant, winner: _Entrant, trial: Trial) -> ComparisonEntry:
    rows = trial.task.status.metrics if trial.task is not None else []
    label = LABELS[entrant.rival]
    value = values(rows, case.spec.objective.metric).get(label, "")
    base = ComparisonEntry(rival=entrant.rival, candidate=entrant.name, test_value=value, runs=len(entrant.results))
    if entrant.rival is Rival.WINNER:
        return base
    found = ahead_of(differences(rows), LABELS[Rival.WINNER], label)
    # The champion is one finished model: there is no noise of training on its side.
    sides = [winner] if entrant.rival is Rival.CHAMPION else [winner, entrant]
    runs = min(len(each.results) for each in sides)
    said, words = verdict(found, Decimal(case.spec.objective.tolerance), runs)
    update: dict[str, object] = {"verdict": said, "message": words}
    if found is not None:
        update |= {name: f"{float(getattr(found, part)):.6g}" for name, part in ENDS.items()}
    return base.model_copy(update=update)


ENDS = {"difference": "value", "low": "low", "high": "high"}
