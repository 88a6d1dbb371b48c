"""All that is watched: filled before anything acts on it, listed anew when in doubt, and never deaf unnoticed."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from collabspace.api import names
from collabspace.controller import metrics
from collabspace.controller.frame import Pulse
from collabspace.controller.probes import Health
from collabspace.controller.world import World
from collabspace.kube.client import KubeClient, KubeError
from collabspace.kube.watch import RELIST_SECONDS, Backoff, Sink, Watch

T = TypeVar("T")
# Of silence: longer than a quiet stream lasts (45 s) with an outage (15 s) and the way back after it, shorter than the
# 90 s within which a deaf watch is to be found.
DEAF_SECONDS = 80.0
LOOK_SECONDS = 1.0
OURS = {"labelSelector": names.TASK_UID_LABEL}
TERMINAL = OURS | {"fieldSelector": "status.phase!=Running,status.phase!=Pending"}
KOPF_PATHS: Mapping[str, str] = {
    "shareddatasets": f"/apis/{names.API_VERSION}/{names.SHARED_DATASETS}",
    "collabtasks": f"/apis/{names.API_VERSION}/{names.COLLAB_TASKS}",
    "modelselections": f"/apis/{names.API_VERSION}/{names.MODEL_SELECTIONS}",
    "namespaces": "/api/v1/namespaces",
}
log = logging.getLogger(__name__)


class DeafError(Exception):
    """A watch showed no sign of life for too long; a new process is surer than any repair."""


class Watches:
    """Our own watches of nodes, pods and Jobs; of what kopf watches, the lists and the signs of life."""

    def __init__(self, client: KubeClient, world: World, since: Callable[[], str] = str) -> None:
        sinks: dict[str, Sink] = {
            "namespaces": world.namespaces,
            "shareddatasets": world.datasets,
            "modelselections": world.selections,
            "collabtasks": world.tasks,
        }
        self._world = world
        self._kopf = [Watch(client, name, KOPF_PATHS[name], sink, since=since) for name, sink in sinks.items()]
        self._jobs = Watch(client, "jobs", "/apis/batch/v1/jobs", world.jobs, OURS, since)
        self._pods = Watch(client, "pods", "/api/v1/pods", world.pods, TERMINAL, since)
        self.own = [Watch(client, "nodes", "/api/v1/nodes", world.nodes, since=since), self._pods, self._jobs]
        self.pulse = Pulse(tuple(KOPF_PATHS.values()))

    async def fill(self) -> None:
        """Every cache from a LIST that succeeded, however long that takes; our own watches must be running."""
        await asyncio.gather(
            *(watch.synced.wait() for watch in self.own),
            *(patiently(f"list of {watch.name}", watch.list) for watch in self._kopf),
        )

    async def refresh(self) -> None:
        """What was admitted and how it ended, from LISTs that succeeded. Pods come after Jobs: of each Job that has
        ended, how its pod ended is known as well."""
        for watch in (self._jobs, self._pods):
            await patiently(f"list of {watch.name}", watch.list)

    async def relist(self) -> None:
        """A full LIST of what kopf watches, now and then, and of a kind that kopf itself has listed anew: a missed
        deletion is found, a stale object mended."""
        paths, loop = dict(zip(KOPF_PATHS.values(), KOPF_PATHS, strict=True)), asyncio.get_running_loop()
        due = loop.time()
        while True:
            if loop.time() >= due:
                due = loop.time() + RELIST_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 spreads the lists
            chosen = {*KOPF_PATHS}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    chosen = {paths[await self.pulse.relisted.get()]}
            for watch in self._kopf:
                if watch.name in chosen:
                    await patiently(f"list of {watch.name}", watch.list)

    async def monitor(self, health: Health, reachable: Callable[[], float]) -> None:
        """Ends with DeafError when a watch has gone deaf, judged by for how many seconds others were answered."""
        lives = {watch.name: watch.life for watch in self.own}
        lives |= {name: self.pulse.lives[path] for name, path in KOPF_PATHS.items()}
        while True:
            for name, life in lives.items():
                metrics.STALENESS.labels(name).set(life.age())
                silence = life.silence(reachable())
                if silence > DEAF_SECONDS:
                    raise DeafError(f"the watch of {name} showed no sign of life for {silence:.0f} s")
            oldest = max(lives, key=lambda name: lives[name].age())
            health.words["watches"] = f"oldest sign of life {lives[oldest].age():.0f} s ago, of {oldest}"
            health.words["broker"] = "answers" if self._world.broker_known else "does not answer"
            await asyncio.sleep(LOOK_SECONDS)


async def patiently(what: str, call: Callable[[], Awaitable[T]]) -> T:
    """The call's answer, however often it must be tried."""
    backoff = Backoff()
    while True:
        try:
            return await call()
        except KubeError as error:
            pause = backoff.next()
            log.warning("%s failed (%s %s); again in %.1f s", what, error.status, error.reason, pause)
            await asyncio.sleep(pause)
