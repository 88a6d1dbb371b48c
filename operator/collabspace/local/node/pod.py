"""The keeper of one pod: looks, decides, acts, reports, until nothing of the pod is left here.

Every cause (a new version of the object, a process that ended, a moment that came) runs the same pass, so a lost cause
costs delay and never correctness.
"""

import asyncio
import dataclasses
import datetime as dt
import logging
from dataclasses import dataclass
from pathlib import Path

from collabspace.kube import clock
from collabspace.kube.client import KubeError
from collabspace.local.node import status
from collabspace.local.node.api import NodeClient
from collabspace.local.node.container import LOST, MESSAGE_BYTES, ContainerRun
from collabspace.local.node.decision import Decision, RunState, Situation, Start, decide
from collabspace.local.node.environment import EnvironmentBuilder, Machine
from collabspace.local.node.folder import PodFolders
from collabspace.local.node.images import Images
from collabspace.local.node.journal import Journal
from collabspace.local.node.launching import Preparation, last_message, newest_runs
from collabspace.local.node.logs import tail
from collabspace.local.node.manifest import Container, Pod, parse
from collabspace.local.node.server import LogMissingError, LogSource
from collabspace.local.node.starting import FIRST_RETRY, LONGEST_RETRY, Starter
from collabspace.local.node.status import Observation, Waiting
from collabspace.local.node.volumes import Volumes, remove_tree

FALLBACK_LINES = 80
FALLBACK_BYTES = 2048
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Surroundings:
    """What all pods of the node share. `departing` are uids of pods that were removed by force and still run."""

    client: NodeClient
    folders: PodFolders
    journal: Journal
    images: Images
    machine: Machine
    launches: asyncio.Semaphore
    departing: set[str]


class PodKeeper:
    """Runs one pod. `update`, `vanish` and `evict` may be called at any time; `run` ends when the pod left no trace."""

    def __init__(self, pod: Pod, around: Surroundings) -> None:
        self.pod = pod
        self._around = around
        self._folder = around.folders.of(pod.uid)
        self._volumes = Volumes(pod, self._folder.volumes, around.client, around.machine)
        self._runs: dict[str, list[ContainerRun]] = {container.name: [] for container in pod.containers}
        self._starter = Starter(around.launches, around.departing, self._new_run)
        self._messages: dict[Path, str] = {}
        self._signalled: set[tuple[str, bool]] = set()
        self._gone: dt.datetime | None = None
        self._evicted: dt.datetime | None = None
        self._wake = asyncio.Event()
        self._confirmed = False
        self.stopped = asyncio.Event()
        self.reported = asyncio.Event()

    def update(self, pod: Pod) -> None:
        """A newer version of the object; an older one (our own write may overtake the watch) is ignored."""
        if pod.resource_version > self.pod.resource_version:
            self.pod = pod
            self._wake.set()

    def vanish(self) -> None:
        """The object is no more."""
        self._gone = self._gone or clock.now()
        if not self.stopped.is_set():
            self._around.departing.add(self.pod.uid)
        self._wake.set()

    def evict(self) -> None:
        """The node shuts down: end the pod and say so."""
        self._evicted = self._evicted or clock.now()
        self._wake.set()

    @property
    def overdue(self) -> bool:
        """Whether it should have ended by now."""
        return self._gone is not None or (self.pod.delete_at is not None and self.pod.delete_at <= clock.now())

    def release(self) -> None:
        """Lets go of the processes; they go on."""
        for run in self._all_runs():
            run.release()

    async def run(self) -> None:
        """Passes until nothing is left. No error of one pod ends the node: it is logged and tried again."""
        await self._take_up()
        failures = 0
        while True:
            self._wake.clear()
            again: dt.datetime | None = None
            try:
                if await self._pass():
                    return
                failures = 0
            except Exception as error:
                known = isinstance(error, KubeError)
                place = f"pod {self.pod.namespace}/{self.pod.name}"
                _LOG.log(logging.WARNING if known else logging.ERROR, "%s: %s", place, error, exc_info=not known)
                again = clock.now() + dt.timedelta(seconds=min(FIRST_RETRY * 2**failures, LONGEST_RETRY))
                failures = min(failures + 1, 10)
            await self._sleep_until(self._next(again))

    def log(self, container: str, *, previous: bool) -> LogSource:
        """The log of the newest run, or of the one before. Raises LogMissingError."""
        runs = self._runs.get(container)
        if runs is None:
            raise LogMissingError(f"pod {self.pod.name!r} has no container {container!r}")
        if len(runs) < (2 if previous else 1):
            waiting = self._starter.waiting.get(container, Waiting("ContainerCreating", ""))
            which = "has no previous run" if previous else f"is waiting to start: {waiting.reason} {waiting.message}"
            raise LogMissingError(f"container {container!r} in pod {self.pod.name!r} {which}")
        run = runs[-2 if previous else -1]
        return LogSource(run.folder / "log", lambda: not run.running)

    async def _take_up(self) -> None:
        """Finds what an earlier agent left: runs that go on, runs that ended, and runs whose records are lost."""
        self._folder.make(self.pod)
        for container in self.pod.containers:
            for attempt in self._folder.attempts(container.name):
                run = self._new_run(container, attempt)
                await run.claim()
                if run.running or run.ended is not None:
                    self._runs[container.name].append(run)
        if any(self._runs.values()):
            self._volumes.adopt()
        elif not self.pod.terminal:
            self._declare_forgotten()

    def _declare_forgotten(self) -> None:
        """Containers that the API knows as begun, but this disk does not, are lost and never begun a second time."""
        kinds = ("initContainerStatuses", "containerStatuses")
        known = [one for kind in kinds for one in self.pod.status.get(kind) or []]
        begun = {one["name"] for one in known if {"running", "terminated"} & one.get("state", {}).keys()}
        for container in self.pod.containers:
            if container.name in begun:
                run = self._new_run(container, 0)
                run.record_end(137, LOST, "the node lost its records of this container; its exit code is not known")
                self._runs[container.name].append(run)

    def _new_run(self, container: Container, attempt: int) -> ContainerRun:
        folder = self._folder.run(container.name, attempt)
        return ContainerRun(folder, attempt, self._around.journal, self._wake.set)

    async def _pass(self) -> bool:
        """One look, decision and step. True when nothing is left to do, ever."""
        decision = decide(self._situation())
        self._send_signals(decision)
        if decision.over:
            self.stopped.set()
            self._around.departing.discard(self.pod.uid)
        if self._gone is not None:
            if decision.over:
                await asyncio.to_thread(remove_tree, self._folder.path)
            return decision.over
        if decision.start and await self._start(decision.start):
            self._wake.set()
            decision = decide(self._situation())
        await self._report(decision)
        if decision.over:
            self.reported.set()
            await asyncio.to_thread(self._volumes.remove)
            await self._confirm_deletion()
        else:
            await self._volumes.refresh(clock.now())
        return False

    def _situation(self) -> Situation:
        states = {name: _state(run) for name, run in newest_runs(self._runs).items()}
        return Situation(self.pod, states, clock.now(), self._gone, self._evicted)

    def _next(self, retry: dt.datetime | None) -> dt.datetime | None:
        """When to look again without other cause."""
        decision = decide(self._situation())
        moments = [retry, decision.again, self._volumes.next_rotation, *self._starter.due(decision.start)]
        return min((moment for moment in moments if moment is not None), default=None)

    async def _sleep_until(self, moment: dt.datetime | None) -> None:
        seconds = None if moment is None else max(0.0, (moment - clock.now()).total_seconds())
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    def _send_signals(self, decision: Decision) -> None:
        """Each signal once in an agent's life: a second SIGTERM means `now!` to many programs."""
        for name, run in newest_runs(self._runs).items():
            for hard, wanted in ((False, decision.terminate), (True, decision.kill)):
                if name in wanted and (str(run.folder), hard) not in self._signalled:
                    self._signalled.add((str(run.folder), hard))
                    (run.kill if hard else run.terminate)()

    async def _start(self, starts: tuple[Start, ...]) -> bool:
        """Starts what is due. Says whether anything began (or was refused)."""
        begun = False
        for start in starts:
            run = await self._starter.start(start, self._preparation())
            if run is not None:
                self._runs[start.container.name].append(run)
                begun = True
        return begun

    def _preparation(self) -> Preparation:
        around = self._around

        async def read(kind: str, name: str) -> dict[str, bytes] | None:
            return await around.client.data(self.pod.namespace, kind, name)

        environment = EnvironmentBuilder(self.pod, around.machine, read)
        return Preparation(self.pod, self._folder, self._volumes, around.images, environment)

    async def _report(self, decision: Decision) -> None:
        """Writes the status when it differs. A terminal status is final and is left alone."""
        if self.pod.terminal or self.pod.only_noted:
            return
        wanted = status.build(
            Observation(
                pod=self.pod,
                decision=decision,
                runs={name: self._told(name, runs[-1]) for name, runs in self._runs.items() if runs},
                previous={name: self._told(name, runs[-2]) for name, runs in self._runs.items() if len(runs) > 1},
                waiting=self._starter.waiting,
                evicted=self._evicted is not None,
                now=clock.now(),
            )
        )
        if status.same(wanted, self.pod.status):
            return
        try:
            self.update(parse(await self._around.client.patch_status(self.pod.path, self.pod.uid, wanted)))
        except KubeError as error:
            await self._vanish_if_gone(error)

    async def _confirm_deletion(self) -> None:
        if self.pod.delete_at is None or self._confirmed:
            return
        try:
            await self._around.client.confirm_deletion(self.pod)
            self._confirmed = True
        except KubeError as error:
            await self._vanish_if_gone(error)

    async def _vanish_if_gone(self, error: KubeError) -> None:
        """After a write found no such object, or another one of this name. Raises what it cannot explain."""
        if error.status not in (404, 409):
            raise error
        try:
            found = await self._around.client.get(self.pod.path)
        except KubeError as missing:
            if missing.status != 404:
                raise
            self.vanish()
            return
        if found["metadata"]["uid"] == self.pod.uid:
            raise error
        self.vanish()

    def _told(self, name: str, run: ContainerRun) -> RunState:
        """The run's state with the container's last message, which lies in its folders."""
        state = _state(run)
        if state.ended is None:
            return state
        if run.folder not in self._messages:
            self._messages[run.folder] = self._last_words(name, run) or state.ended.message
        return dataclasses.replace(state, ended=dataclasses.replace(state.ended, message=self._messages[run.folder]))

    def _last_words(self, name: str, run: ContainerRun) -> str:
        container = next(one for one in self.pod.containers if one.name == name)
        message = last_message(self._preparation().termination_file(container, run), MESSAGE_BYTES)
        if not message and container.fall_back_to_logs and run.ended is not None and run.ended.exit_code != 0:
            return tail(run.folder / "log", FALLBACK_LINES, FALLBACK_BYTES)
        return message

    def _all_runs(self) -> list[ContainerRun]:
        return [run for runs in self._runs.values() for run in runs]


def _state(run: ContainerRun) -> RunState:
    return RunState(run.attempt, run.started, run.ended)
