"""The process journal: one JSON line for each start and end. It is the ground truth of what ran, whoever was alive.

Shims write it themselves (`shim.py`), so it has no gaps while the agent is dead; the agent adds only the end of a
container whose shim was killed.
"""

import os
from pathlib import Path
from typing import Any

import orjson

from collabspace.kube import clock


class Journal:
    """`path` is an absolute file name; lines are appended whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lost(self, process: dict[str, Any]) -> None:
        """The end of a process whose shim was killed; `process` is what the shim wrote down at its start."""
        end = {**process, "event": "end", "exitCode": None, "reason": "Lost", "at": clock.rfc3339(clock.now())}
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, orjson.dumps(end) + b"\n")
        finally:
            os.close(descriptor)
