"""Processes without the seconds of processor time that Python takes to import them, thousands of times in a run.

`python fork_server.py FD MODULE` imports MODULE and waits; for each request on the socket FD it forks a process that
takes the environment it is told and goes on as `python -m MODULE` does. What comes of it is a process like any other:
it can be killed, frozen and thawed.
"""

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
import weakref
from pathlib import Path

PR_SET_PDEATHSIG = 1
MAX_REQUEST_BYTES = 1 << 16


class Forked:
    """As much of subprocess.Popen as can be had of a process that is not one's own child."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def fileno(self) -> int:
        """Becomes readable when the process has ended."""
        return self._descriptor

    def poll(self) -> int | None:
        """None while it runs. How it ended only its parent knows: 0 stands for any end."""
        return 0 if select.select([self._descriptor], [], [], 0)[0] else None

    def wait(self, timeout: float) -> None:
        """Raises subprocess.TimeoutExpired."""
        if not select.select([self._descriptor], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("a forked process", timeout)

    def send_signal(self, sign: signal.Signals) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, sign)


class ForkServer:
    """The process that is forked. It ends, and all that came of it, when its starter does."""

    def __init__(self, module: str) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno()), module]
            environment = {"PATH": os.environ["PATH"]}
            self._process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])

    def spawn(self, environment: dict[str, str], log: Path) -> Forked:
        """A process of the module that appends what it writes to `log`."""
        self._socket.send(json.dumps({"environment": environment, "log": str(log)}).encode())
        answer, descriptors, _, _ = socket.recv_fds(self._socket, 64, 1)
        return Forked(int(answer), descriptors[0])

    def close(self) -> None:
        self._socket.close()
        self._process.wait(30)


def serve(requests: socket.socket, module: str) -> None:
    """Until nobody can ask any more."""
    program = importlib.import_module(module)
    gc.collect()
    gc.freeze()
    while request := requests.recv(MAX_REQUEST_BYTES):
        pid = os.fork()
        if pid == 0:
            requests.close()
            _become(**json.loads(request))
            program.main()
            return
        # Its end is seen through the descriptor; it is not gone before the next fork at the earliest.
        descriptor = os.pidfd_open(pid)
        socket.send_fds(requests, [str(pid).encode()], [descriptor])
        os.close(descriptor)
        while _reaped(pid):
            pass


def _reaped(newest: int) -> bool:
    """Whether one of the older ones had ended. The newest is left, so that its number stays its own."""
    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None or found.si_pid == newest:
        return False
    os.waitpid(found.si_pid, 0)
    return True


def _become(environment: dict[str, str], log: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(environment)
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for standard in (1, 2):
        os.dup2(target, standard)
    os.close(target)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
