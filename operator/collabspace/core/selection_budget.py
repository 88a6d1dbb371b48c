"""Which runs start now, and what each may spend: cheap ones first, never more at stake than the budget has left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from collabspace.api.catalogue import Catalogue
from collabspace.api.selection import Cost, SelectionSpec
from collabspace.api.task import Initialization, TaskBudget
from collabspace.core import parameters, quantity
from collabspace.core.ranking import GPU_CPU_SECONDS
from collabspace.core.selection_children import Run, Stage

START_SECONDS = 10
RECORDS = 10_000
EPOCHS = "epochs"


class Price(NamedTuple):
    """What a run is expected to use, in seconds."""

    cpu: float
    gpu: float


@dataclass(frozen=True, slots=True)
class Start:
    """A run to create with what it may spend; None: no budget is set."""

    run: Run
    budget: TaskBudget | None


@dataclass(frozen=True, slots=True)
class Allocation:
    """`starts` now; `skipped` are runs that what is left does not cover, with the words that say so."""

    starts: tuple[Start, ...]
    skipped: Mapping[str, str]


def prior(spec: SelectionSpec, run: Run, catalogue: Catalogue, records: int | None) -> Price:
    """What a run costs as far as the catalogue can guess."""
    task = catalogue.task(spec.task)
    method = task.method(run.candidate.method) if task is not None else None
    filled = parameters.check(run.trial.wanted, catalogue).parameters
    epochs = filled.get(EPOCHS, 1)
    work = float(method.cost if method is not None else 1) * (epochs if isinstance(epochs, int) else 1)
    work *= (RECORDS if records is None else records) / RECORDS
    from_weights = method is not None and (method.accepts_weights or method.needs_weights)
    if from_weights and run.candidate.initialization is Initialization.RANDOM:
        # Models that start from nothing are small.
        work /= 10
    asked = run.candidate.resources_per_node
    amount = quantity.amount(cpu=asked.cpu, memory=asked.memory, gpu=asked.gpu)
    if amount.gpus:
        seconds = START_SECONDS + work / GPU_CPU_SECONDS / amount.gpus
        return Price(seconds * amount.cpu_millis / 1000, seconds * amount.gpus)
    return Price(work + START_SECONDS, 0.0)


def prices(
    spec: SelectionSpec, runs: Sequence[Run], catalogue: Catalogue, records: int | None
) -> dict[str, tuple[Price, Price]]:
    """By the task's name, what each run is expected to use: as the catalogue says, and as was measured since."""
    guesses = {run.trial.name: prior(spec, run, catalogue, records) for run in runs}
    ended = [run for run in runs if run.trial.stage is Stage.ENDED]
    found = {}
    for run in runs:
        guess = guesses[run.trial.name]
        own = [each for each in ended if each.candidate.name == run.candidate.name]
        alike = own or [each for each in ended if each.candidate.method == run.candidate.method]
        measured = _measured(alike[0].trial.cost, guesses[alike[0].trial.name], guess) if alike else guess
        found[run.trial.name] = (guess, measured)
    return found


def _measured(cost: Cost, guessed: Price, guess: Price) -> Price:
    """What a run of the same method used, in proportion to what was expected of both."""
    return Price(
        cost.cpu_seconds * guess.cpu / guessed.cpu if guessed.cpu else guess.cpu,
        cost.gpu_seconds * guess.gpu / guessed.gpu if guessed.gpu else guess.gpu,
    )


def allocate(
    spec: SelectionSpec, runs: Sequence[Run], closed: frozenset[str], catalogue: Catalogue, records: int | None
) -> Allocation:
    """What to start of the runs that do not exist. `closed`: candidates of which nothing more is started."""
    known = prices(spec, runs, catalogue, records)
    order = {run.trial.name: place for place, run in enumerate(runs)}
    waiting = sorted(
        (run for run in runs if run.trial.stage is Stage.MISSING and run.candidate.name not in closed),
        key=lambda run: (run.number > 0, _weight(known[run.trial.name][0]), order[run.trial.name]),
    )
    free = spec.parallelism - sum(run.trial.stage is Stage.ACTIVE for run in runs)
    left = _left(spec.budget, runs)
    starts: list[Start] = []
    skipped: dict[str, str] = {}
    for place, run in enumerate(waiting):
        expected = known[run.trial.name][1]
        slots = max(1, min(free, len(waiting) - place))
        grant = next((share for parts in range(slots, 0, -1) if _covers(share := _share(left, parts), expected)), None)
        if left is not None and grant is None:
            skipped[run.trial.name] = _short(spec.budget, left, expected)
        elif free > 0:
            starts.append(Start(run, _budget(grant)))
            left = _less(left, grant)
            free -= 1
    return Allocation(tuple(starts), skipped)


Left = tuple[int | None, int | None]
"""CPU-seconds and GPU-seconds; None: not limited."""


def _left(budget: TaskBudget | None, runs: Sequence[Run]) -> Left | None:
    if budget is None or (budget.cpu_seconds is None and budget.gpu_seconds is None):
        return None
    bound = [_bound(run) for run in runs]
    cpu, gpu = sum(each.cpu_seconds for each in bound), sum(each.gpu_seconds for each in bound)
    return (
        max(0, budget.cpu_seconds - cpu) if budget.cpu_seconds is not None else None,
        max(0, budget.gpu_seconds - gpu) if budget.gpu_seconds is not None else None,
    )


def _bound(run: Run) -> Cost:
    """What a run has used, and while it lives may still use."""
    used, task = run.trial.cost, run.trial.task
    given = task.spec.budget if task is not None and task.spec is not None else None
    if run.trial.stage is Stage.FOREIGN:
        return Cost()
    if run.trial.stage is not Stage.ACTIVE or given is None:
        return used
    return Cost(
        cpu_seconds=max(used.cpu_seconds, given.cpu_seconds or 0),
        gpu_seconds=max(used.gpu_seconds, given.gpu_seconds or 0),
    )


def _share(left: Left | None, parts: int) -> Left | None:
    if left is None:
        return None
    cpu, gpu = (each // parts if each is not None else None for each in left)
    return cpu, gpu


def _less(left: Left | None, grant: Left | None) -> Left | None:
    if left is None or grant is None:
        return left
    cpu, gpu = (each - (part or 0) if each is not None else None for each, part in zip(left, grant, strict=True))
    return cpu, gpu


def _covers(share: Left | None, expected: Price) -> bool:
    if share is None:
        return False
    cpu, gpu = share
    # A task's own budget is at least 1, so nothing starts on nothing.
    return (cpu is None or cpu >= max(1, expected.cpu)) and (
        gpu is None or gpu >= max(1 if expected.gpu else 0, expected.gpu)
    )


def _budget(grant: Left | None) -> TaskBudget | None:
    if grant is None:
        return None
    return TaskBudget(cpu_seconds=grant[0] or None, gpu_seconds=grant[1] or None)


def _short(budget: TaskBudget | None, left: Left, expected: Price) -> str:
    parts = []
    for field, most, rest, price in (
        ("cpuSeconds", budget.cpu_seconds if budget else None, left[0], expected.cpu),
        ("gpuSeconds", budget.gpu_seconds if budget else None, left[1], expected.gpu),
    ):
        if rest is not None and rest < price:
            parts.append(f"expected to use {price:.0f}, {rest} of spec.budget.{field} {most} are left")
    return "; ".join(parts) or "nothing of spec.budget is left"


def _weight(price: Price) -> float:
    return price.cpu + GPU_CPU_SECONDS * price.gpu
