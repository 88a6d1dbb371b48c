"""What the next attempt does otherwise after one ran out of memory: smaller batches first, then more memory.

The batch of an optimizer step stays the same: what is not computed at once is accumulated. Each step differs from the
one before and there are few, so they do not count against maxAttempts.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collabspace.api.conditions import Reason
from collabspace.api.run import ExitCode, Scalar
from collabspace.api.task import Attempt, Resources
from collabspace.core import quantity
from collabspace.core.quantity import Amount

BATCH = "batchSize"
MORE_MEMORY = (3, 2)
MOST_MEMORY = 4
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Size:
    """Memory of the pod as a quantity, and records at a time where that is less than the batch."""

    memory: str
    micro_batch: int | None = None


def size(
    asked: Resources,
    parameters: Mapping[str, Scalar],
    last: Attempt | None,
    suggested: int | None,
    offers: Iterable[Amount],
) -> Size | None:
    """The size of the attempt after `last`; None when it ran out of memory and nothing is left to try.

    `suggested` is the micro-batch that the trainer thinks would fit, `offers` what each node of the cluster has.
    """
    if last is None:
        return Size(asked.memory)
    memory = last.memory if _bytes(last.memory) else asked.memory
    if last.reason != Reason.OUT_OF_MEMORY:
        return Size(memory, last.micro_batch_size)
    batch = last.micro_batch_size or parameters.get(BATCH)
    if isinstance(batch, int) and batch > 1:
        return Size(memory, suggested if suggested is not None and suggested < batch else batch // 2)
    need = quantity.amount(cpu=asked.cpu, memory=asked.memory, gpu=asked.gpu)
    if need.gpus and last.exit_code == ExitCode.OUT_OF_MEMORY:
        # It was the memory of the GPU, which no pod can have more of.
        return None
    more = _more(_bytes(memory), need, offers)
    return Size(more, last.micro_batch_size) if more is not None else None


def change(before: Attempt | None, after: Size) -> str:
    """In words, what the attempt of size `after` does otherwise than the one before."""
    if before is None or before.reason != Reason.OUT_OF_MEMORY:
        return ""
    if after.micro_batch != before.micro_batch_size:
        known = before.micro_batch_size
        records = "1 record" if after.micro_batch == 1 else f"{after.micro_batch} records"
        return f"{records} at a time{f' instead of {known}' if known else ''}, accumulated to a batch"
    return f"memory {after.memory} instead of {before.memory}" if after.memory != before.memory else ""


def _more(current: int, need: Amount, offers: Iterable[Amount]) -> str | None:
    fitting = Amount(need.gpus, need.cpu_millis)
    room = max((offer.memory_bytes for offer in offers if fitting.fits(offer)), default=0)
    cap = min(room, MOST_MEMORY * need.memory_bytes) // MEBIBYTE
    wanted = math.ceil(current * MORE_MEMORY[0] / MORE_MEMORY[1] / MEBIBYTE)
    found = min(wanted, cap)
    return f"{found}Mi" if found * MEBIBYTE > current else None


def _bytes(memory: str) -> int:
    try:
        return quantity.amount(cpu="0", memory=memory, gpu="0").memory_bytes
    except ValueError:
        return 0
