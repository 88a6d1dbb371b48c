"""What the operator makes of the broker's answers to a promotion."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from collabspace.controller.broker import UNBELIEVED_TRIES, Broker, BrokerError, TokenSource
from collabspace.controller.world import World
from collabspace.core.selection_world import PromotionRequest

DIGEST = "sha256:" + "0" * 64
REQUEST = PromotionRequest("team", "best", "uid/promotion", "uid-task", DIGEST, None)
STATE = {
    "namespace": "team",
    "namespaceUid": "uid-team",
    "alias": "best",
    "taskUid": "uid-task",
    "task": "task",
    "digest": DIGEST,
    "promotedTime": "2026-01-01T00:00:00Z",
    "keys": ["uid/promotion"],
}
FEED = {"cursor": "1", "full": True, "datasets": [], "attempts": []}


class Tokens(TokenSource):
    """A token that needs no API server."""

    def __init__(self) -> None:
        pass

    async def token(self) -> str:
        return "token"

    def forget(self) -> None:
        pass


@asynccontextmanager
async def served(status: int, body: Any, seen: list[Any]) -> AsyncIterator[Broker]:
    async def put(request: web.Request) -> web.Response:
        seen.append((request.path, await request.json()))
        return web.json_response(body, status=status)

    async def feed(request: web.Request) -> web.Response:
        if "cursor=1" in request.query_string:
            await asyncio.Event().wait()
        return web.json_response(FEED)

    app = web.Application()
    app.router.add_put("/v1/aliases/team/best", put)
    app.router.add_get("/v1/feed", feed)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    told = asyncio.Event()
    world = World(lambda _key: told.set())
    world.namespace_uids["team"] = "uid-team"
    broker = Broker(f"http://127.0.0.1:{runner.addresses[0][1]}", None, Tokens(), world, permit=lambda: None)
    running = asyncio.create_task(broker.run())
    async with asyncio.timeout(10):
        await told.wait()
    try:
        yield broker
    finally:
        running.cancel()
        await asyncio.wait([running])
        await runner.cleanup()


def refusal(reason: str) -> dict[str, str]:
    return {"reason": reason, "message": "because\x1b[31m"}


async def test_an_alias_that_was_set_is_known_at_once() -> None:
    seen: list[Any] = []
    async with served(200, STATE, seen) as broker:
        answer = await broker.promote(REQUEST)
    assert answer.alias is not None and answer.alias.keys == ("uid/promotion",)
    assert broker._world.alias(("team", "best")) == answer.alias
    wanted = {"key": "uid/promotion", "taskUid": "uid-task", "digest": DIGEST}
    assert seen == [("/v1/aliases/team/best", wanted)]


@pytest.mark.parametrize(
    ("status", "reason", "moved"), [(409, "AliasMoved", True), (409, "TooManyAliases", False), (422, "X", False)]
)
async def test_a_refusal_is_an_answer(status: int, reason: str, moved: bool) -> None:
    async with served(status, refusal(reason), []) as broker:
        answer = await broker.promote(REQUEST)
    assert (answer.alias, answer.moved) == (None, moved)
    assert answer.words == f"{reason}: because [31m"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, refusal("x")),
        (404, refusal("NoSuchCall")),
        (408, refusal("x")),
        (429, refusal("x")),
        (503, refusal("x")),
        (200, {}),
        (403, "what a proxy says"),
    ],
)
async def test_what_leaves_it_open_is_asked_again(status: int, body: Any) -> None:
    async with served(status, body, []) as broker:
        with pytest.raises(BrokerError):
            await broker.promote(REQUEST)


@pytest.mark.parametrize("status", [401, 403])
async def test_an_operator_that_is_not_believed_whatever_its_token_takes_it_for_a_refusal(status: int) -> None:
    seen: list[Any] = []
    async with served(status, refusal("AccessRefused"), seen) as broker:
        for _ in range(UNBELIEVED_TRIES - 1):
            with pytest.raises(BrokerError, match=str(status)):
                await broker.promote(REQUEST)
        answer = await broker.promote(REQUEST)
    assert (answer.alias, answer.moved, len(seen)) == (None, False, UNBELIEVED_TRIES)
    assert "does not believe that this is the operator" in answer.words
