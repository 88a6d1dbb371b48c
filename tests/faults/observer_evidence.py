"""What the observer holds in hand when it judges: histories, the audit log, the ledger, the store, the journal.

Names of labels, fields and tables are spelled out here as the platform publishes them: no code is shared with it.
"""

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from watching import Change, Object

TASK_UID = "collabspace.io/task-uid"
ATTEMPT = "collabspace.io/attempt"
GPU_QUOTA = "collabspace.io/gpu-quota"
CPU_QUOTA = "collabspace.io/cpu-quota"
TEAM = "collabspace.io/team"
GPU = "nvidia.com/gpu"
RUN_VARIABLE = "COLLABSPACE_RUN"
OPERATOR = "system:serviceaccount:collabspace-system:collabspace-operator"
OVER = ("Succeeded", "Failed")
# Ends that a corrected spec can undo, so that the task is not over for good.
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One request to the API server that was answered, from its audit log. `agent` is the process that asked."""

    at: float
    user: str
    agent: str
    verb: str
    resource: str
    namespace: str
    name: str
    status: int
    allowed: bool

    @property
    def writes(self) -> bool:
        return self.verb not in ("get", "list", "watch") and self.resource != "serviceaccounts/token"


@dataclass(frozen=True)
class Process:
    """One trainer process, from the journal. `end` is None while it runs; steps are None where nothing was said.

    `resumed` is the step at which it went on, `offered` that of the newest checkpoint committed before it began.
    """

    task_uid: str
    attempt: int
    namespace: str
    pod: str
    start: float
    end: float | None = None
    exit_code: int | None = None
    rank: int = 0
    resumed: int | None = None

    @property
    def fence(self) -> tuple[str, int, int]:
        return self.task_uid, self.rank, self.attempt


@dataclass
class Evidence:
    """All that is known of some namespaces at the moment `now`. `rest`: since when nothing should change any more."""

    now: float
    store: Path
    namespaces: frozenset[str] = frozenset()
    changes: dict[str, list[Change]] = field(default_factory=dict)
    """By kind (tasks, jobs, pods, datasets, selections, events, spaces), in the order of revisions."""
    calls: list[Call] = field(default_factory=list)
    access: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    checkpoints: list[Row] = field(default_factory=list)
    """Every row that was ever seen, with `seen`, when that was first."""
    processes: list[Process] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """Logs and metrics by name."""
    canaries: frozenset[str] = frozenset()
    rest: float | None = None

    def history(self, kind: str) -> list[Change]:
        return self.changes.get(kind, [])

    def there(self, kind: str) -> dict[str, Object]:
        """uid -> object, of those that exist."""
        found: dict[str, Object] = {}
        for change in self.history(kind):
            if change.gone:
                found.pop(change.uid, None)
            else:
                found[change.uid] = change.object
        return found

    @cached_property
    def tasks(self) -> dict[str, Object]:
        return self.there("tasks")

    @cached_property
    def jobs(self) -> dict[str, Object]:
        return self.there("jobs")

    @cached_property
    def pods(self) -> dict[str, Object]:
        return self.there("pods")

    @cached_property
    def spaces(self) -> dict[str, Object]:
        """Name -> Namespace."""
        return {item["metadata"]["name"]: item for item in self.there("spaces").values()}

    @cached_property
    def datasets(self) -> dict[tuple[str, str], Object]:
        return {key_of(item): item for item in self.there("datasets").values()}

    def jobs_of(self, uid: str) -> list[Object]:
        return [job for job in self.jobs.values() if task_of(job) == uid]

    def pods_of(self, uid: str) -> list[Object]:
        return [pod for pod in self.pods.values() if task_of(pod) == uid]

    def alive(self, uid: str) -> list[Process]:
        return [one for one in self.processes if one.task_uid == uid and one.end is None]


def as_made(changes: list[Change]) -> list[Change]:
    """The same with the labels that each object was made with: who edits them makes it nobody else's."""
    first: dict[str, Object] = {}
    found = []
    for change in changes:
        meta = change.object["metadata"]
        labels = first.setdefault(change.uid, meta.get("labels") or {})
        if (meta.get("labels") or {}) != labels:
            change = replace(change, object={**change.object, "metadata": {**meta, "labels": labels}})
        found.append(change)
    return found


def without_orphans(changes: list[Change]) -> list[Change]:
    """Who takes a pod from its Job (`kubectl delete job --cascade=orphan`) has it: to the platform it is gone."""
    return [change if owners(change.object) else replace(change, gone=True) for change in changes]


def is_taken(evidence: Evidence, item: Object) -> bool:
    """Whether somebody took the Job from its task, or the pod from its Job, or the pod's Job from its task."""
    above = owners(item)
    return not above or any(uid in evidence.jobs and not owners(evidence.jobs[uid]) for uid in above)


def is_orphan(evidence: Evidence, one: Process) -> bool:
    """Whether the process runs in a pod that was taken."""
    pods = (change for change in reversed(evidence.history("pods")) if change.name == one.pod)
    last = next((change for change in pods if change.namespace == one.namespace), None)
    return last is not None and is_taken(evidence, last.object)


def key_of(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def where(item: Object) -> str:
    return "/".join(key_of(item))


def label(item: Object, name: str) -> str:
    return str((item["metadata"].get("labels") or {}).get(name, ""))


def task_of(item: Object) -> str:
    """uid of the task that a Job or pod belongs to; empty: of none."""
    return label(item, TASK_UID)


def attempt_of(item: Object) -> int:
    text = label(item, ATTEMPT)
    return int(text) if text.isdecimal() else 0


def owners(item: Object) -> list[str]:
    return [each["uid"] for each in item["metadata"].get("ownerReferences") or ()]


def status(item: Object) -> Object:
    found: Object = item.get("status") or {}
    return found


def condition(item: Object, kind: str) -> Object:
    found = (each for each in status(item).get("conditions") or () if each["type"] == kind)
    return next(found, {"status": "", "reason": ""})


def holds(item: Object, kind: str) -> bool:
    return bool(condition(item, kind)["status"] == "True")


def final(task: Object) -> tuple[str, str, str] | None:
    """How the task ended for good: status and reason of Succeeded, and the result. None while it has not."""
    if not status(task).get("completionTime") or not (holds(task, "Succeeded") or holds(task, "Stalled")):
        return None
    succeeded = condition(task, "Succeeded")
    return succeeded["status"], succeeded["reason"], str((status(task).get("result") or {}).get("digest", ""))


def finished(job: Object) -> bool:
    return holds(job, "Complete") or holds(job, "Failed")


def over(pod: Object) -> bool:
    return status(pod).get("phase") in OVER


def run_of(job: Object) -> Object:
    """The run document of a Job; empty when it has none that can be read."""
    containers = ((job.get("spec") or {}).get("template") or {}).get("spec", {}).get("containers") or ()
    for container in containers:
        for variable in container.get("env") or ():
            if variable["name"] == RUN_VARIABLE:
                try:
                    found: Object = json.loads(variable.get("value") or "{}")
                except ValueError:
                    return {}
                return found
    return {}


def seconds(text: str) -> float:
    """Since 1970, of an RFC 3339 time with up to nine digits of fraction."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    digits = fraction.partition("+")[0]
    return dt.datetime.fromisoformat(whole.partition("+")[0] + "+00:00").timestamp() + float(f"0.{digits or 0}")


def grouped(items: Iterable[Any], by: Any) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        found[by(item)].append(item)
    return found
