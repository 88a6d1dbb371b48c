"""The command line run against a real API server as a person would run it, and tasks in any state to ask about."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from collabspace.api import names
from collabspace.api.conditions import TASK_CONDITIONS
from collabspace.cli.cluster import path_of
from collabspace.cli.main import root
from collabspace.kube.client import KubeClient, Object

PROGRAM = Path(sys.executable).with_name("collabspace")
SINCE = "2026-01-01T00:00:00Z"
SECONDS = 60
CONLL = "\n".join(
    f"patient O\nwith O\nflu{n % 5} B-Disease\nfever I-Disease\ntook O\npill{n} B-Drug\n" for n in range(120)
)


@dataclass(frozen=True)
class Person:
    """Somebody with a kubeconfig, at a shell."""

    kubeconfig: Path

    async def collab(self, *words: str, stdin: str | None = None) -> Result:
        """Runs the command line in a thread of this process; stdout and stderr are no terminal."""
        arguments = [*words, "--kubeconfig", str(self.kubeconfig)]
        runner = CliRunner()
        return await asyncio.to_thread(lambda: runner.invoke(root, arguments, prog_name="kubectl collab", input=stdin))

    async def did(self, *words: str, stdin: str | None = None) -> Result:
        """The same for what must succeed."""
        result = await self.collab(*words, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result

    @asynccontextmanager
    async def process(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A process of its own, its output piped; it is gone at the end."""
        # In the background of a shell Ctrl-C is ignored, also by what is started there: it would be here.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pipe = subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            PROGRAM, *words, env=self.environment(), stdout=pipe, stderr=pipe
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    def on_terminal(self, *words: str, columns: int = 100, **environment: str) -> str:
        """What a person sees on a terminal of that width."""
        reader, writer = pty.openpty()
        shown = {**self.environment(), "TERM": "xterm-256color", "COLUMNS": str(columns), **environment}
        with subprocess.Popen([PROGRAM, *words], env=shown, stdin=writer, stdout=writer, stderr=writer) as process:
            os.close(writer)
            seen = b""
            while chunk := _read(reader):
                seen += chunk
            os.close(reader)
            assert process.wait(SECONDS) == 0, seen.decode()
        return seen.decode()

    def environment(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": os.environ["PATH"], "HOME": str(self.kubeconfig.parent)}


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO: the other end of the terminal was closed, which is how its output ends on Linux
        return b""


def fresh(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def dataset_body(namespace: str, name: str = "notes") -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SharedDataset",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"format": "TokenClassification"},
    }


def task_body(namespace: str, name: str, owner: str, *, gpus: int = 1) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "CollabTask",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "task": "TokenClassification",
            "method": "FullFineTuning",
            "datasets": [{"name": "notes", "datasetRef": {"namespace": owner, "name": "notes"}, "role": "Train"}],
            "initialization": "Random",
            "resourcesPerNode": {"nvidia.com/gpu": str(gpus)},
        },
    }


async def make_task(admin: KubeClient, namespace: str, name: str, owner: str = "hospital", *, gpus: int = 1) -> Object:
    body = task_body(namespace, name, owner, gpus=gpus)
    return await admin.create(path_of(names.COLLAB_TASKS, namespace), body)


def _is_behind(kind: str, conditions: dict[str, str]) -> bool:
    return conditions.get(kind) == "True" and kind not in ("Running", "Succeeded", "Stalled")


async def set_state(
    admin: KubeClient, namespace: str, name: str, reason: str, message: str = "", **conditions: str
) -> None:
    """Writes the status as the operator would; `conditions` not named are Unknown, and the reason is theirs."""
    written: list[dict[str, Any]] = [
        {
            "type": str(kind),
            "status": conditions.get(kind, "Unknown"),
            **({"reason": "Valid"} if _is_behind(kind, conditions) else {"reason": reason, "message": message}),
            "lastTransitionTime": SINCE,
        }
        for kind in TASK_CONDITIONS
    ]
    path = path_of(names.COLLAB_TASKS, namespace, name) + "/status"
    await admin.merge(path, {"status": {"reason": reason, "conditions": written}})


async def set_attempts(admin: KubeClient, namespace: str, name: str, *attempts: dict[str, Any]) -> None:
    """Writes status.attempts, whose numbers are their places."""
    entries = [{"number": number, **each} for number, each in enumerate(attempts, 1)]
    await admin.merge(path_of(names.COLLAB_TASKS, namespace, name) + "/status", {"status": {"attempts": entries}})


async def reached(process: asyncio.subprocess.Process, word: str) -> list[str]:
    """The lines up to the first that holds the word."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(SECONDS):
        while line := (await process.stdout.readline()).decode():
            lines.append(line.rstrip())
            if word in line:
                return lines
    raise AssertionError(f"{word} never came: {lines}")
