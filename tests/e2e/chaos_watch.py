"""Every change of one kind, as kubectl tells it: what the observer of the chaos tests goes by."""

import json
import subprocess
import threading
import time
from typing import Any

Object = dict[str, Any]


class Watch(threading.Thread):
    """Every change of one kind, in the order in which the API server told it."""

    def __init__(self, kubectl: list[str], kind: str, changed: threading.Condition) -> None:
        super().__init__(name=f"watch-{kind}", daemon=True)
        self.events: list[tuple[str, Object]] = []
        self.gone: dict[str, float] = {}
        """uid -> when it was told that the object is no more, in seconds since 1970."""
        self._changed = changed
        command = [*kubectl, "get", kind, "--all-namespaces", "--watch", "--output-watch-events", "--output=json"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            with self._changed:
                self.events.append((event["type"], event["object"]))
                if event["type"] == "DELETED":
                    self.gone[event["object"]["metadata"]["uid"]] = time.time()
                self._changed.notify_all()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def newest(self) -> dict[str, Object]:
        """uid -> object, of those that exist."""
        there: dict[str, Object] = {}
        for kind, item in list(self.events):
            there[item["metadata"]["uid"]] = item
            if kind == "DELETED":
                del there[item["metadata"]["uid"]]
        return there
