"""A watch that neither gets nor asks is deaf; one that fails and says so is not."""

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collabspace.controller.frame import Endless, Pulse, settings
from collabspace.controller.probes import Health
from collabspace.controller.watches import DEAF_SECONDS, KOPF_PATHS, DeafError, Watches
from collabspace.controller.world import World
from collabspace.kube import config
from collabspace.kube.client import KubeClient
from collabspace.kube.watch import Backoff, Life

PATHS = tuple(KOPF_PATHS.values())
NOWHERE = config.Access("http://127.0.0.1:9", None, lambda: None, "default", None, None, None)


def watches() -> Watches:
    return Watches(KubeClient(NOWHERE), World(lambda _key: None))


def lives(watched: Watches) -> list[Life]:
    return [watch.life for watch in watched.own] + list(watched.pulse.lives.values())


async def monitored(watched: Watches, reachable: float) -> None:
    await asyncio.wait_for(watched.monitor(Health(), lambda: reachable), 0.05)


@pytest.mark.parametrize("number", range(7))
async def test_each_watch_that_does_not_even_try_ends_the_process(number: int) -> None:
    watched = watches()
    lives(watched)[number]._tried -= DEAF_SECONDS + 1
    with pytest.raises(DeafError, match=r"the watch of \w+ showed no sign of life for 81 s"):
        await monitored(watched, 0)


@pytest.mark.parametrize("number", range(7))
async def test_each_watch_that_alone_gets_no_answer_ends_the_process(number: int) -> None:
    watched = watches()
    life = lives(watched)[number]
    life._served = life._answered = life._tried - DEAF_SECONDS - 1
    with pytest.raises(DeafError):
        await monitored(watched, DEAF_SECONDS + 1)


async def test_a_list_that_is_answered_excuses_no_stream_that_is_not() -> None:
    async def empty(_: web.Request) -> web.Response:
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    application = web.Application()
    application.router.add_get("/apis/batch/v1/jobs", empty)
    async with TestServer(application) as server:
        access = replace(NOWHERE, server=str(server.make_url("")).rstrip("/"))
        async with KubeClient(access) as client:
            watched = Watches(client, World(lambda _key: None))
            jobs = next(watch for watch in watched.own if watch.name == "jobs")
            jobs.life._served = jobs.life._answered = jobs.life._tried - DEAF_SECONDS - 1
            await jobs.list()
            with pytest.raises(DeafError, match="jobs"):
                await monitored(watched, DEAF_SECONDS + 1)


async def test_a_watch_that_gets_no_answer_while_nobody_does_is_not_deaf() -> None:
    watched = watches()
    for life in lives(watched):
        life._served = life._answered = life._tried - 1000
        life.failed(0)
    with pytest.raises(TimeoutError):
        await monitored(watched, 5)


async def test_a_watch_that_is_refused_and_says_so_is_not_deaf() -> None:
    watched = watches()
    life = lives(watched)[0]
    life._served = life._answered = life._tried = life._tried - 1000
    life.failed(403)
    assert life.age() > DEAF_SECONDS
    with pytest.raises(TimeoutError):
        await monitored(watched, 1000)


@pytest.mark.parametrize(("status", "served"), [(200, True), (403, False), (500, False)])
async def test_only_a_good_answer_counts_as_served(status: int, served: bool) -> None:
    pulse = Pulse(PATHS)
    life = pulse.lives[PATHS[0]]
    life._served -= 50
    pulse.answered(PATHS[0], status)
    pulse.answered("/apis/other", 200)
    assert (life.age() < 1) is served
    assert life.silence(1000) < 1


async def test_a_kind_that_kopf_lists_once_more_is_listed_by_us_as_well() -> None:
    asked: list[str] = []

    async def empty(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    application = web.Application()
    application.router.add_get("/{path:.*}", empty)
    async with TestServer(application) as server:
        access = replace(NOWHERE, server=str(server.make_url("")).rstrip("/"))
        async with KubeClient(access) as client:
            watched = Watches(client, World(lambda _key: None))
            relisting = asyncio.create_task(watched.relist())
            for path in PATHS:
                watched.pulse.listed(path)
            watched.pulse.listed(PATHS[1])
            async with asyncio.timeout(10):
                while not asked:  # noqa: ASYNC110 the server has nothing else to tell
                    await asyncio.sleep(0.01)
            relisting.cancel()
    assert asked == [PATHS[1]]


async def test_a_life_begins_with_its_first_breath() -> None:
    life = Life()
    assert life.age() < 1
    assert life.silence(1000) < 1


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
        assert (len(pauses), pauses[-1]) == (1000, 5.0)


def test_kopf_stores_posts_and_throttles_nothing() -> None:
    chosen = settings()
    assert not chosen.posting.enabled
    assert chosen.peering.standalone
    assert chosen.scanning.disabled
    assert chosen.queueing.worker_limit is None
    assert chosen.persistence.diffbase_storage.build(body={"spec": {}}) == {}
    assert chosen.persistence.progress_storage.fetch(key="x", body={}) is None
    assert (chosen.networking.request_timeout, chosen.watching.server_timeout) == (10, 45)
    assert chosen.watching.inactivity_timeout < DEAF_SECONDS - 15
