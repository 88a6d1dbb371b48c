"""Commands of the trainer without the seconds of processor time that importing their libraries takes, dozens of times.

One process imports them, on one thread, and is forked for each command, which then takes its environment and goes on as
`python -m collabspace_trainer.cli` does.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.forkserver import ensure_running
from pathlib import Path

from collabspace_trainer.runtime import THREAD_VARIABLES

# A thread of Arrow's memory allocator would not survive a fork, but be waited for.
ALONE = {**dict.fromkeys(THREAD_VARIABLES, "1"), "JE_ARROW_MALLOC_CONF": "background_thread:false"}
IMPORTED = [
    "pytest",  # multiprocessing looks into the script of its starter
    "torch",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "transformers.models.bert.modeling_bert",
    "pyarrow.parquet",
    "collabspace_trainer.commands",
    "collabspace_trainer.lifecycle",
    "collabspace_trainer.methods.encoder",
]


class Forked:
    """As much of subprocess.Popen as the tests need; what it writes to stderr goes into the file `errors`."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], errors: Path) -> None:
        context = _context(environment)
        reader, writer = context.Pipe(duplex=False)
        self._errors = errors
        self._process = context.Process(
            target=_become, args=(arguments, dict(environment), errors, writer), daemon=True
        )
        self._process.start()
        writer.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()))
        reader.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, sign: signal.Signals) -> None:
        if self._process.is_alive():
            os.kill(self.pid, sign)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> None:
        """Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.is_alive():
            raise subprocess.TimeoutExpired("collabspace-trainer", timeout or 0)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it says to its end, which comes by force after `timeout` seconds."""
        timer = threading.Timer(timeout, self.kill)
        timer.start()
        with self.stdout:
            said = self.stdout.read()
        timer.cancel()
        self.wait()
        return said, self._errors.read_text()


def _context(environment: Mapping[str, str]) -> "multiprocessing.context.ForkServerContext":
    """With the template running, which finds the number of threads where libraries look for it: in its environment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    before = dict(os.environ)
    os.environ.update({**environment, **ALONE})
    try:
        ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _become(arguments: Sequence[str], environment: Mapping[str, str], errors: Path, output: Connection) -> None:
    os.environ.clear()
    os.environ.update({**environment, **ALONE})
    tempfile.tempdir = None
    os.dup2(output.fileno(), 1)
    with errors.open("w") as file:
        os.dup2(file.fileno(), 2)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w")
    output.close()
    from collabspace_trainer import cli

    sys.argv = ["collabspace-trainer", *arguments]
    try:
        cli.main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
