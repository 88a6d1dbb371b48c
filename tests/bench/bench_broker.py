"""The broker's side of the benchmarks: a feed that tells what is new, and usage that is taken; nothing is stored."""

import asyncio
import contextlib

import orjson
from aiohttp import web

from collabspace.kube.client import Object

RESULT = "sha256:" + "b" * 64
WAIT_SECONDS = 10.0


class BenchBroker:
    """Serves on the event loop that it was started on. Every task that is told to it has stored RESULT at once."""

    def __init__(self, datasets: list[str]) -> None:
        self._datasets = [_dataset(uid) for uid in datasets]
        self._attempts: list[Object] = []
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.usage = 0
        self.url = ""

    async def start(self) -> None:
        app = web.Application(client_max_size=2**24)
        app.add_routes([web.get("/v1/feed", self._feed), web.put("/v1/usage/{uid}/{attempt}", self._usage)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def stored(self, task_uid: str) -> None:
        """The first attempt of the task has a result."""
        result = {"digest": RESULT, "records": 1, "bytes": 1, "created": True}
        async with self._news:
            self._attempts.append({"taskUid": task_uid, "attempt": 1, "result": result})
            self._news.notify_all()

    async def _feed(self, request: web.Request) -> web.Response:
        cursor = request.query.get("cursor", "")
        first = int(cursor or 0)
        if cursor and first == len(self._attempts):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS), self._news:
                    await self._news.wait()
        body = {
            "cursor": str(len(self._attempts)),
            "full": not cursor,
            "datasets": self._datasets if not cursor else [],
            "attempts": self._attempts[first:],
        }
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    async def _usage(self, request: web.Request) -> web.Response:
        await request.read()
        self.usage += 1
        return web.json_response({})


def _dataset(uid: str) -> Object:
    version = {
        "digest": "sha256:" + "a" * 64,
        "createdTime": "2026-01-02T03:04:05Z",
        "format": "Tabular",
        "records": 10,
        "bytes": 1000,
        "files": 2,
    }
    return {"uid": uid, "versions": [version]}
