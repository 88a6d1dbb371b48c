"""Long-living processes of their own session, known by a record file that a recycled process id cannot fool."""

import hashlib
import json
import os
import select
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from collabspace.local.errors import LocalClusterError
from collabspace.local.files import write_whole

KILL_SECONDS = 10.0
TAIL_BYTES = 8192
# Ignored in Python (SIGPIPE) or perhaps in our caller (nohup); an ignored signal would be inherited.
DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


@dataclass(frozen=True)
class Record:
    """What is known of a started process. `start_time` is in clock ticks since the boot named by `boot`."""

    pid: int
    start_time: int
    boot: str
    command: str


class Process:
    """One process of the given name: record in `folder`/NAME.json, output appended to `logs`/NAME.log."""

    def __init__(self, name: str, folder: Path, logs: Path) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        self._file = folder / f"{name}.json"

    @property
    def pid(self) -> int | None:
        """Of the running process; None when it does not run."""
        record = self._record()
        return record.pid if record is not None and _is_alive(record) else None

    def runs(self, argv: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether it runs, and was started by exactly this command."""
        record = self._record()
        return record is not None and record.command == _digest(argv, environment) and _is_alive(record)

    def start(self, argv: Sequence[str], environment: Mapping[str, str], inherited: Mapping[str, str]) -> None:
        """Start it, whatever the caller's fate: own session, no terminal. Nothing happens when it runs already.

        It sees `inherited` and `environment`; a change of the latter makes `runs` false.
        Raises LocalClusterError when the program cannot be started.
        """
        if not self.wait(0):
            return
        if not sys.platform.startswith("linux"):
            raise LocalClusterError("the embedded cluster needs Linux; on other systems use kind and `make kind-up`")
        for folder in (self._file.parent, self.log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.log), write, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        seen = {**inherited, **environment}
        try:
            pid = os.posix_spawn(
                argv[0], list(argv), seen, file_actions=actions, setsid=True, setsigmask=(), setsigdef=DEFAULT_SIGNALS
            )
        except OSError as error:
            raise LocalClusterError(f"{self.name}: {argv[0]} cannot be started: {error.strerror}") from error
        stat = _stat(pid)  # there at least as a zombie: only we can reap it
        assert stat is not None  # noqa: S101
        record = Record(pid, stat.start_time, _boot(), _digest(argv, environment))
        write_whole(self._file, json.dumps(asdict(record)))

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the process, if it runs. Says whether it was sent."""
        with self._open() as descriptor:
            if descriptor is None:
                return False
            signal.pidfd_send_signal(descriptor, number)
            return True

    def wait(self, seconds: float) -> bool:
        """Wait until the process has ended, at most so long. Says whether it has."""
        with self._open() as descriptor:
            if descriptor is None:
                return True
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(seconds * 1000):
                return False
            _reap(descriptor)
            return True

    def stop(self, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL after the grace; returns when the process is gone and forgets it."""
        self.signal(signal.SIGTERM)
        if not self.wait(grace_seconds):
            self.kill()
        self._file.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when the process is gone."""
        self.signal(signal.SIGKILL)
        if not self.wait(KILL_SECONDS):
            raise LocalClusterError(f"{self.name}: process {self.pid} did not end {KILL_SECONDS:.0f} s after SIGKILL")

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return "(no log)"
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])

    def _record(self) -> Record | None:
        try:
            return Record(**json.loads(self._file.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise LocalClusterError(f"{self._file} is not a process record: {error}; delete it") from error

    @contextmanager
    def _open(self) -> Iterator[int | None]:
        """A descriptor of the process itself: what is done through it can hit no other, even when the id is reused."""
        record = self._record()
        if record is None:
            yield None
            return
        try:
            descriptor = os.pidfd_open(record.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield descriptor if _is_same(record, _stat(record.pid)) else None
        finally:
            os.close(descriptor)


def _reap(descriptor: int) -> None:
    """Take the exit status of a child of ours; another's child is reaped by its own parent."""
    try:
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return


@dataclass(frozen=True)
class _Stat:
    state: str
    start_time: int


def _stat(pid: int) -> _Stat | None:
    """From /proc: None when there is no such process. An ended one is there until its parent reaps it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the program's name before may hold spaces and brackets
    return _Stat(state=fields[0], start_time=int(fields[19]))


def _is_same(record: Record, stat: _Stat | None) -> bool:
    return stat is not None and record.boot == _boot() and stat.start_time == record.start_time


def _is_alive(record: Record) -> bool:
    stat = _stat(record.pid)
    return stat is not None and stat.state not in "ZX" and _is_same(record, stat)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _digest(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps([list(argv), sorted(environment.items())]).encode()).hexdigest()
