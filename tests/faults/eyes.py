"""What the admin sees of the cluster at this moment, kept by watches, so that plans wait on changes and never poll."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from collabspace.api import names
from collabspace.kube.client import KubeClient, KubeError, Object

OURS = f"/apis/{names.API_VERSION}"
PATHS = {
    "tasks": f"{OURS}/{names.COLLAB_TASKS}",
    "datasets": f"{OURS}/{names.SHARED_DATASETS}",
    "selections": f"{OURS}/{names.MODEL_SELECTIONS}",
    "jobs": "/apis/batch/v1/jobs",
    "pods": "/api/v1/pods",
}


class Eyes:
    """`seen[kind]` holds each object by (namespace, name)."""

    def __init__(self, admin: KubeClient) -> None:
        self._admin = admin
        self.seen: dict[str, dict[tuple[str, str], Object]] = {kind: {} for kind in PATHS}
        self.changes = 0
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind, path in PATHS.items():
                group.create_task(self._follow(kind, path))

    def objects(self, kind: str, namespace: str) -> dict[str, Object]:
        return {name: item for (place, name), item in self.seen[kind].items() if place == namespace}

    async def until(self, holds: Callable[[], Any], seconds: float, what: str) -> Any:
        """What `holds` returns, once that is true. Raises TimeoutError with `what`."""
        try:
            async with asyncio.timeout(seconds):
                while not (found := holds()):
                    self._changed.clear()
                    await self._changed.wait()
                return found
        except TimeoutError:
            raise TimeoutError(f"{what} is not so after {seconds:.0f} s") from None

    def look_again(self) -> None:
        """Wakes who waits, for what no watch tells."""
        self._changed.set()

    async def _follow(self, kind: str, path: str) -> None:
        while True:
            # Some plans take the API server away.
            with suppress(KubeError):
                listing = await self._admin.list(path)
                self.seen[kind] = {_key(item): item for item in listing["items"]}
                self._tell()
                version = listing["metadata"]["resourceVersion"]
                while True:
                    async for event in self._admin.watch(path, version):
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] == "DELETED":
                            self.seen[kind].pop(_key(event["object"]), None)
                        elif event["type"] != "BOOKMARK":
                            self.seen[kind][_key(event["object"])] = event["object"]
                        self._tell()
            await asyncio.sleep(0.2)

    def _tell(self) -> None:
        self.changes += 1
        self._changed.set()


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]
