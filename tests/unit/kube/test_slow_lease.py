"""A server that is slow, or whose answer is lost, does not cost a holder its Lease."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import web
from aiohttp.test_utils import TestServer

from collabspace.controller.leadership import Leadership
from collabspace.controller.probes import Health
from collabspace.kube import config
from collabspace.kube.client import KubeClient
from collabspace.kube.lease import Identity, Lease, Terms

USUAL = Terms()
SHORTER = 0.4
# The usual terms, each shorter by as much; the duration is whole seconds, so that the margin takes up the rest.
TERMS = Terms(
    duration=4,
    margin=4 - SHORTER * (USUAL.duration - USUAL.margin),
    renew=SHORTER * USUAL.renew,
    again=SHORTER * USUAL.again,
    retry=SHORTER * USUAL.retry,
    answer=SHORTER * USUAL.answer,
)
SLOW_SECONDS = 0.75 * TERMS.answer


class Store:
    """One Lease, kept as an API server keeps it. `before` is awaited when a renewal came, `after` when it was kept."""

    def __init__(self) -> None:
        self.version = 1
        self.spec: object = {}
        self.renewals = 0
        self.enough = asyncio.Event()
        self.before: Callable[[], Awaitable[None]] = self._at_once
        self.after: Callable[[], Awaitable[None]] = self._at_once

    async def get(self, _request: web.Request) -> web.Response:
        return self._answer()

    async def put(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self.before()
        if body["metadata"]["resourceVersion"] != str(self.version):
            return web.json_response({"reason": "Conflict"}, status=409)
        self.version, self.spec = self.version + 1, body["spec"]
        self.renewals += 1
        await self.after()
        if self.renewals == 4:
            self.enough.set()
        return self._answer()

    async def _at_once(self) -> None:
        pass

    def _answer(self) -> web.Response:
        return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "spec": self.spec})


@asynccontextmanager
async def leading(store: Store) -> AsyncIterator[Leadership]:
    application = web.Application()
    application.router.add_get("/leases/one", store.get)
    application.router.add_put("/leases/one", store.put)
    async with TestServer(application) as server:
        access = config.Access(str(server.make_url("")).rstrip("/"), None, lambda: None, "default", None, None, None)
        async with KubeClient(access, request_seconds=TERMS.answer) as client:
            leadership = Leadership(Lease(client, "/leases", "one", Identity(None, "host"), TERMS), Health())
            campaign = asyncio.create_task(leadership.run())
            await leadership.gained()
            yield leadership
            campaign.cancel()
            with suppress(asyncio.CancelledError):
                await campaign


async def test_a_server_that_takes_long_for_each_answer_is_waited_for() -> None:
    store = Store()
    store.before = lambda: asyncio.sleep(SLOW_SECONDS)
    async with leading(store) as leadership:
        lost = asyncio.create_task(leadership.lost())
        await store.enough.wait()
        assert not lost.done()
        lost.cancel()


async def test_a_renewal_whose_answer_is_lost_is_made_again_in_time() -> None:
    store = Store()

    async def lose_the_second() -> None:
        if store.renewals == 2:
            await asyncio.sleep(2 * TERMS.answer)

    store.after = lose_the_second
    async with leading(store) as leadership:
        lost = asyncio.create_task(leadership.lost())
        await store.enough.wait()
        assert not lost.done()
        lost.cancel()
