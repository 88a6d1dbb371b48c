"""A server that is too busy to begin a request says when to come again: nobody sees a failure that is none."""

from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError

BUSY = {"kind": "Status", "reason": "TooManyRequests", "message": "storage is (re)initializing", "code": 429}


@dataclass
class Busy:
    """Answers 429 the given number of times, with these headers, and then creates."""

    times: int
    headers: dict[str, str]
    bodies: list[dict[str, str]] = field(default_factory=list)

    async def create(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        if len(self.bodies) <= self.times:
            return web.json_response(BUSY, status=429, headers=self.headers)
        return web.json_response({"kind": "Thing"}, status=201)


async def created(busy: Busy, seconds: float = 5) -> dict[str, str]:
    application = web.Application()
    application.router.add_post("/things", busy.create)
    async with TestServer(application) as server:
        access = config.Access(str(server.make_url("")).rstrip("/"), None, lambda: None, "default", None, None, None)
        async with KubeClient(access, request_seconds=seconds) as client:
            return await client.create("/things", {"name": "a"})


async def test_a_request_that_was_not_begun_is_put_again_when_the_server_asks_for_it() -> None:
    busy = Busy(3, {"Retry-After": "0"})
    assert await created(busy) == {"kind": "Thing"}
    assert busy.bodies == [{"name": "a"}] * 4


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "soon"}, {"Retry-After": "6"}])
async def test_without_a_time_or_with_one_past_the_limit_the_refusal_is_told(headers: dict[str, str]) -> None:
    busy = Busy(1, headers)
    with pytest.raises(KubeError, match="storage is") as refused:
        await created(busy)
    assert (refused.value.status, refused.value.transient, len(busy.bodies)) == (429, True, 1)
