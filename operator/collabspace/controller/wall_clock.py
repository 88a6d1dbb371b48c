"""Planned looks follow a clock that runs evenly, what they wait for may be a time of day: when that is set, or the
machine slept, every planned look is taken at once, and plans anew."""

import asyncio
import logging

from collabspace.controller.queue import KeyQueue
from collabspace.kube import clock

LOOK_SECONDS = 5.0
# Less is what time servers correct step by step, and what planned looks may well be late by.
JUMP_SECONDS = 2.0
log = logging.getLogger(__name__)


async def follow(queue: KeyQueue, look_seconds: float = LOOK_SECONDS) -> None:
    """Until cancelled."""
    known = _lead()
    while True:
        await asyncio.sleep(look_seconds)
        found = _lead()
        if abs(found - known) > JUMP_SECONDS:
            log.warning("the clock was set by %.0f s: everything that waits for a time is looked at", found - known)
            queue.hasten()
        known = found


def _lead() -> float:
    """Seconds by which the time of day is ahead of the clock that timers follow."""
    return clock.now().timestamp() - asyncio.get_running_loop().time()
