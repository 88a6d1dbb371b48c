"""The operator process: `python -m collabspace.controller.main`."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Any

import kopf
import uvloop

from collabspace.api import names
from collabspace.api.catalogue import catalogue
from collabspace.controller import frame, metrics, wall_clock
from collabspace.controller.admissions import Admissions
from collabspace.controller.broker import Broker, TokenSource
from collabspace.controller.census import CENSUS
from collabspace.controller.events import EventPoster
from collabspace.controller.leadership import Leadership
from collabspace.controller.probes import Health, Probes, Watchdog
from collabspace.controller.queue import KeyQueue
from collabspace.controller.reconcile import Reconciler
from collabspace.controller.settings import OperatorSettings, SettingsError, load
from collabspace.controller.startup import hold_stragglers, resend_usage
from collabspace.controller.tasks import Hands
from collabspace.controller.teams import Teams
from collabspace.controller.watches import Watches, patiently
from collabspace.controller.world import World
from collabspace.controller.writing import Statuses
from collabspace.kube import config, logs
from collabspace.kube.client import KubeClient
from collabspace.kube.lease import Identity, Lease, Terms

BEAT_SECONDS = 0.5
DRAIN_SECONDS = 10.0
BROKER_SECONDS = 5.0
# Each page of a list is hundreds of thousands of objects that live for a moment, among as many that stay.
GC_THRESHOLD = 50_000
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{names.SYSTEM_NAMESPACE}/leases"
# The Lease bears the name of the account that may take it.
LEASE = names.OPERATOR_ACCOUNT
KOPF = "kopf"
log = logging.getLogger("collabspace.controller")


def main() -> None:
    """Runs until a signal; exit code 2 for wrong settings, 1 when a new start is the remedy."""
    logs.configure()
    try:
        settings = load()
        access = config.load(settings.kubeconfig)
        code = uvloop.run(serve(settings, access))
    except (SettingsError, config.NoClusterError) as error:
        sys.stderr.write(f"collabspace-operator: {' '.join(str(error).split())}\n")
        code = 2
    sys.exit(code)


async def serve(settings: OperatorSettings, access: config.Access) -> int:
    """The whole life of the operator; the exit code. Raises SettingsError when nothing can listen for probes."""
    gc.set_threshold(GC_THRESHOLD)
    health = Health()
    try:
        probes = Probes(settings.metrics_host, settings.metrics_port, health)
    except OSError as error:
        raise SettingsError(f"COLLABSPACE_METRICS_PORT: nothing can listen there ({error.strerror})") from error
    watchdog = Watchdog(health)
    probes.start()
    watchdog.start()
    metrics.prepare()
    log.info("probes and metrics on %s:%s", settings.metrics_host, probes.port)
    beat = asyncio.create_task(_beat(health))
    try:
        async with contextlib.AsyncExitStack() as stack:
            return await Operator(settings, access, health, stack).run()
    finally:
        watchdog.stop()
        beat.cancel()
        probes.stop()


class _Parts:
    """What runs side by side until the first of them ends."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()

    def start(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(part, name=name)
        task.add_done_callback(self._ended.put_nowait)
        self._tasks.append(task)

    async def wait(self) -> int:
        """Until one ends; 1 when it failed."""
        first = await self._ended.get()
        error = None if first.cancelled() else first.exception()
        if error is None:
            log.info("%s ended", first.get_name())
            return 0
        log.critical("%s ended: %s %s", first.get_name(), type(error).__name__, str(error)[:300])
        return 1

    async def stop(self, *, spare: str = "") -> None:
        ending = [each for each in self._tasks if each.get_name() != spare]
        for each in ending:
            each.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


class Operator:
    """All parts, wired. Three clients: for reads, for the Lease, and for writes, which only a leader may make."""

    def __init__(
        self,
        settings: OperatorSettings,
        access: config.Access,
        health: Health,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        identity = Identity(settings.instance, socket.gethostname())
        agent = f"collabspace-operator/{version('collabspace')} ({identity.name})"
        reader = KubeClient(access, observe=metrics.observe_request, user_agent=agent)
        # One of its own, so that a renewal never queues behind the work of a burst.
        keeper = KubeClient(access, 2, metrics.observe_request, request_seconds=Terms().answer, user_agent=agent)
        leadership = Leadership(Lease(keeper, LEASES, LEASE, identity), health)
        limit = settings.workers * 2 + 8
        writer = KubeClient(access, limit, metrics.observe_request, permit=leadership.permit, user_agent=agent)
        for client in (reader, keeper, writer):
            stack.push_async_callback(client.close)
        queue = KeyQueue()
        queue.shut()
        world = World(queue.add)
        broker = Broker(
            settings.broker_url, settings.broker_ca_file, TokenSource(reader), world, permit=leadership.permit
        )
        self._settings, self._access, self._health = settings, access, health
        self._reader, self._leadership = reader, leadership
        self._watches = Watches(reader, world, since=leadership.version)
        self._parts = _Parts()
        self._stopping = asyncio.Event()
        self._hands = Hands(
            world=world,
            queue=queue,
            client=writer,
            admissions=Admissions(world, queue),
            teams=Teams(world, queue, writer),
            statuses=Statuses(world, queue, writer),
            broker=broker,
            events=EventPoster(writer),
            catalogue=catalogue(),
            settings=settings.jobs(),
        )

    async def run(self) -> int:
        """Until a signal or a failure; keys in hand are finished and the Lease is released before the end."""
        self._listen()
        parts = self._parts
        parts.start("signal", _until(self._stopping))
        parts.start("election", self._leadership.run())
        parts.start("life", self._live())
        code = await parts.wait()
        self._health.ready = False
        self._hands.queue.shut()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._hands.queue.idle()
        except TimeoutError:
            log.warning("keys in hand were not finished in %.0f s; the next leader looks at them", DRAIN_SECONDS)
        # Nothing of ours may be under way when another is invited to lead.
        await parts.stop(spare=KOPF)
        await self._leadership.resign()
        await parts.stop()
        return code

    async def _live(self) -> None:
        """Fills the caches, then follows the world, and works on it whenever this process leads."""
        parts, hands, health, leadership = self._parts, self._hands, self._health, self._leadership
        await leadership.looked.wait()
        current = leadership.leading
        health.words["caches"] = "filling"
        for watch in self._watches.own:
            parts.start(f"watch-{watch.name}", watch.run())
        await self._watches.fill()
        world = hands.world
        for key in await patiently("list of stopping pods", lambda: hold_stragglers(self._reader, world)):
            hands.queue.add(key)
        health.words["caches"] = "filled"
        CENSUS.follow(world)
        parts.start("monitor", self._watches.monitor(health, leadership.reachable))
        parts.start("broker", hands.broker.run())
        parts.start("events", hands.events.run())
        parts.start("relist", self._watches.relist())
        parts.start("clock", wall_clock.follow(hands.queue))
        reconciler = Reconciler(hands)
        for number in range(self._settings.workers):
            parts.start(f"worker-{number}", reconciler.work())
        await asyncio.sleep(0)  # the monitor's first figures are there before anybody is told that we are ready
        # What is there now stays: the collector need not look at it over and over.
        gc.collect()
        gc.freeze()
        health.ready = True
        log.info("ready: %d tasks, %d datasets, %d Jobs", len(world.tasks), len(world.datasets), len(world.jobs))
        parts.start(KOPF, self._kopf())
        await self._lead(current)

    async def _lead(self, current: bool) -> None:
        """Lets the workers work while this process leads. `current`: nobody else can have written since the fill."""
        hands, leadership = self._hands, self._leadership
        while True:
            await leadership.gained()
            if not current:
                await self._watches.refresh()
            current = False
            # Of an attempt that the process before started just then, perhaps only the broker knows.
            await hands.broker.told(BROKER_SECONDS)
            if leadership.leading:
                resend_usage(hands.world, hands.broker)
                hands.queue.open()
            await leadership.lost()
            hands.queue.shut()

    async def _kopf(self) -> None:
        before = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=frame.registry(self._access, self._hands.world, self._watches.pulse),
            settings=frame.settings(),
            clusterwide=True,
            standalone=True,
            identity=names.OPERATOR_ACCOUNT,  # kopf's own guess asks who the user is; a container's may have no name
        )
        self._listen()  # kopf has just taken the signals for itself
        await kopf.run_tasks(tasks, ignored=before)

    def _listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _beat(health: Health) -> None:
    """Beats for the probe thread and the watchdog, and measures how late the loop runs."""
    loop = asyncio.get_running_loop()
    while True:
        health.beat = time.monotonic()
        before = loop.time()
        await asyncio.sleep(BEAT_SECONDS)
        metrics.LOOP_LAG.set(max(0.0, loop.time() - before - BEAT_SECONDS))


if __name__ == "__main__":
    main()
