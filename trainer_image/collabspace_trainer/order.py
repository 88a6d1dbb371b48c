"""The order of records in an epoch: a function of seed and epoch alone, so that any step can be found again."""

import random
from collections.abc import Sequence

WINDOW_BATCHES = 50
"""Records are sorted by length inside windows of this many batches: near-equal lengths, yet a random mixture."""


def batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Every record once, in batches of near-equal length, in random order; the last one may be smaller."""
    generator = random.Random(f"{seed}:{epoch}")  # noqa: S311 an order of records, not a secret
    order = list(range(len(lengths)))
    generator.shuffle(order)
    window = batch_size * WINDOW_BATCHES
    sorted_order = [
        record
        for start in range(0, len(order), window)
        for record in sorted(order[start : start + window], key=lambda index: lengths[index])
    ]
    result = [sorted_order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    generator.shuffle(result)
    return result


def by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Batches for prediction, shortest records first; ties keep their order."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
