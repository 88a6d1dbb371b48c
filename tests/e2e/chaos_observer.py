"""What became of every task, from outside: this module shares no code with what it judges.

It reads the API server through kubectl (every change, by watches), the node's journal of processes, the files of the
store, and the ledger as a database; chains are verified by the auditor's command.
"""

import hashlib
import json
import sqlite3
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from chaos_watch import Object, Watch

TASK_UID = "collabspace.io/task-uid"
ATTEMPT = "collabspace.io/attempt"
GPU = "nvidia.com/gpu"
OVER = ("Succeeded", "Failed")
ORPHAN_SECONDS = 60.0


@dataclass(frozen=True)
class Process:
    """One trainer process, from the journal. `end` is None while it runs."""

    task_uid: str
    attempt: int
    namespace: str
    pod: str
    start: float
    end: float | None
    exit_code: int | None


@dataclass(frozen=True)
class Wanted:
    """The end that a task must come to: its reason, and whether a result belongs to it."""

    reason: str
    result: bool


@dataclass
class Observer:
    """Watches one cluster from before the first task. `quota` is GPUs by namespace."""

    kubectl: list[str]
    state: Path
    quota: dict[str, int]
    wanted: dict[tuple[str, str], Wanted] = field(default_factory=dict)
    deleted: dict[str, float] = field(default_factory=dict)
    """uid -> when its deletion was asked for, in seconds since 1970."""

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._tasks, self._pods, self._jobs = (
            Watch(self.kubectl, kind, self._changed) for kind in ("collabtasks.collabspace.io", "pods", "jobs")
        )
        self._watches = (self._tasks, self._pods, self._jobs)
        for watch in self._watches:
            watch.start()

    def close(self) -> None:
        for watch in self._watches:
            watch.close()

    def wait(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Until it holds, looked at after each change and once a second. Says whether it came to hold in time."""
        with self._changed:
            for _ in range(int(seconds)):
                if self._changed.wait_for(holds, 1):
                    return True
            return holds()

    def task(self, namespace: str, name: str) -> Object | None:
        found = (one for one in self._tasks.newest().values() if _key(one) == (namespace, name))
        return next(found, None)

    def uid(self, namespace: str, name: str) -> str | None:
        """Also of a task that is gone."""
        found = (one for _, one in list(self._tasks.events) if _key(one) == (namespace, name))
        return next((one["metadata"]["uid"] for one in found), None)

    def all_ended(self) -> bool:
        tasks = {_key(one): one for one in self._tasks.newest().values()}
        return all(key in tasks and _verdict(tasks[key]) is not None for key in self.wanted)

    def processes(self) -> list[Process]:
        starts: dict[tuple[str, ...], Object] = {}
        ends: dict[tuple[str, ...], Object] = {}
        for line in self._journal():
            if line["container"] == "trainer" and line["taskUid"]:
                (starts if line["event"] == "start" else ends)[_run(line)] = line
        found = []
        for run, start in starts.items():
            end = ends.get(run)
            found.append(
                Process(
                    start["taskUid"],
                    int(start["attempt"]),
                    start["namespace"],
                    start["pod"],
                    _seconds(start["at"]),
                    _seconds(end["at"]) if end is not None else None,
                    end["exitCode"] if end is not None else None,
                )
            )
        return found

    def violations(self) -> Iterator[str]:
        """What is not as it must be, one line each with its evidence, cheap looks first. Some only need time."""
        checks = (
            self._watches_lived,
            self._outcomes,
            self._ends_are_final,
            self._journal_is_whole,
            self._one_process_at_a_time,
            self._attempts,
            self._nothing_left,
            self._usage,
            self._quota_of_processes,
            self._quota_of_pods,
            self._chains,
        )
        for check in checks:
            yield from check()

    def _watches_lived(self) -> Iterator[str]:
        for watch in self._watches:
            if not watch.alive:
                yield f"observer: {watch.name} ended, so changes may have been missed"

    def _outcomes(self) -> Iterator[str]:
        for (namespace, name), wanted in self.wanted.items():
            task = self.task(namespace, name)
            if task is None:
                yield f"outcome: {namespace}/{name} is gone"
                continue
            status = task.get("status", {})
            verdict = _verdict(task)
            if verdict is None or verdict[1] != wanted.reason:
                yield f"outcome: {namespace}/{name} is {verdict}, must be {wanted.reason}; attempts {_story(status)}"
            elif status.get("reason") != wanted.reason:
                yield f"status: {namespace}/{name} has reason {status.get('reason')} beside condition {verdict}"
            elif wanted.result:
                yield from self._result(task)

    def _result(self, task: Object) -> Iterator[str]:
        uid, where = task["metadata"]["uid"], "/".join(_key(task))
        digest = task["status"].get("result", {}).get("digest", "")
        stored = self.state / "broker" / "store" / uid / "versions" / f"{digest.removeprefix('sha256:')}.json"
        if not stored.is_file():
            yield f"result: {where} claims {digest or 'none'}, which is not in the store"
        elif hashlib.sha256(stored.read_bytes()).hexdigest() != digest.removeprefix("sha256:"):
            yield f"result: {where}: the manifest in the store is not {digest}"
        rows = self._ledger("SELECT attempt, result FROM attempts WHERE task_uid = ? AND result IS NOT NULL", uid)
        if len([row for row in rows if digest and digest in row[1]]) != 1:
            yield f"result: {where}: the broker's record of {digest} is {rows}"

    def _ends_are_final(self) -> Iterator[str]:
        ended: dict[str, tuple[str, ...]] = {}
        for kind, task in list(self._tasks.events):
            verdict = _verdict(task)
            uid = task["metadata"]["uid"]
            if uid in ended and kind != "DELETED" and verdict != ended[uid]:
                yield f"final: {'/'.join(_key(task))} was {ended[uid]} and then {verdict}"
            if verdict is not None:
                ended[uid] = verdict

    def _journal_is_whole(self) -> Iterator[str]:
        count: dict[tuple[str, ...], int] = defaultdict(int)
        for line in self._journal():
            count[(*_run(line), line["event"])] += 1
        for run, times in count.items():
            if times > 1:
                yield f"journal: {run} stands there {times} times"
            if run[-1] == "end" and (*run[:-1], "start") not in count:
                yield f"journal: {run} without a start"

    def _one_process_at_a_time(self) -> Iterator[str]:
        by_attempt: dict[tuple[str, int], list[Process]] = defaultdict(list)
        for process in self.processes():
            by_attempt[process.task_uid, process.attempt].append(process)
        for fence, found in by_attempt.items():
            if len(found) > 1:
                yield f"fence: task {fence[0]} attempt {fence[1]} had {len(found)} processes: {found}"

    def overlaps(self) -> int:
        """How often an attempt began while a process of an older one still ran: allowed, the fence is for that."""
        found = sorted(self.processes(), key=lambda one: one.start)
        return sum(
            older.task_uid == newer.task_uid and (older.end is None or older.end > newer.start)
            for position, newer in enumerate(found)
            for older in found[:position]
        )

    def _attempts(self) -> Iterator[str]:
        jobs: dict[tuple[str, str], set[str]] = defaultdict(set)
        for _, job in list(self._jobs.events):
            labels = job["metadata"].get("labels", {})
            if TASK_UID in labels:
                jobs[labels[TASK_UID], labels[ATTEMPT]].add(job["metadata"]["uid"])
        for (uid, attempt), found in jobs.items():
            if len(found) > 1:
                yield f"attempts: task {uid} attempt {attempt} had {len(found)} Jobs"
        codes = {(one.task_uid, one.attempt): one.exit_code for one in self.processes() if one.end is not None}
        for task in self._tasks.newest().values():
            uid, where = task["metadata"]["uid"], "/".join(_key(task))
            attempts = task.get("status", {}).get("attempts", [])
            numbers = [one["number"] for one in attempts]
            if len(set(numbers)) < len(numbers):
                yield f"attempts: {where} has numbers {numbers}"
            for one in attempts:
                known = codes.get((uid, one["number"]))
                if known is not None and one.get("exitCode") is not None and one["exitCode"] != known:
                    yield f"status: {where} attempt {one['number']} ended with {known}, status says {one['exitCode']}"
            ran = {number for owner, number in codes if owner == uid}
            if _verdict(task) is not None and not ran <= set(numbers) and len(numbers) < 10:
                yield f"status: {where} has attempts {numbers}, processes ran for {sorted(ran)}"

    def _nothing_left(self) -> Iterator[str]:
        ended = {uid for uid, task in self._tasks.newest().items() if _verdict(task) is not None}
        for process in self.processes():
            if process.end is None and process.task_uid in ended | self.deleted.keys():
                yield f"orphan: process of {process.pod} runs, its task has ended or is gone"
        for watch, kind in ((self._jobs, "Job"), (self._pods, "pod")):
            for item in watch.newest().values():
                uid = item["metadata"].get("labels", {}).get(TASK_UID)
                if uid in self.deleted:
                    yield f"orphan: {kind} {'/'.join(_key(item))} of a deleted task"
                if kind == "pod" and uid in ended and item["status"].get("phase") not in OVER:
                    yield f"orphan: pod {'/'.join(_key(item))} lives, its task has ended"
        yield from self._gone_too_late()
        store = self.state / "broker" / "store"
        for uid in self.deleted:
            left = [str(path.relative_to(store)) for path in (store / uid).rglob("*") if path.is_file()]
            if left:
                yield f"orphan: {len(left)} files of deleted task {uid} in the store, such as {left[0]}"

    def _gone_too_late(self) -> Iterator[str]:
        """Processes, Jobs and pods of a deleted task that were still there when their time was over."""
        for process in self.processes():
            late = (process.end or 0.0) - self.deleted.get(process.task_uid, float("inf"))
            if late > ORPHAN_SECONDS:
                yield f"orphan: process of {process.pod} ended {late:.0f} s after the deletion of its task"
        for watch in (self._jobs, self._pods):
            for _, item in list(watch.events):
                meta = item["metadata"]
                deleted = self.deleted.get(meta.get("labels", {}).get(TASK_UID), float("inf"))
                late = watch.gone.get(meta["uid"], 0.0) - deleted
                if late > ORPHAN_SECONDS:
                    yield f"orphan: {'/'.join(_key(item))} went {late:.0f} s after the deletion of its task"
                    break

    def _chains(self) -> Iterator[str]:
        command = [sys.executable, "-m", "collabspace.broker.verify", f"sqlite:///{self._database}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            yield f"ledger: {done.stdout.strip()}"

    def _usage(self) -> Iterator[str]:
        rows = self._ledger(
            "SELECT task_uid, attempt, SUM(repeats) FROM access WHERE event = 'Used' GROUP BY task_uid, attempt"
        )
        used = {(uid, attempt): times for uid, attempt, times in rows}
        for (uid, attempt), times in used.items():
            if times != 1:
                yield f"usage: task {uid} attempt {attempt} stands in the ledger {times} times"
        there = self._tasks.newest()
        for process in self.processes():
            attempt = (process.task_uid, process.attempt)
            if process.end is not None and process.task_uid in there and attempt not in used:
                yield f"usage: {process.pod} ran and is not in the ledger"

    def _quota_of_processes(self) -> Iterator[str]:
        """Each trainer here has one GPU. An end at the instant of a start frees its place first."""
        changes = [(one.start, 1, one.namespace) for one in self.processes()]
        changes += [(one.end, -1, one.namespace) for one in self.processes() if one.end is not None]
        held: dict[str, int] = defaultdict(int)
        for moment, change, namespace in sorted(changes):
            held[namespace] += change
            if held[namespace] > self.quota[namespace]:
                yield f"quota: {held[namespace]} processes of {namespace} at {moment:.3f}"

    def _quota_of_pods(self) -> Iterator[str]:
        held: dict[str, dict[str, int]] = defaultdict(dict)
        for kind, pod in list(self._pods.events):
            namespace, uid = pod["metadata"]["namespace"], pod["metadata"]["uid"]
            if kind == "DELETED" or pod["status"].get("phase") in OVER:
                held[namespace].pop(uid, None)
            elif TASK_UID in pod["metadata"].get("labels", {}):
                limits = (one.get("resources", {}).get("limits", {}) for one in pod["spec"]["containers"])
                held[namespace][uid] = sum(int(limit.get(GPU, 0)) for limit in limits)
            if sum(held[namespace].values()) > self.quota.get(namespace, 0):
                yield f"quota: pods of {namespace} held {held[namespace]} GPUs, quota {self.quota.get(namespace, 0)}"

    @property
    def _database(self) -> Path:
        return self.state / "broker" / "ledger.db"

    def _ledger(self, query: str, *values: str) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(query, values).fetchall()

    def _journal(self) -> list[Object]:
        file = self.state / "node" / "journal.jsonl"
        if not file.exists():
            return []
        whole = file.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _run(line: Object) -> tuple[str, ...]:
    return line["pod"], line["uid"], line["container"], line["run"]


def _verdict(task: Object) -> tuple[str, ...] | None:
    """How the task ended: status and reason of Succeeded, and the result. None while it has not."""
    status = task.get("status", {})
    conditions = {one["type"]: one for one in status.get("conditions", [])}
    succeeded = conditions.get("Succeeded", {})
    stalled = conditions.get("Stalled", {}).get("status") == "True"
    if succeeded.get("status") != "True" and not stalled:
        return None
    return succeeded.get("status", ""), succeeded.get("reason", ""), status.get("result", {}).get("digest", "")


def _story(status: Object) -> list[str]:
    return [
        f"{one['number']}:{one.get('outcome')}/{one.get('reason')}/{one.get('exitCode')}"
        for one in status.get("attempts", [])
    ]


def _seconds(moment: str) -> float:
    """Seconds since 1970 of an RFC 3339 time with up to nine digits of fraction."""
    whole, _, fraction = moment.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
