"""The process journal: one JSON line for each start and end. It is the ground truth of what ran, whoever was alive.

Shims write it themselves (`shim.py`), so it has no gaps while the agent is dead; the agent adds only what a killed
shim could not write any more.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from collabspace.kube import clock

LOST = "Lost"
_RUN = ("uid", "container", "run")


class Journal:
    """`path` is an absolute file name; lines are appended whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def complete(self, process: dict[str, Any]) -> dict[str, Any]:
        """The end of a process whose shim was killed: as that one wrote it, else as lost, each line once for ever.

        `process` is what the shim wrote down before the process ran.
        """
        lines = {line["event"]: line for line in self._lines() if all(line[key] == process[key] for key in _RUN)}
        if "start" not in lines:
            self._append({**process, "event": "start", "at": process["startedAt"]})
        if "end" not in lines:
            now = clock.rfc3339(clock.now())
            lines["end"] = {**process, "event": "end", "exitCode": None, "reason": LOST, "at": now}
            self._append(lines["end"])
        return lines["end"]

    def _lines(self) -> Iterator[dict[str, Any]]:
        if self.path.exists():
            with self.path.open("rb") as file:
                for line in file:
                    with contextlib.suppress(orjson.JSONDecodeError):  # cut off by a full disk
                        yield orjson.loads(line)

    def _append(self, line: dict[str, Any]) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, orjson.dumps(line) + b"\n")
        finally:
            os.close(descriptor)
