"""What waits for a time of day is looked at again when the clock is set."""

import asyncio
import datetime as dt
from collections.abc import Iterator

import pytest

from collabspace.controller import wall_clock
from collabspace.controller.queue import KeyQueue, WorkKey
from collabspace.kube import clock

KEY = WorkKey("CollabTask", "team", "pausing")


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds by which the time of day is ahead; the last one counts."""
    real, found = clock.now, [0.0]
    monkeypatch.setattr(clock, "now", lambda: real() + dt.timedelta(seconds=found[-1]))
    yield found


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
async def test_a_clock_that_is_set_brings_planned_looks_forward(ahead: list[float], seconds: float) -> None:
    queue = KeyQueue()
    queue.later(KEY, 3600)
    following = asyncio.create_task(wall_clock.follow(queue, 0.01))
    await asyncio.sleep(0)
    ahead.append(seconds)
    assert await asyncio.wait_for(queue.get(), 30) == KEY
    following.cancel()


async def test_a_clock_that_runs_evenly_leaves_plans_alone(ahead: list[float]) -> None:
    queue = KeyQueue()
    queue.later(KEY, 3600)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wall_clock.follow(queue, 0.01), 0.1)
    assert len(queue) == 0
