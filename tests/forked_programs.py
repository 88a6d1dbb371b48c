"""Programs without the seconds of processor time that Python takes to import them, dozens of times in a run and more.

`python forked_programs.py FD MODULE...` imports the modules and waits; for each request on the socket FD it forks a
process that takes the environment it is told and goes on as `python -m MODULE` does with the first of them. What comes
of it is a process like any other: it can be killed, frozen and thawed, and its exit code is known.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from pathlib import Path

PR_SET_PDEATHSIG = 1
MAX_REQUEST_BYTES = 1 << 16


class Forked:
    """As much of subprocess.Popen as can be had of a process that is not one's own child."""

    def __init__(self, pid: int, descriptor: int, end: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._descriptor = descriptor
        self._end = end
        self._reading = threading.Lock()
        for each in (descriptor, end):
            weakref.finalize(self, os.close, each)

    def fileno(self) -> int:
        """Becomes readable when the process has ended."""
        return self._end

    def poll(self) -> int | None:
        """The exit code, less than 0 for a signal; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """The same when it has ended. Raises subprocess.TimeoutExpired."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return code

    def send_signal(self, sign: signal.Signals) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, sign)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._end], [], [], timeout)[0]:
            with self._reading:  # it is told once, and any thread may ask
                if self.returncode is None:
                    self.returncode = int(os.read(self._end, 16))
        return self.returncode


class ForkServer:
    """The process that is forked. It ends, and all that came of it, when its starter does. `warnings` is what Python
    is to do with warnings, which it asks once, when it starts."""

    def __init__(self, *modules: str, warnings: str = "") -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno()), *modules]
            environment = {"PATH": os.environ["PATH"], "PYTHONWARNINGS": warnings}
            self._process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])

    def spawn(self, environment: dict[str, str], log: Path) -> Forked:
        """A process of the first module that appends what it writes to `log`."""
        self._socket.send(json.dumps({"environment": environment, "log": str(log)}).encode())
        answer, descriptors, _, _ = socket.recv_fds(self._socket, 64, 2)
        return Forked(int(answer), *descriptors)

    def close(self) -> None:
        self._socket.close()
        self._process.wait(30)


def serve(requests: socket.socket, modules: list[str]) -> None:
    """Until nobody can ask any more. The end of each process is told through a pipe, as only its parent knows it."""
    program, *_ = [importlib.import_module(each) for each in modules]
    gc.collect()
    gc.freeze()
    children: dict[int, tuple[int, int]] = {}
    while True:
        ready = select.select([requests, *children], [], [])[0]
        for descriptor in [each for each in ready if each in children]:
            _tell(*children.pop(descriptor))
            os.close(descriptor)
        if requests in ready:
            request = requests.recv(MAX_REQUEST_BYTES)
            if not request:
                return
            told, end = os.pipe()
            pid = os.fork()
            if pid == 0:
                requests.close()
                _become(**json.loads(request))
                program.main()
                return
            descriptor = os.pidfd_open(pid)
            children[descriptor] = (pid, end)
            socket.send_fds(requests, [str(pid).encode()], [descriptor, told])
            os.close(told)


def _tell(pid: int, end: int) -> None:
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):  # nobody cares any more
        os.write(end, str(os.waitstatus_to_exitcode(status)).encode())
    os.close(end)


def _become(environment: dict[str, str], log: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(environment)
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for standard in (1, 2):
        os.dup2(target, standard)
    os.close(target)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
