"""Prediction when memory is short: half as much at a time, once. Figures do not depend on how much that is."""

from collections.abc import Callable
from typing import TypeVar

from collabspace_trainer.exits import is_out_of_memory

T = TypeVar("T")


def halved_if_short(predict: Callable[[int], T], size: int) -> T:
    """`predict(size)`, or, when memory runs out in it, `predict(size // 2)`."""
    try:
        return predict(size)
    except (MemoryError, RuntimeError) as error:
        if size < 2 or not is_out_of_memory(error):
            raise
    # Outside of the handler: the traceback kept alive what filled the memory.
    return predict(size // 2)
