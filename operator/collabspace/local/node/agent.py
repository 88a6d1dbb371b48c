"""The node agent: one keeper for each pod that is bound to this node, fed by a watch that never gives up."""

import asyncio
import contextlib
import fcntl
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from collabspace.kube.client import KubeError
from collabspace.local.node.api import NodeClient
from collabspace.local.node.environment import Machine
from collabspace.local.node.folder import PodFolders
from collabspace.local.node.images import Images
from collabspace.local.node.journal import Journal
from collabspace.local.node.manifest import Object, parse
from collabspace.local.node.pod import PodKeeper, Surroundings
from collabspace.local.node.registration import Offer, Registration
from collabspace.local.node.server import LogMissingError, LogServer, LogSource, tls_context
from collabspace.local.node.volumes import remove_tree

FIRST_RETRY = 0.5
LONGEST_RETRY = 15.0
LAUNCHES_AT_ONCE = 4
# How long the last statuses may take at the end: the API server may be on its way down too.
REPORT_SECONDS = 5.0
_LOG = logging.getLogger(__name__)


class StateInUseError(Exception):
    """Another agent works in the same state directory."""


@dataclass(frozen=True)
class Settings:
    """What the command line says. `port` 0 takes a free one."""

    name: str
    state_dir: Path
    machine: Machine
    gpus: int
    serving_cert: Path
    serving_key: Path
    client_ca: Path
    port: int
    lease_seconds: int
    allow_test_image: bool


class Agent:
    """Use: `await run()` until cancelled, then `await stop(...)`."""

    def __init__(self, settings: Settings, client: NodeClient) -> None:
        self._settings = settings
        self._client = client
        self._lock = _lock(settings.state_dir)
        self._folders = PodFolders(settings.state_dir)
        self._around = Surroundings(
            client=client,
            folders=self._folders,
            journal=Journal(settings.state_dir / "journal.jsonl"),
            images=Images(allow_test_image=settings.allow_test_image),
            machine=settings.machine,
            launches=asyncio.Semaphore(LAUNCHES_AT_ONCE),
            departing=set(),
        )
        self._keepers: dict[str, PodKeeper] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._server = LogServer(self._find_log)
        self._registration: Registration | None = None
        self._failures = 0
        self._listed = asyncio.Event()
        self._following: asyncio.Timeout | None = None

    async def run(self) -> None:
        """Registers, serves logs and keeps pods, for ever."""
        settings = self._settings
        context = tls_context(settings.serving_cert, settings.serving_key, settings.client_ca)
        port = await self._server.start(settings.port, context)
        offer = Offer(settings.machine, settings.gpus, port)
        self._registration = Registration(self._client, settings.name, offer, settings.lease_seconds, self._catch_up)
        _LOG.info("node %s serves logs on 127.0.0.1:%d, state in %s", settings.name, port, settings.state_dir)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._registration.run())
            tasks.create_task(self._follow())

    async def stop(self, *, containers: bool) -> None:
        """Ends the agent; containers go on unless they are to end too, each within its grace period."""
        if containers:
            await self._evict_all()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for keeper in self._keepers.values():
            keeper.release()
        await self._server.close()
        os.close(self._lock)

    async def _evict_all(self) -> None:
        if self._registration is not None:
            try:
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._registration.report_shutdown()
            except (KubeError, TimeoutError) as error:
                _LOG.warning("shutdown not reported: %r", error)
        self._take_up_folders()  # the API server may never have answered this agent
        keepers = list(self._keepers.values())
        for keeper in keepers:
            keeper.evict()
        await asyncio.gather(*(keeper.stopped.wait() for keeper in keepers))
        try:
            async with asyncio.timeout(REPORT_SECONDS):
                await asyncio.gather(*(keeper.reported.wait() for keeper in keepers))
        except TimeoutError:
            _LOG.warning("the ends of some pods were not reported: the API server does not take them")

    async def _follow(self) -> None:
        """List and watch, again and again; a broken watch costs a new list."""
        while True:
            try:
                async with asyncio.timeout(None) as self._following:
                    await self._watch()
            except TimeoutError:
                continue  # `_catch_up` asks for a new list
            except KubeError as error:
                if error.status != 410:
                    _LOG.warning("watch of pods: %s", error.message)
                    self._failures = min(self._failures + 1, 10)
                await asyncio.sleep(min(FIRST_RETRY * 2**self._failures, LONGEST_RETRY))

    async def _catch_up(self) -> None:
        """Returns once a new list was seen and nothing runs any more of pods that were taken away or are overdue.

        After a silence the control plane may have given up this node's pods and started others in their place.
        """
        self._listed.clear()
        if self._following is not None:
            with contextlib.suppress(RuntimeError):  # between two watches: the next begins with a list anyway
                self._following.reschedule(asyncio.get_running_loop().time())
        await self._listed.wait()
        await asyncio.gather(*(keeper.stopped.wait() for keeper in self._keepers.values() if keeper.overdue))

    async def _watch(self) -> None:
        selector = {"fieldSelector": f"spec.nodeName={self._settings.name}"}
        listed = await self._client.list("/api/v1/pods", selector)
        self._apply_list(listed["items"])
        version = listed["metadata"]["resourceVersion"]
        while True:
            async for event in self._client.watch("/api/v1/pods", version, selector):
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self._vanished(event["object"]["metadata"]["uid"])
                elif event["type"] != "BOOKMARK":
                    self._apply(event["object"])
            self._failures = 0

    def _apply_list(self, items: list[Object]) -> None:
        """The whole truth: what is not in it is gone, folders of an earlier agent included."""
        present = {item["metadata"]["uid"] for item in items}
        for item in items:
            self._apply(item)
        for uid in self._keepers.keys() - present:
            self._vanished(uid)
        for uid in self._take_up_folders():
            self._vanished(uid)
        self._listed.set()

    def _take_up_folders(self) -> list[str]:
        """Keepers for pods of an earlier agent that nothing else told of; returns their uids."""
        taken: list[str] = []
        for folder in self._folders.all():
            note = folder.note()
            if note is None:
                remove_tree(folder.path)  # its maker was killed before anything could start in it
            elif note["metadata"]["uid"] not in self._keepers:
                self._apply(note)
                taken.append(note["metadata"]["uid"])
        return taken

    def _apply(self, item: Object) -> None:
        try:
            pod = parse(item)
        except (KeyError, TypeError, ValueError):
            _LOG.exception("a pod that this node cannot read is left alone: %s", item.get("metadata", {}).get("name"))
            return
        keeper = self._keepers.get(pod.uid)
        if keeper is not None:
            keeper.update(pod)
            return
        keeper = self._keepers[pod.uid] = PodKeeper(pod, self._around)
        task = self._tasks[pod.uid] = asyncio.create_task(keeper.run(), name=f"pod-{pod.namespace}-{pod.name}")
        task.add_done_callback(lambda _: self._forget(pod.uid))

    def _vanished(self, uid: str) -> None:
        if uid in self._keepers:
            self._keepers[uid].vanish()

    def _forget(self, uid: str) -> None:
        task = self._tasks.get(uid)
        if task is not None and not task.cancelled():
            self._tasks.pop(uid)
            self._keepers.pop(uid, None)

    def _find_log(self, namespace: str, pod: str, container: str, previous: bool) -> LogSource:
        for keeper in reversed(self._keepers.values()):
            if (keeper.pod.namespace, keeper.pod.name) == (namespace, pod):
                return keeper.log(container, previous=previous)
        raise LogMissingError(f"pod {namespace}/{pod} is not on node {self._settings.name!r}")


def _lock(state_dir: Path) -> int:
    """Held for the agent's life: two agents on one state directory would start everything twice."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(state_dir / "agent.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StateInUseError(
            f"--state-dir {state_dir}: another node agent works there; stop it or use another one"
        ) from error
    return descriptor
