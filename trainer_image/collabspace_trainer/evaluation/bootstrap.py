"""95 % intervals by the percentile bootstrap over groups of records (Efron 1979), from counts per record."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from collabspace_trainer.pulse import each

DRAWS = 1_000
SEED = 20_250_101
"""Fixed: an interval belongs to the predictions, not to the run's seed."""

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From sums of counts [draws, ...] to one figure per draw."""


def interval(counts: NDArray[np.generic], groups: NDArray[np.int64], statistic: Statistic) -> tuple[float, float]:
    """Low and high bound of the statistic of summed counts, whole groups drawn with replacement.

    `counts` is [records, ...]; `groups` numbers each record's group from 0, so that records of one document stay
    together. One group alone says nothing about spread: its bounds are the figure itself.
    """
    size = int(groups.max()) + 1
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    sums = np.zeros((size, flat.shape[1]))
    np.add.at(sums, groups, flat)
    generator = np.random.default_rng(SEED)
    draws = np.empty((DRAWS, flat.shape[1]))
    for draw in each(range(DRAWS)):
        times = np.bincount(generator.integers(0, size, size), minlength=size)
        draws[draw] = times @ sums
    figures = statistic(draws.reshape(DRAWS, *counts.shape[1:]))
    low, high = np.percentile(figures, [2.5, 97.5])
    return float(low), float(high)


def group_numbers(groups: list[str | None]) -> NDArray[np.int64]:
    """Numbers from 0 in order of appearance; a record without a group is one of its own."""
    numbers: dict[str, int] = {}
    result = np.empty(len(groups), dtype=np.int64)
    following = 0
    for index, group in enumerate(groups):
        if group is None:
            result[index], following = following, following + 1
        elif group in numbers:
            result[index] = numbers[group]
        else:
            result[index] = numbers[group] = following
            following += 1
    return result
