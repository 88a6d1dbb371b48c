"""What the operator reads from the broker, over a real connection."""

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer

from collabspace.api import names
from collabspace.client.protocol import AttemptFeed, Feed
from collabspace.controller.broker import Broker, TokenSource
from collabspace.controller.world import World
from collabspace.kube import config
from collabspace.kube.client import KubeClient


async def test_an_answer_that_comes_in_many_pieces_is_read_whole() -> None:
    many = [AttemptFeed(task_uid=f"task-{number}", attempt=1) for number in range(5_000)]
    body = Feed(cursor="1", full=True, datasets=[], attempts=many).model_dump_json(by_alias=True).encode()

    async def token(_: web.Request) -> web.Response:
        return web.json_response({"status": {"token": "t", "expirationTimestamp": "2999-01-01T00:00:00Z"}})

    async def feed(request: web.Request) -> web.StreamResponse:
        if request.query["cursor"]:
            await asyncio.Event().wait()
        answer = web.StreamResponse()
        await answer.prepare(request)
        for start in range(0, len(body), 50_000):
            await answer.write(body[start : start + 50_000])
        return answer

    application = web.Application()
    account = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/serviceaccounts/{names.OPERATOR_ACCOUNT}/token"
    application.router.add_post(account, token)
    application.router.add_get("/v1/feed", feed)
    async with TestServer(application) as server:
        url = str(server.make_url("")).rstrip("/")
        access = config.Access(url, None, lambda: None, "default", None, None, None)
        async with KubeClient(access) as client:
            heard = asyncio.Event()
            world = World(lambda _key: heard.set())
            line = asyncio.create_task(Broker(url, None, TokenSource(client), world, lambda: None).run())
            await asyncio.wait_for(heard.wait(), 5)
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)
    assert world.broker_read
