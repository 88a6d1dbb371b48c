"""One run of one container: a folder, a shim that owns the process, and what the shim wrote down.

The folder is the truth. An agent that starts anew finds in it whether the run never began, goes on, or has ended.
"""

import asyncio
import contextlib
import datetime as dt
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from collabspace.kube import clock
from collabspace.local.node import shim
from collabspace.local.node.journal import LOST as JOURNAL_LOST
from collabspace.local.node.journal import Journal

LOG_BYTES = 50_000_000
READY_SECONDS = 60.0
MESSAGE_BYTES = 4096
SWEEPS = 20
DEATH_MILLISECONDS = 1000
CLAIM_PAUSE = 0.02
LOST = "ContainerStatusUnknown"


class LaunchError(Exception):
    """The shim itself did not come up; nothing was started, so trying again is safe."""


@dataclass(frozen=True)
class Ended:
    """How a run ended. `exit_code` is 128 + signal for a killed process."""

    exit_code: int
    signal: int | None
    reason: str
    message: str
    started: dt.datetime | None
    finished: dt.datetime


@dataclass(frozen=True)
class Launch:
    """All that a shim needs. `argv[0]` is an absolute path; `record` goes into every journal line."""

    argv: tuple[str, ...]
    env: dict[str, str]
    working_dir: Path
    memory_limit_bytes: int | None
    record: dict[str, str]


class ContainerRun:
    """Handle on one run (the `attempt`-th of its container in its pod); `on_end` is called once, when it has ended."""

    def __init__(self, folder: Path, attempt: int, journal: Journal, on_end: Callable[[], None]) -> None:
        self.folder = folder
        self.attempt = attempt
        self._journal = journal
        self._on_end = on_end
        self._shim: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        self._ended: Ended | None = None
        self._message: str | None = None
        self.started: dt.datetime | None = None

    @property
    def running(self) -> bool:
        return self._pidfd is not None

    @property
    def ended(self) -> Ended | None:
        return self._ended

    @property
    def termination_file(self) -> Path:
        """Where the container writes its last message when its path lies in no volume."""
        return self.folder / "termination"

    async def launch(self, launch: Launch) -> None:
        """Starts the run unless its folder says that it has begun before. Raises LaunchError."""
        document = {
            "argv": launch.argv,
            "env": launch.env,
            "workingDir": str(launch.working_dir),
            "folder": str(self.folder),
            "journal": str(self._journal.path),
            "record": launch.record,
            "memoryLimitBytes": launch.memory_limit_bytes,
            "logBytes": LOG_BYTES,
        }
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ready, ready_write = os.pipe()
        try:
            self._shim = self._spawn(orjson.dumps(document), ready_write)
        finally:
            os.close(ready_write)
        await _readable(ready)
        os.close(ready)
        self.adopt()
        if self._ended is not None:
            self._shim.wait()
        elif not self.running:
            self._shim.kill()
            self._shim.wait()
            raise LaunchError(f"the container's parent process did not start: {self._last_shim_error()}")

    def _spawn(self, document: bytes, ready: int) -> subprocess.Popen[bytes]:
        """The environment may hold secrets, so it travels through memory and not through a file or an argument."""
        memory = os.memfd_create("launch")
        blocked = {signal.SIGTERM, shim.KILL_SIGNAL}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            os.write(memory, document)
            os.lseek(memory, 0, os.SEEK_SET)
            with (self.folder / "shim.err").open("ab") as errors:
                return subprocess.Popen(
                    [sys.executable, "-I", "-S", shim.__file__, str(ready)],
                    stdin=memory,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=[ready],
                    start_new_session=True,
                    cwd="/",
                    env={"LANG": "C.UTF-8"},
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(memory)

    def adopt(self) -> None:
        """Reads the folder: the run goes on, has ended, was lost with its shim, or (nothing set) never began."""
        process = _read(self.folder / "process.json")
        if process is not None:
            self.started = _moment(process.get("startedAt"))
        identity = _read(self.folder / "shim.json")
        if self._take_exit() or identity is None:
            return
        pidfd = open_process(identity)
        if pidfd is None:
            if not self._take_exit():  # it may have ended between the two looks
                self._declare_lost(process)
            return
        self._pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._shim_ended)

    async def claim(self) -> None:
        """Reads the folder as `adopt` does; a run that never began is cleared away.

        A shim that a dead agent started may be on its way still: it finds the folder gone and starts nothing.
        """
        self.adopt()
        while not self.running and self._ended is None:
            lock = os.open(self.folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.adopt()
                if not self.running and self._ended is None:
                    shutil.rmtree(self.folder)
                return
            except BlockingIOError:  # a shim holds it, which writes its name next or dies
                await asyncio.sleep(CLAIM_PAUSE)
            finally:
                os.close(lock)
            self.adopt()

    def terminate(self) -> None:
        """SIGTERM to the process group; the shim passes on the first alone, whichever agent sent it."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to every process of the container."""
        self._signal(shim.KILL_SIGNAL)

    def record_end(self, code: int, reason: str, message: str) -> None:
        """Records an end without a process: refused before the start, or known to others and not to this disk."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write_exit(code, reason, message)

    def release(self) -> None:
        """Lets go of the process without touching it."""
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):  # it ended this instant; the reader will tell
                signal.pidfd_send_signal(self._pidfd, number)

    def _shim_ended(self) -> None:
        self.release()
        if self._shim is not None:
            self._shim.wait()
        if not self._take_exit():
            self._declare_lost(_read(self.folder / "process.json"))
        self._on_end()

    def _take_exit(self) -> bool:
        document = _read(self.folder / "exit.json")
        if document is None:
            return False
        self.started = _moment(document.get("startedAt"))
        self._ended = Ended(
            exit_code=int(document["exitCode"]),
            signal=document.get("signal"),
            reason=str(document["reason"]),
            message=str(document.get("message") or ""),
            started=self.started,
            finished=_moment(document.get("finishedAt")) or clock.now(),
        )
        return True

    def _declare_lost(self, process: dict[str, Any] | None) -> None:
        """The shim was killed. Its child died with it by the kernel's hand; grandchildren are swept up here."""
        if process is not None:
            kill_session(int(process["pid"]), int(process["startTicks"]))
            end = self._journal.complete(process)
            if end["reason"] != JOURNAL_LOST:
                self._write_exit(int(end["exitCode"]), str(end["reason"]), "")
                return
        self._write_exit(137, LOST, "the container's parent process was killed; its exit code is not known")

    def _write_exit(self, code: int, reason: str, message: str) -> None:
        now = clock.rfc3339(clock.now())
        document = {"exitCode": code, "signal": None, "reason": reason, "message": message, "finishedAt": now}
        document["startedAt"] = clock.rfc3339(self.started) if self.started else None
        shim.write_whole(str(self.folder / "exit.json"), document)
        self._take_exit()

    def _last_shim_error(self) -> str:
        lines = (self.folder / "shim.err").read_text(errors="replace").strip().splitlines()
        return lines[-1][:512] if lines else "no reason given"


def open_process(identity: dict[str, Any]) -> int | None:
    """A pidfd of exactly the process that was written down, or None when that one is gone."""
    try:
        pidfd = os.pidfd_open(int(identity["pid"]))
    except (ProcessLookupError, OSError):
        return None
    try:
        same = shim.start_ticks(int(identity["pid"])) == identity["startTicks"]
    except (FileNotFoundError, ProcessLookupError):
        same = False
    if same:
        return pidfd
    os.close(pidfd)
    return None


def kill_session(leader: int, leader_start_ticks: int) -> None:
    """Kills what is left of the session of a dead leader, and returns when it is dead.

    Does nothing when the leader's id names a younger process now.

    A pid is not given out again while a session or group still bears it, so the members found are the leader's own.
    """
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if shim.start_ticks(leader) != leader_start_ticks:
            return
    for _ in range(SWEEPS):  # a member may fork while the others are being killed
        members = _session_members(leader, leader_start_ticks)
        if not members:
            return
        for pid in members:
            _kill(pid)


def _kill(pid: int) -> None:
    """SIGKILL, and a wait for its effect."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(DEATH_MILLISECONDS)
    finally:
        os.close(pidfd)


def _session_members(leader: int, not_before: int) -> list[int]:
    """Living processes of the session."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                if fields[0] not in b"ZX" and int(fields[3]) == leader and int(fields[19]) >= not_before:
                    found.append(int(entry.name))
    return found


async def _readable(descriptor: int) -> None:
    """Returns when the pipe has a byte or its writer is gone."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    loop.add_reader(descriptor, settle)
    try:
        async with asyncio.timeout(READY_SECONDS):
            await future
    except TimeoutError:
        return
    finally:
        loop.remove_reader(descriptor)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return document


def _moment(text: str | None) -> dt.datetime | None:
    return clock.parse(text) if text else None
