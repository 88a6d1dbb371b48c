"""Compares candidates on the same records: whose figure is best, and how sure each difference from it is.

Paired cluster bootstrap (Efron and Tibshirani 1993): every draw takes groups of records with replacement, the same for
all candidates, then runs of each candidate; a figure is computed anew from the summed counts of what was drawn.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from collabspace_trainer.evaluation.bootstrap import SEED
from collabspace_trainer.pulse import beat, each

Floats = NDArray[np.float64]
Figure = Callable[[Floats], Floats]
"""From sums of counts [..., columns] to one figure each."""
NUMBERS_AT_ONCE = 4_000_000
"""Of a block of draws: bounds memory, whatever the number of records."""
NORMAL = 1.959964
POWER = 0.841621
"""Quantile of the normal distribution at 80 %: the chance to find a difference of the detectable size."""


@dataclass(frozen=True)
class Counts:
    """Additive counts of one run: [records, columns], mostly zeros, so that only the others are kept."""

    columns: Any

    @staticmethod
    def of(*columns: NDArray[Any]) -> "Counts":
        """From columns [records]."""
        return Counts.table(np.stack(columns, axis=1))

    @staticmethod
    def table(table: NDArray[Any]) -> "Counts":
        """From [records, columns]."""
        return Counts(sparse.csr_array(table.astype(np.float64)))

    @staticmethod
    def ones(rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, int]) -> "Counts":
        """1 at each place named by row and column, 0 elsewhere."""
        return Counts(sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape))

    @staticmethod
    def joined(parts: Sequence["Counts"]) -> "Counts":
        """The records of all parts one after the other. Raises ValueError when columns differ or one is not finite."""
        if not all(np.isfinite(part.columns.data).all() for part in parts):
            raise ValueError("a count is not finite")
        return Counts(sparse.csr_array(sparse.vstack([part.columns for part in parts])))


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """What the best candidate is ahead of another; `detectable`: what 80 % of comparisons like this would find."""

    detectable: float


@dataclass(frozen=True)
class Outcome:
    """`values` by candidate, means over its runs; `differences` of the best from others, positive: it is better."""

    best: str
    values: dict[str, Estimate]
    differences: dict[str, Difference]


def compare(
    candidates: Mapping[str, Sequence[Counts]], groups: NDArray[np.int64], figure: Figure, maximize: bool, draws: int
) -> Outcome:
    """Each candidate has one or more runs, all on the same records; `groups` numbers each record's group from 0."""
    together = _group_matrix(groups)
    runs = [sparse.csr_array(together @ run.columns) for part in candidates.values() for run in part]
    observed = np.array([float(figure(run.sum(axis=0))) for run in runs])
    drawn = _draw(runs, figure, draws)
    ends = np.cumsum([len(part) for part in candidates.values()])[:-1]
    generator = np.random.default_rng(SEED + 1)
    spread = {name: _over_runs(part, generator) for name, part in zip(candidates, np.split(drawn, ends), strict=True)}
    own = dict(zip(candidates, np.split(observed, ends), strict=True))
    sign = 1.0 if maximize else -1.0
    best = max(own, key=lambda name: sign * float(own[name].mean()))
    clusters = len(set(groups.tolist()))
    values = {name: _estimate(own[name].mean(), spread[name], _noise([own[name]]), clusters) for name in own}
    differences = {}
    for name in own:
        if name != best:
            draws_of = sign * (spread[best] - spread[name])
            value = sign * float(own[best].mean() - own[name].mean())
            found = _estimate(value, draws_of, _noise([own[best], own[name]]), clusters)
            detectable = (NORMAL + POWER) * float(draws_of.std())
            differences[name] = Difference(found.value, found.low, found.high, detectable)
    return Outcome(best, values, differences)


def _group_matrix(groups: NDArray[np.int64]) -> Any:
    """[groups, records] of ones: sums counts by group."""
    _, numbers = np.unique(groups, return_inverse=True)
    size = len(numbers)
    return sparse.csr_array((np.ones(size), (numbers, np.arange(size))), shape=(int(numbers.max()) + 1, size))


def _draw(runs: Sequence[Any], figure: Figure, draws: int) -> Floats:
    """[runs, draws]: the figure of every run over groups drawn with replacement, the same groups for all runs."""
    size = runs[0].shape[0]
    block = max(1, min(draws, NUMBERS_AT_ONCE // max(size, *(run.shape[1] for run in runs))))
    transposed = [sparse.csr_array(run.T) for run in runs]
    generator = np.random.default_rng(SEED)
    figures = np.empty((len(runs), draws))
    for start in each(range(0, draws, block)):
        stop = min(start + block, draws)
        chosen = generator.integers(0, size, (stop - start, size)) + size * np.arange(stop - start)[:, None]
        times = np.bincount(chosen.ravel(), minlength=chosen.size).reshape(chosen.shape).T.astype(np.float64, order="C")
        for row, run in enumerate(transposed):
            figures[row, start:stop] = figure((run @ times).T)
            beat()
    return figures


def _over_runs(figures: Floats, generator: np.random.Generator) -> Floats:
    """[draws]: mean figure of runs drawn with replacement, one fewer than there are, which keeps the variance right."""
    count, draws = figures.shape
    if count == 1:
        only: Floats = figures[0]
        return only
    chosen = generator.integers(0, count, (count - 1, draws))
    means: Floats = np.take_along_axis(figures, chosen, axis=0).mean(axis=0)
    return means


def _noise(parts: Sequence[Floats]) -> list[tuple[float, int]]:
    """Variance of each mean over runs with its degrees of freedom; none where there is one run."""
    return [(float(part.var(ddof=1)) / len(part), len(part) - 1) for part in parts if len(part) > 1]


def _estimate(value: float, drawn: Floats, noise: Sequence[tuple[float, int]], clusters: int) -> Estimate:
    """Percentiles of the draws, wider where few groups or runs leave more unknown (Student's t)."""
    low, high = (float(bound) for bound in np.percentile(drawn, [2.5, 97.5]))
    parts = [*noise, (max(0.0, float(drawn.var()) - sum(variance for variance, _ in noise)), max(1, clusters - 1))]
    total, weighed = sum(variance for variance, _ in parts), sum(variance**2 / degrees for variance, degrees in parts)
    wider = float(special.stdtrit(total**2 / weighed, 0.975)) / NORMAL if weighed > 0 else 1.0
    value = float(value)
    return Estimate(value, value + (low - value) * wider, value + (high - value) * wider)
