"""The parent of one container's processes. It outlives the node agent, so that a killed agent still learns the end.

Run as a plain file by `python -I -S` with a JSON document on stdin (`container.py` writes it): standard library only,
nothing of collabspace. In its folder it leaves `shim.json` (who it is; written before anything starts, and a second
shim that finds it does nothing), `process.json` (what it started), `log`, `log.1` and `exit.json` (how it ended).
SIGTERM is passed on to the process group, SIGUSR1 kills everything. No descendant outlives the main process.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import signal
import sys
import time
from typing import Any

LINE_BYTES = 16 * 1024
READ_BYTES = 64 * 1024
WATCH_SECONDS = 0.5
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
KILL_SIGNAL = signal.SIGUSR1


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, as container runtimes write it into logs."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def write_whole(path: str, document: dict[str, Any]) -> None:
    """The file appears complete or not at all, also after a power cut."""
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, json.dumps(document).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(path + ".new", path)  # noqa: PTH105 pathlib would double the start-up time of every container


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot: with the pid it names a process for good."""
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 as above
        return int(file.read().rpartition(b")")[2].split()[19])


def children(pid: int) -> list[int]:
    """Direct children; empty when the process is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 as above
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123 as above
                found += map(int, file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found


def descendants(pid: int) -> list[int]:
    found = children(pid)
    for child in found:
        found += children(child)  # the list grows while it is walked: breadth first
    return found


def memory_bytes(pids: list[int], *, shared_once: bool) -> int:
    """Memory that cannot be dropped under pressure (anonymous and shared), as a cgroup would count it against a limit.

    With `shared_once` pages shared between forked processes count once: exact, but costs milliseconds per process.
    """
    name, fields = (
        ("smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:")) if shared_once else ("status", (b"RssAnon:", b"RssShmem:"))
    )
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123
            total += sum(int(line.split()[1]) for line in file if line.startswith(fields)) * 1024
    return total


class Log:
    """Lines `<time> <stream> <P|F> <text>`: the format that kubelets read. One older file is kept, for bounded disk."""

    def __init__(self, path: str, max_bytes: int) -> None:
        self._path, self._half = path, max_bytes // 2
        self._descriptor = self._open()
        self._written = 0
        self._rest = {"stdout": b"", "stderr": b""}

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def feed(self, stream: str, data: bytes) -> None:
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        for line in lines:
            self._line(stream, line, b"F")
        while len(rest) >= LINE_BYTES:
            self._piece(stream, rest[:LINE_BYTES], b"P")
            rest = rest[LINE_BYTES:]
        self._rest[stream] = rest

    def close(self) -> None:
        for stream, rest in self._rest.items():
            if rest:
                self._line(stream, rest, b"P")
        os.close(self._descriptor)

    def _line(self, stream: str, line: bytes, tag: bytes) -> None:
        while len(line) > LINE_BYTES:
            self._piece(stream, line[:LINE_BYTES], b"P")
            line = line[LINE_BYTES:]
        self._piece(stream, line, tag)

    def _piece(self, stream: str, text: bytes, tag: bytes) -> None:
        if self._written > self._half:
            os.close(self._descriptor)
            os.replace(self._path, self._path + ".1")  # noqa: PTH105 as above
            self._descriptor, self._written = self._open(), 0
        record = b"%s %s %s %s\n" % (timestamp(time.time_ns()).encode(), stream.encode(), tag, text)
        try:
            self._written += os.write(self._descriptor, record)
        except OSError as error:  # a full disk costs log lines, not the training run
            print(f"log line of {len(text)} bytes lost: {error}", file=sys.stderr, flush=True)  # noqa: T201 it goes to shim.err


class Shim:
    """Starts the process and sees it to its end; `run` returns after `exit.json` is written."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._folder: str = document["folder"]
        self._limit: int = document["memoryLimitBytes"] or 0
        self._selector = selectors.DefaultSelector()
        self._log = Log(f"{self._folder}/log", document["logBytes"])
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, "signal")
        self._pid = 0
        self._ended: int | None = None
        self._oom = False
        self._told = False
        self._started = ""

    def run(self, ready: int) -> None:
        signal.set_wakeup_fd(self._wake_write)
        for number in (signal.SIGCHLD, signal.SIGTERM, KILL_SIGNAL):
            signal.signal(number, self._on_signal)
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        self._started = timestamp(time.time_ns())
        error = self._start()
        if error is None:
            # The agent starts us with these blocked, so that none is lost (or kills us) before the handlers stand.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, KILL_SIGNAL})
            with contextlib.suppress(BrokenPipeError):  # the agent was killed meanwhile; its successor looks for itself
                os.write(ready, b"1")
            os.close(ready)
            self._watch()
            self._finish()
        else:
            self._write_exit(128, None, "StartError", error)

    def _start(self) -> str | None:
        """Forks and executes. Returns what went wrong, or None once the program runs."""
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        failure_read, failure_write = os.pipe()
        go_read, go_write = os.pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(go_write)
            _become(self._document, (out_write, err_write), (go_read, failure_write), parent)
        for descriptor in (out_write, err_write, failure_write, go_read):
            os.close(descriptor)
        # What runs is known before it runs: whenever we are killed, the agent can find and end its descendants.
        identity = {"pid": self._pid, "startTicks": start_ticks(self._pid), "startedAt": self._started}
        write_whole(f"{self._folder}/process.json", {**self._document["record"], **identity})
        os.write(go_write, b"1")
        os.close(go_write)
        with os.fdopen(failure_read, "rb") as pipe:
            failure = pipe.read()
        if failure:
            os.waitpid(self._pid, 0)
            return failure.decode(errors="replace")
        self._journal("start", {**identity, "at": self._started})
        for descriptor, stream in ((out_read, "stdout"), (err_read, "stderr")):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, stream)
        return None

    def _watch(self) -> None:
        """Until the main process has ended."""
        due = time.monotonic() + WATCH_SECONDS
        self._reap()
        while self._ended is None:
            timeout = max(0.0, due - time.monotonic()) if self._limit else None
            self._turn(timeout)
            if self._limit and time.monotonic() >= due:
                self._check_memory()
                due = time.monotonic() + WATCH_SECONDS

    def _turn(self, timeout: float | None) -> bool:
        """Moves what is there into the log. Says whether any pipe had bytes."""
        moved = False
        for key, _ in self._selector.select(timeout):
            try:
                data = os.read(key.fd, READ_BYTES)
            except BlockingIOError:
                continue
            if key.data == "signal":
                self._reap()
            elif data:
                self._log.feed(key.data, data)
                moved = True
            else:
                self._selector.unregister(key.fd)
                os.close(key.fd)
        return moved

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._ended is not None:
            return
        if number == signal.SIGTERM and not self._told:
            self._told = True  # agents may come and go and each send one; to many programs a second means `now!`
            self._signal_group(signal.SIGTERM)
        elif number == KILL_SIGNAL:
            self._signal_group(signal.SIGKILL)
            self._kill_descendants()

    def _signal_group(self, number: signal.Signals) -> None:
        """Safe from recycled ids: the leader is our child and not yet reaped."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, number)

    def _kill_descendants(self) -> None:
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> bool:
        """Collects ended children, adopted ones too. Says whether any child is left."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self._pid:
                    self._ended = status
        return False

    def _check_memory(self) -> None:
        pids = descendants(os.getpid())
        if memory_bytes(pids, shared_once=False) > self._limit and memory_bytes(pids, shared_once=True) > self._limit:
            self._oom = True
            self._signal_group(signal.SIGKILL)
            self._kill_descendants()

    def _finish(self) -> None:
        while self._reap():
            self._kill_descendants()
            self._turn(0.01)  # wakes at once when a child ends; the pause bounds the wait for one that was just forked
        while self._turn(0):
            pass
        self._log.close()
        number = os.waitstatus_to_exitcode(self._ended if self._ended is not None else 0)
        code = number if number >= 0 else 128 - number
        reason = "OOMKilled" if self._oom else "Completed" if code == 0 else "Error"
        message = ""
        if self._oom:
            message = f"memory above the limit of {self._limit} bytes; raise resources.limits.memory"
        self._write_exit(code, -number if number < 0 else None, reason, message)

    def _write_exit(self, code: int, number: int | None, reason: str, message: str) -> None:
        ended = {"exitCode": code, "signal": number, "reason": reason, "message": message}
        finished = timestamp(time.time_ns())
        if reason != "StartError":
            self._journal("end", {"pid": self._pid, "exitCode": code, "reason": reason, "at": finished})
        write_whole(f"{self._folder}/exit.json", ended | {"startedAt": self._started, "finishedAt": finished})

    def _journal(self, event: str, fields: dict[str, Any]) -> None:
        """One append per line: shims of many containers share the file."""
        line = json.dumps({"event": event, **self._document["record"], **fields}).encode() + b"\n"
        descriptor = os.open(self._document["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def _become(document: dict[str, Any], output: tuple[int, int], control: tuple[int, int], parent: int) -> None:
    """In the child: waits for the word, turns into the program, or reports why not and exits. Never returns."""
    go, failure = control
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(137)
        if not os.read(go, 1):
            os._exit(137)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output[0], 1)
        os.dup2(output[1], 2)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, KILL_SIGNAL, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.umask(0o022)
        os.chdir(document["workingDir"])
        os.execve(document["argv"][0], document["argv"], document["env"])  # noqa: S606 no shell is the point
    except BaseException as error:  # whatever it is, the parent must hear of it and this copy must not live on
        os.write(failure, f"cannot start {document['argv'][0]}: {type(error).__name__}: {error}".encode()[:1024])
    os._exit(128)


def _is_at(descriptor: int, path: str) -> bool:
    """Whether the open file still lies there: an agent that took this start for a failed one has removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116 as above
    except FileNotFoundError:
        return False


def main() -> None:
    """The document comes on stdin; the argument is the descriptor on which to say that the program runs."""
    ready = int(sys.argv[1])
    os.set_inheritable(ready, False)
    document: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    folder: str = document["folder"]
    lock = os.open(f"{folder}/lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if not _is_at(lock, f"{folder}/lock") or os.path.exists(f"{folder}/shim.json"):  # noqa: PTH110 as above
        return
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    write_whole(f"{folder}/shim.json", {"pid": os.getpid(), "startTicks": start_ticks(os.getpid())})
    Shim(document).run(ready)


if __name__ == "__main__":
    main()
