"""Comparisons record by record: what their task must say, who is good enough, and what a difference is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from collabspace.api.catalogue import Catalogue, Purpose
from collabspace.api.run import MetricName
from collabspace.api.selection import SelectionSpec, Verdict
from collabspace.api.task import ComparedResult, Resources, TaskDataset, TaskMetric, TaskSpec
from collabspace.core import ranking
from collabspace.core.selection_board import Standing
from collabspace.core.selection_children import Run

MOST_CANDIDATES, MOST_RESULTS = 20, 60
RESOURCES = Resources(cpu="1", memory="2Gi")
TEST = "test"
METRIC = "metric"
NOISE = "1 run each: training noise not included"


@dataclass(frozen=True, slots=True)
class Difference:
    """How far the best is ahead of another, with the ends of the 95 % interval."""

    value: Decimal
    low: Decimal
    high: Decimal

    def turned(self) -> "Difference":
        """The same seen from the other side."""
        return Difference(-self.value, -self.high, -self.low)

    def less(self, other: "Difference") -> "Difference":
        """This one less the other, wide enough whatever they have in common."""
        return Difference(self.value - other.value, self.low - other.high, self.high - other.low)


NO_DIFFERENCE = Difference(Decimal(0), Decimal(0), Decimal(0))


def method(catalogue: Catalogue, spec: SelectionSpec, purpose: Purpose) -> str | None:
    """The method of that purpose; None: there is none, or it does not take the selection's metric."""
    entry = catalogue.task(spec.task)
    for each in entry.methods if entry is not None else ():
        if each.purpose is purpose:
            metric = next((one for one in each.parameters if one.name == METRIC), None)
            return each.name if metric is None or spec.objective.metric in metric.choices else None
    return None


def result(run: Run, candidate: str) -> ComparedResult | None:
    """A run's stored result as one to compare, under that candidate's name."""
    task = run.trial.task
    if task is None or task.status.result is None:
        return None
    name = run.trial.name
    return ComparedResult(name=name, candidate=candidate, task_name=name, digest=task.status.result.digest)


def finalists(best: Sequence[Standing]) -> list[Standing]:
    """As many of the best as one comparison takes."""
    taken: list[Standing] = []
    for each in best[:MOST_CANDIDATES]:
        if sum(len(one.values) for one in taken) + len(each.values) > MOST_RESULTS:
            break
        taken.append(each)
    return taken


def results_of(standing: Standing, name: str) -> list[ComparedResult]:
    """The results of all runs of a candidate."""
    return [found for run, _ in standing.values if (found := result(run, name)) is not None]


def wanted(
    spec: SelectionSpec, name: str, split: str, datasets: list[TaskDataset], results: list[ComparedResult]
) -> TaskSpec:
    """The task that compares these results on that split by the selection's metric; `name` is the method's."""
    return TaskSpec(
        task=spec.task,
        method=name,
        datasets=datasets,
        results=results,
        parameters={METRIC: spec.objective.metric, "goal": spec.objective.goal.value, "split": split},
        resources_per_node=RESOURCES,
    )


def differences(rows: Sequence[TaskMetric]) -> dict[str, Difference]:
    """By candidate, how far the best is ahead of it. Rows that are none are passed over."""
    found = {}
    for row in rows:
        if row.name == MetricName.DIFFERENCE and row.label:
            try:
                found[row.label] = Difference(_number(row.value), _number(row.low), _number(row.high))
            except ValueError:
                continue
    return found


def values(rows: Sequence[TaskMetric], metric: str) -> dict[str, str]:
    """By candidate, its figure."""
    return {row.label: row.value for row in rows if row.name == metric and row.label}


def _number(text: str | None) -> Decimal:
    """Raises ValueError for what is no finite number."""
    try:
        value = Decimal(text or "")
    except InvalidOperation:
        raise ValueError("no number") from None
    if not value.is_finite():
        raise ValueError("not finite")
    return value


@dataclass(frozen=True, slots=True)
class Choice:
    standing: Standing
    message: str


def choose(best: Sequence[Standing], rows: Sequence[TaskMetric], spec: SelectionSpec) -> Choice:
    """The cheapest candidate that is surely within the tolerance of the best, which is within it by itself."""
    ahead = differences(rows)
    tolerance = Decimal(spec.objective.tolerance)
    # The best on the records compared is the one from which the others' differences are told.
    first = next((each for each in best if each.candidate.name not in ahead), best[0])
    good = [each for each in best if each is first or _within(ahead.get(each.candidate.name), tolerance)]
    winner = min(good, key=lambda each: each.cost_of_run)
    metric = spec.objective.metric
    if winner is not first:
        high = ranking.text(ahead[winner.candidate.name].high)
        words = (
            f"the cheapest within the tolerance: the best, {first.candidate.name}, is ahead by at most {high} "
            f"{metric}, objective.tolerance is {spec.objective.tolerance}"
        )
        return Choice(winner, words)
    open_ = [each.candidate.name for each in best if _is_open(ahead.get(each.candidate.name))]
    if len(good) == 1 and open_:
        others = ", ".join(open_[:5])
        return Choice(
            winner, f"Undecided: the best {metric}, but {others} may be as good; more records or seeds decide"
        )
    return Choice(winner, f"the best {metric}" + (", and the cheapest within the tolerance" if len(good) > 1 else ""))


def _within(difference: Difference | None, tolerance: Decimal) -> bool:
    return difference is not None and difference.high < tolerance


def _is_open(difference: Difference | None) -> bool:
    return difference is not None and difference.low <= 0


def ahead_of(rows: Mapping[str, Difference], winner: str, rival: str) -> Difference | None:
    """How far the winner is ahead of a rival, from the differences of the best of all; None: they do not say."""
    if winner not in rows:
        return rows.get(rival)
    if rival not in rows:
        return rows[winner].turned()
    return rows[rival].less(rows[winner])


def verdict(difference: Difference | None, tolerance: Decimal, runs: int) -> tuple[Verdict, str]:
    """What the difference says, and how to read it. `runs`: of the side that has fewer."""
    if difference is None:
        return Verdict.UNDECIDED, "the comparison tells no difference"
    if runs < 2:
        return Verdict.UNDECIDED, NOISE
    if difference.low > 0:
        return Verdict.BETTER, "the whole interval is above 0"
    if difference.high < 0:
        return Verdict.WORSE, "the whole interval is below 0"
    if difference.low > -tolerance:
        return Verdict.NON_INFERIOR, "the whole interval is above minus the tolerance"
    return Verdict.UNDECIDED, "the interval holds both 0 and differences that matter; more records or seeds decide"
