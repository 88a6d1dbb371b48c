"""Looks at late pods: one at a time, however many are late and however slow the answer is."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collabspace.controller.looks import LOOK_SECONDS, Looks
from collabspace.core.observed import JobFacts
from collabspace.core.quantity import Amount
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError

PENDING = {
    "metadata": {"name": "late", "ownerReferences": [{"uid": "job-a", "controller": True}]},
    "status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]},
}


def job_of(task: str) -> JobFacts:
    return JobFacts(
        "team", f"{task}-1", f"job-{task}", task, task, 1, (), Amount(), "", None, "", False, False, None, ""
    )


class Server:
    """Lists one late pod, once it is let."""

    def __init__(self) -> None:
        self.asked, self.status = 0, 200
        self.came, self.let = asyncio.Event(), asyncio.Event()

    async def list(self, _request: web.Request) -> web.Response:
        self.asked += 1
        self.came.set()
        await self.let.wait()
        return web.json_response({"metadata": {}, "items": [PENDING]}, status=self.status)


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def looks(server: Server) -> AsyncIterator[Looks]:
    application = web.Application()
    application.router.add_get("/api/v1/namespaces/team/pods", server.list)
    async with TestServer(application) as running:
        access = config.Access(str(running.make_url("")).rstrip("/"), None, lambda: None, "default", None, None, None)
        async with KubeClient(access) as client:
            yield Looks(client)


async def test_while_one_look_is_under_way_there_is_no_other(server: Server, looks: Looks) -> None:
    first = asyncio.create_task(looks.look(job_of("a")))
    await server.came.wait()
    await asyncio.sleep(2 * LOOK_SECONDS)
    assert not await looks.look(job_of("b"))
    assert server.asked == 1
    server.let.set()
    assert await first
    found = looks.known(job_of("a"))
    assert found is not None
    assert "ErrImagePull" in found.words
    assert looks.known(job_of("b")) is None


async def test_a_look_that_failed_stands_in_nobodys_way(server: Server, looks: Looks) -> None:
    server.let.set()
    server.status = 500
    with pytest.raises(KubeError):
        await looks.look(job_of("a"))
    server.status = 200
    await asyncio.sleep(LOOK_SECONDS)
    assert await looks.look(job_of("a"))


async def test_what_was_looked_at_just_now_is_not_looked_at_again(server: Server, looks: Looks) -> None:
    server.let.set()
    assert await looks.look(job_of("a"))
    await asyncio.sleep(LOOK_SECONDS)
    assert not await looks.look(job_of("a"))
    assert server.asked == 1
