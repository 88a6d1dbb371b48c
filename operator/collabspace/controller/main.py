"""The operator process: `python -m collabspace.controller.main`."""

import asyncio
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import kopf

from collabspace.api import names
from collabspace.api.catalogue import catalogue
from collabspace.controller import frame, logs, metrics
from collabspace.controller.admissions import Admissions
from collabspace.controller.broker import Broker, TokenSource
from collabspace.controller.events import EventPoster
from collabspace.controller.probes import Health, Probes
from collabspace.controller.queue import KeyQueue
from collabspace.controller.reconcile import Reconciler
from collabspace.controller.settings import OperatorSettings, SettingsError, load
from collabspace.controller.startup import hold_stragglers, resend_usage
from collabspace.controller.tasks import Hands
from collabspace.controller.teams import Teams
from collabspace.controller.world import World
from collabspace.controller.writing import Statuses
from collabspace.core.job import JobSettings
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError
from collabspace.kube.watch import RELIST_SECONDS, Backoff, Sink, Watch

T = TypeVar("T")
DEAF_SECONDS = 90.0
TICK_SECONDS = 0.5
OURS = {"labelSelector": names.TASK_UID_LABEL}
TERMINAL = OURS | {"fieldSelector": "status.phase!=Running,status.phase!=Pending"}
log = logging.getLogger("collabspace.controller")


class DeafError(Exception):
    """A watch showed no sign of life for too long; a new process is surer than any repair."""


def main() -> None:
    """Runs until a signal; exit code 2 for wrong settings, 1 when a new start is the remedy."""
    logs.configure()
    try:
        settings = load()
        access = config.load(settings.kubeconfig)
    except (SettingsError, config.NoClusterError) as error:
        sys.exit(f"collabspace-operator: {error}")
    sys.exit(asyncio.run(serve(settings, access)))


async def serve(settings: OperatorSettings, access: config.Access) -> int:
    """The whole life of the operator; the exit code."""
    health = Health()
    probes = Probes(settings.metrics_host, settings.metrics_port, health)
    probes.start()
    metrics.prepare()
    log.info("probes and metrics on %s:%s", settings.metrics_host, probes.port)
    try:
        async with KubeClient(access, connections=settings.workers * 2 + 8, observe=metrics.observe_request) as client:
            return await _run(settings, access, client, health)
    finally:
        probes.stop()


@dataclass
class _Parts:
    """What runs side by side until the first of them ends."""

    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(part, name=name))

    async def wait(self) -> int:
        """Ends all when one ends; 1 when it failed."""
        done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
        code = 0
        for each in done:
            error = None if each.cancelled() else each.exception()
            if error is not None:
                log.critical("%s ended: %s %s", each.get_name(), type(error).__name__, str(error)[:300])
                code = 1
            else:
                log.info("%s ended", each.get_name())
        return code

    async def stop(self) -> None:
        for each in self.tasks:
            each.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _run(settings: OperatorSettings, access: config.Access, client: KubeClient, health: Health) -> int:
    queue = KeyQueue()
    world = World(queue.add)
    broker = Broker(settings.broker_url, settings.broker_ca_file, TokenSource(client), world)
    hands = Hands(
        world=world,
        queue=queue,
        client=client,
        admissions=Admissions(world, queue),
        teams=Teams(world, queue, client),
        statuses=Statuses(world, queue, client),
        broker=broker,
        events=EventPoster(client),
        catalogue=catalogue(),
        settings=JobSettings(settings.trainer_image, settings.broker_url),
    )
    parts = _Parts()
    try:
        watches = await _fill(client, world, parts, health)
        for key in await _patiently("stopping pods", lambda: hold_stragglers(client, world)):
            queue.add(key)
        resend_usage(world, broker)
        pulse = frame.Pulse(tuple(KOPF_PATHS.values()))
        parts.start("monitor", _monitor(watches, pulse, health))
        parts.start("broker", broker.run())
        parts.start("events", hands.events.run())
        reconciler = Reconciler(hands)
        for number in range(settings.workers):
            parts.start(f"worker-{number}", reconciler.work())
        parts.start("relist", _relist(client, world))
        await asyncio.sleep(0)  # the monitor's first figures are there before anybody is told that we are ready
        health.ready = True
        log.info("ready: %d tasks, %d datasets, %d Jobs", len(world.tasks), len(world.datasets), len(world.jobs))
        parts.start("kopf", _kopf(access, world, pulse))
        return await parts.wait()
    finally:
        health.ready = False
        await parts.stop()


KOPF_PATHS: Mapping[str, str] = {
    "shareddatasets": f"/apis/{names.API_VERSION}/{names.SHARED_DATASETS}",
    "collabtasks": f"/apis/{names.API_VERSION}/{names.COLLAB_TASKS}",
    "modelselections": f"/apis/{names.API_VERSION}/{names.MODEL_SELECTIONS}",
    "namespaces": "/api/v1/namespaces",
}


def _sinks(world: World) -> dict[str, Sink]:
    return {
        "namespaces": world.namespaces,
        "shareddatasets": world.datasets,
        "modelselections": world.selections,
        "collabtasks": world.tasks,
    }


async def _fill(client: KubeClient, world: World, parts: _Parts, health: Health) -> list[Watch]:
    """Every cache from a LIST that succeeded, however long that takes; only then does anything act on them."""
    watches = [
        Watch(client, "nodes", "/api/v1/nodes", world.nodes),
        Watch(client, "pods", "/api/v1/pods", world.pods, TERMINAL),
        Watch(client, "jobs", "/apis/batch/v1/jobs", world.jobs, OURS),
    ]
    for watch in watches:
        parts.start(f"watch-{watch.name}", watch.run())
    filling = asyncio.gather(
        *(watch.synced.wait() for watch in watches),
        *(_patiently(name, Watch(client, name, KOPF_PATHS[name], sink).list) for name, sink in _sinks(world).items()),
    )
    while not filling.done():
        health.beat = time.monotonic()
        await asyncio.wait([filling], timeout=TICK_SECONDS)
    filling.result()
    return watches


async def _patiently(name: str, call: Callable[[], Awaitable[T]]) -> T:
    """The call's answer, however often it must be tried."""
    backoff = Backoff()
    while True:
        try:
            return await call()
        except KubeError as error:
            pause = backoff.next()
            log.warning("list of %s failed (%s %s); again in %.1f s", name, error.status, error.reason, pause)
            await asyncio.sleep(pause)


async def _relist(client: KubeClient, world: World) -> None:
    """A full LIST of what kopf watches, now and then: a missed deletion is found, a stale object mended."""
    while True:
        await asyncio.sleep(RELIST_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 spreads the lists
        for name, sink in _sinks(world).items():
            await _patiently(name, Watch(client, name, KOPF_PATHS[name], sink).list)


async def _kopf(access: config.Access, world: World, pulse: frame.Pulse) -> None:
    await kopf.operator(
        registry=frame.registry(access, world, pulse), settings=frame.settings(), clusterwide=True, standalone=True
    )


async def _monitor(watches: list[Watch], pulse: frame.Pulse, health: Health) -> None:
    """Beats for the probe thread, measures lag, and ends the process when a watch has gone deaf."""
    loop = asyncio.get_running_loop()
    lives = {watch.name: watch.life for watch in watches}
    lives |= {name: pulse.lives[path] for name, path in KOPF_PATHS.items()}
    late = 0.0
    while True:
        health.beat = time.monotonic()
        metrics.LOOP_LAG.set(late)
        for name, life in lives.items():
            metrics.STALENESS.labels(name).set(life.age())
            if life.silence() > DEAF_SECONDS:
                raise DeafError(f"the watch of {name} showed no sign of life for {life.silence():.0f} s")
        before = loop.time()
        await asyncio.sleep(TICK_SECONDS)
        late = max(0.0, loop.time() - before - TICK_SECONDS)


if __name__ == "__main__":
    main()
