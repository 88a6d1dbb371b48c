"""A status that the API server's rules do not take is tried ever more seldom, and counted anew once it was taken."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from collabspace.api import names
from collabspace.api.task import TaskSpec, TaskStatus
from collabspace.controller.queue import KeyQueue, WorkKey
from collabspace.controller.world import TASK, World
from collabspace.controller.writing import REFUSED_SECONDS, Statuses
from collabspace.core.observed import observe
from collabspace.core.plan import Plan
from collabspace.kube import config
from collabspace.kube.client import KubeClient

KEY = WorkKey(TASK, "lab", "t")
CREATED = "2026-01-01T00:00:00Z"
META = {
    "name": "t",
    "namespace": "lab",
    "uid": "u",
    "resourceVersion": "1",
    "creationTimestamp": "2026-01-01T00:00:00Z",
}
PATH = f"/apis/{names.API_VERSION}/namespaces/lab/{names.COLLAB_TASKS}/t/status"


class Noted(KeyQueue):
    """Keeps what was planned instead of doing it."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float | None] = []

    def later(self, key: WorkKey, seconds: float | None) -> None:
        self.pauses.append(seconds)


async def test_pauses_grow_and_begin_anew_after_a_write_that_was_taken() -> None:
    taken = False

    async def patch(request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        if taken:
            return web.json_response({"metadata": META | {"resourceVersion": "2"}, "status": body["status"]})
        return web.json_response({"reason": "Invalid", "message": "not by the schema"}, status=422)

    application = web.Application()
    application.router.add_patch(PATH, patch)
    async with TestServer(application) as server:
        access = config.Access(str(server.make_url("")).rstrip("/"), None, lambda: None, "default", None, None, None)
        async with KubeClient(access) as client:
            queue = Noted()
            world = World(queue.add)
            statuses = Statuses(world, queue, client)

            async def write(reason: str) -> float | None:
                task = observe({"metadata": META}, TaskSpec, TaskStatus)
                await statuses.execute(KEY, task, Plan(TaskStatus(reason=reason)), world.tasks)
                return queue.pauses[-1]

            tries = [await write("Pending") for _ in range(len(REFUSED_SECONDS) + 2)]
            assert tries == pytest.approx([*REFUSED_SECONDS, REFUSED_SECONDS[-1], REFUSED_SECONDS[-1]])
            taken = True
            assert await write("Admitted") is None
            taken = False
            assert await write("Failed") == REFUSED_SECONDS[0]
