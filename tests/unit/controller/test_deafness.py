"""A watch that neither gets nor asks is deaf; one that fails and says so is not."""

import asyncio

import pytest

from collabspace.controller import main
from collabspace.controller.frame import Endless, Pulse, settings
from collabspace.controller.probes import Health
from collabspace.kube.watch import Backoff, Life

PATHS = tuple(main.KOPF_PATHS.values())


async def monitored(pulse: Pulse) -> None:
    await asyncio.wait_for(main._monitor([], pulse, Health()), 0.05)


async def test_a_silent_watch_ends_the_process() -> None:
    pulse = Pulse(PATHS)
    pulse.lives[PATHS[1]]._tried -= main.DEAF_SECONDS + 1
    with pytest.raises(main.DeafError, match="collabtasks showed no sign of life"):
        await monitored(pulse)


async def test_a_watch_that_meets_a_closed_door_is_not_deaf() -> None:
    pulse = Pulse(PATHS)
    life = pulse.lives[PATHS[1]]
    life._served = life._tried = life._tried - main.DEAF_SECONDS - 1
    pulse.failed(PATHS[1])
    assert life.age() > main.DEAF_SECONDS
    with pytest.raises(TimeoutError):
        await monitored(pulse)


@pytest.mark.parametrize(("status", "served"), [(200, True), (403, False), (500, False)])
async def test_only_a_good_answer_counts_as_served(status: int, served: bool) -> None:
    pulse = Pulse(PATHS)
    life = pulse.lives[PATHS[0]]
    life._served -= 50
    pulse.answered(PATHS[0], status)
    pulse.answered("/apis/other", 200)
    assert (life.age() < 1) is served
    assert life.silence() < 1


async def test_a_life_begins_with_its_first_breath() -> None:
    life = Life()
    assert life.age() < 1
    assert life.silence() < 1


def test_backoff_grows_to_a_cap_and_never_ends() -> None:
    backoff = Backoff((1.0, 4.0))
    pauses = [backoff.next() for _ in range(50)]
    assert pauses[0] < 1.5 < pauses[1]
    assert max(pauses) <= 4.0 * 1.3
    backoff.reset()
    assert backoff.next() < 1.5


def test_kopf_retries_for_ever_and_may_be_asked_again() -> None:
    endless = Endless()
    for _ in range(2):
        pauses = [pause for pause, _ in zip(endless, range(1000), strict=False)]
        assert (len(pauses), pauses[-1]) == (1000, 10.0)


def test_kopf_stores_posts_and_throttles_nothing() -> None:
    chosen = settings()
    assert not chosen.posting.enabled
    assert chosen.peering.standalone
    assert chosen.scanning.disabled
    assert chosen.queueing.worker_limit is None
    assert chosen.persistence.diffbase_storage.build(body={"spec": {}}) == {}
    assert chosen.persistence.progress_storage.fetch(key="x", body={}) is None
    assert (chosen.networking.request_timeout, chosen.watching.server_timeout) == (10, 45)
