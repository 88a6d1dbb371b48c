"""The ruler of all lanes: the API server's own audit log, read while it grows, so that observing costs no requests."""

import asyncio
import datetime as dt
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

READS = frozenset({"get", "list", "watch"})
GROUP = "collabspace.io"
TIMEOUT = 504


@dataclass
class Ruler:
    """What was asked of the API server since `start`, times in seconds since 1970 with microseconds.

    Keys are (namespace, task name). `statuses` holds the time of each status write of a task, `ends` that at which its
    pod was reported over, `jobs` that at which its newest Job was there, `jobs_asked` that of the request for it.
    `calls` counts requests by (user, verb, resource, whether it succeeded), those for Leases and Events as well.
    """

    log: Path
    offset: int = 0
    asked: dict[tuple[str, str], float] = field(default_factory=dict)
    created: dict[tuple[str, str], float] = field(default_factory=dict)
    jobs_asked: dict[tuple[str, str], float] = field(default_factory=dict)
    jobs: dict[tuple[str, str], float] = field(default_factory=dict)
    pods: dict[tuple[str, str], float] = field(default_factory=dict)
    pod_statuses: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    calls: Counter[tuple[str, str, str, bool]] = field(default_factory=Counter)
    _rest: bytes = b""

    @classmethod
    def now(cls, log: Path) -> "Ruler":
        """Measures what comes from now on."""
        return cls(log, log.stat().st_size if log.exists() else 0)

    def read(self) -> None:
        """All that is new."""
        with self.log.open("rb") as log:
            log.seek(self.offset)
            data = log.read()
        self.offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(orjson.loads(line))

    async def until(self, good: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
        """Reads on until it holds. Ends the bench, saying what was reached, when that takes too long."""
        limit = asyncio.get_running_loop().time() + seconds
        while True:
            self.read()
            if good():
                return
            if asyncio.get_running_loop().time() > limit:
                raise SystemExit(f"not reached in {seconds:.0f} s: {what()}")
            await asyncio.sleep(0.2)  # a file of another program tells nobody

    def writes(self, user: str, *without: str) -> int:
        """Changes that the user made, but for those of these resources."""
        return sum(
            count
            for (who, verb, resource, good), count in self.calls.items()
            if who == user and verb not in READS and good and resource not in without
        )

    def task_writes(self, user: str) -> int:
        """Changes for tasks: neither Leases, tokens and Events, nor what datasets are told of their use."""
        return self.writes(user, "leases", "events", "serviceaccounts/token", "shareddatasets/status")

    def reads(self, user: str) -> int:
        """Requests of the user that read; a watch that is opened counts as one."""
        return sum(count for (who, verb, _, _), count in self.calls.items() if who == user and verb in READS)

    def _take(self, entry: dict[str, Any]) -> None:
        target = entry.get("objectRef") or {}
        resource, sub = target.get("resource", ""), target.get("subresource")
        verb, code = entry["verb"], entry.get("responseStatus", {}).get("code", 0)
        full = f"{resource}/{sub}" if sub else resource
        # Cut off when its client stopped waiting: it may have gone through, and what is made again is counted again.
        good = 200 <= code < 300 or code == TIMEOUT
        self.calls[entry["user"]["username"], verb, full, good] += 1
        if not good or verb in READS:
            return
        key = (target.get("namespace", ""), target.get("name", ""))
        done = seconds(entry["stageTimestamp"])
        if verb == "create" and full == "collabtasks":
            self.asked[key], self.created[key] = seconds(entry["requestReceivedTimestamp"]), done
        elif verb == "create" and full == "jobs":
            task = key[0], key[1].rpartition("-")[0]
            self.jobs_asked[task], self.jobs[task] = seconds(entry["requestReceivedTimestamp"]), done
        elif full == "collabtasks/status":
            self.statuses[key].append(done)
        elif full == "pods/binding":
            self.pods[_task_of(key)] = done
        elif full == "pods/status":
            self.pod_statuses[_task_of(key)].append(done)


def _task_of(pod: tuple[str, str]) -> tuple[str, str]:
    """Pods are named `<task>-<attempt>-<random>`."""
    return pod[0], pod[1].rsplit("-", 2)[0]


def seconds(moment: str) -> float:
    return dt.datetime.fromisoformat(moment).timestamp()


def percentile(values: Iterable[float], share: float) -> float:
    """Nearest rank."""
    ordered: Sequence[float] = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
