"""A small history in which every invariant holds, told in the words of the API: tests break it in one place each."""

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from observer_evidence import Call, Evidence, Process
from observer_ledger import GENESIS, OUTSIDE
from watching import Change, Object

NOW = 1_000_000_000.0
UID = "uid-of-task"
DATASET = "uid-of-table"
TEAM_UID = "uid-of-team"
LEADER = "one_1"
SYSTEM = "collabspace-system"
FILE = b"weights"


def at(second: float) -> str:
    return dt.datetime.fromtimestamp(NOW + second, dt.UTC).isoformat().replace("+00:00", "Z")


@dataclass
class World:
    """Grows in the order in which things happen; `evidence` is what an observer would hold of it."""

    store: Path
    changes: dict[str, list[Change]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    access: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    canaries: set[str] = field(default_factory=set)
    rest: float | None = NOW + 50
    now: float = NOW + 60
    revision: int = 0

    def evidence(self) -> Evidence:
        return Evidence(
            self.now,
            self.store,
            frozenset(("team", "owner")),
            self.changes,
            self.calls,
            self.access,
            self.attempts,
            self.checkpoints,
            self.processes,
            self.texts,
            frozenset(self.canaries),
            self.rest,
        )

    def tell(self, kind: str, item: Object, second: float = 0.0, *, gone: bool = False) -> None:
        self.revision += 1
        self.changes.setdefault(kind, []).append(
            Change(NOW + second, self.revision, gone, json.loads(json.dumps(item)))
        )

    def newest(self, kind: str, name: str) -> Object:
        found = [change.object for change in self.changes[kind] if change.name == name]
        copy: Object = json.loads(json.dumps(found[-1]))
        return copy

    def change(self, kind: str, name: str, edit: Callable[[Object], None], second: float = 55.0) -> None:
        item = self.newest(kind, name)
        edit(item)
        self.tell(kind, item, second)

    def gone(self, kind: str, name: str, second: float = 55.0) -> None:
        self.tell(kind, self.newest(kind, name), second, gone=True)

    def put(self, owner: str, content: bytes) -> str:
        """A version whose one file has this content; its digest."""
        blob = hashlib.sha256(content).hexdigest()
        manifest = json.dumps({"files": [{"path": "model", "sha256": blob}]}).encode()
        digest = hashlib.sha256(manifest).hexdigest()
        for folder, name, body in (("blobs", blob, content), ("versions", f"{digest}.json", manifest)):
            (self.store / owner / folder).mkdir(parents=True, exist_ok=True)
            (self.store / owner / folder / name).write_bytes(body)
        return f"sha256:{digest}"

    def record(self, second: float, event: str, **said: Any) -> dict[str, Any]:
        """A sealed record of the ledger."""
        chain = said.get("dataset_uid") or "decisions"
        before = [row for row in self.access if row["chain"] == chain]
        known = {"task_uid": None, "attempt": None, "dataset_uid": None, "owner": None, "use": None, "version": None}
        known |= {"dataset": None, "grant": None, "purpose": None, "session": None, "gpu_seconds": None}
        row = known | {
            "cpu_seconds": None,
            "reason": "Granted",
            "namespace": "team",
            "decision": "Allowed",
            "repeats": 1,
        }
        row |= {"time": at(second), "event": event, "chain": chain, "position": len(before) + 1, **said}
        row |= {"previous": before[-1]["hash"] if before else GENESIS, "sequence": len(self.access) + 1}
        return self.sealed(row)

    def sealed(self, row: dict[str, Any]) -> dict[str, Any]:
        content = {name: value for name, value in row.items() if name not in OUTSIDE and value is not None}
        text = json.dumps([row["position"], row["previous"], content], sort_keys=True, separators=(",", ":"))
        row["hash"] = hashlib.sha256(text.encode()).hexdigest()
        self.access.append(row)
        return row

    def chains(self) -> list[dict[str, Any]]:
        newest = {row["chain"]: row for row in self.access}
        return [{"chain": name, "records": row["position"], "head": row["hash"]} for name, row in newest.items()]

    def call(self, second: float, verb: str, resource: str, **said: Any) -> None:
        known = {
            "user": "operator",
            "agent": LEADER,
            "namespace": "team",
            "name": "task",
            "status": 200,
            "allowed": True,
        }
        self.calls.append(Call(**{"at": NOW + second, "verb": verb, "resource": resource, **known, **said}))


def meta(name: str, uid: str, namespace: str = "team", **more: Any) -> Object:
    return {"name": name, "uid": uid, "namespace": namespace, "generation": 1, **more}


def condition(kind: str, status: str, reason: str, message: str = "") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def space(name: str, uid: str, gpus: str = "1") -> Object:
    notes = {"collabspace.io/gpu-quota": gpus}
    return {"metadata": {"name": name, "uid": uid, "labels": {"collabspace.io/team": "true"}, "annotations": notes}}


def dataset(digest: str) -> Object:
    grant = {"name": "g", "namespace": "team", "namespaceUID": TEAM_UID, "uses": ["Train"], "notAfter": at(3600)}
    ready = condition("Ready", "True", "VersionAvailable")
    status = {"observedGeneration": 1, "versions": [{"digest": digest}], "conditions": [ready]}
    return {"metadata": meta("table", DATASET, "owner"), "spec": {"grants": [grant]}, "status": status}


def task(name: str = "task", uid: str = UID, gpus: int = 1) -> Object:
    reference = {"name": "t", "datasetRef": {"namespace": "owner", "name": "table"}}
    spec = {"datasets": [reference], "resourcesPerNode": {"cpu": "1", "nvidia.com/gpu": str(gpus)}}
    return {"metadata": meta(name, uid), "spec": spec}


def waiting(name: str, uid: str, reason: str, message: str = "", gpus: int = 1) -> Object:
    item = task(name, uid, gpus)
    conditions = [condition("Admitted", "False", reason, message), condition("Stalled", "False", "Healthy")]
    item["status"] = {"observedGeneration": 1, "reason": reason, "conditions": conditions}
    return item


def job(digest: str, task_name: str = "task", uid: str = UID, attempt: int = 1) -> Object:
    labels = {"collabspace.io/task-uid": uid, "collabspace.io/attempt": str(attempt)}
    run = {"task": {"uid": uid}, "training": {"datasets": [{"name": "t", "uid": DATASET, "digest": digest}]}}
    limits = {"nvidia.com/gpu": "1", "cpu": "1"}
    variable = {"name": "COLLABSPACE_RUN", "value": json.dumps(run)}
    template = {"containers": [{"env": [variable], "resources": {"limits": limits}}]}
    owner = {"kind": "CollabTask", "uid": uid}
    named = meta(f"{task_name}-{attempt}", f"uid-of-{task_name}-{attempt}", labels=labels, ownerReferences=[owner])
    return {"metadata": named, "spec": {"template": {"spec": template}}, "status": {}}


def pod(of: Object, phase: str) -> Object:
    labels = of["metadata"]["labels"]
    named = meta(of["metadata"]["name"] + "-pod", "pod-" + of["metadata"]["uid"], labels=labels)
    named["ownerReferences"] = [{"kind": "Job", "uid": of["metadata"]["uid"]}]
    return {"metadata": named, "spec": of["spec"]["template"]["spec"], "status": {"phase": phase}}


def good(store: Path) -> World:
    """A task of a team with one GPU that read, trained and succeeded."""
    world = World(store)
    data = world.put(DATASET, b"rows")
    world.tell("spaces", space("team", TEAM_UID))
    world.tell("spaces", space("owner", "uid-of-owner"))
    world.tell("datasets", dataset(data))
    world.tell("tasks", task())
    world.call(0.5, "update", "leases", namespace=SYSTEM, name="collabspace-operator")
    made = job(data)
    world.call(1, "create", "jobs", name="task-1")
    world.tell("jobs", made, 1)
    world.tell("pods", pod(made, "Running"), 2)
    world.processes.append(Process(UID, 1, "team", "task-1-pod", NOW + 2, NOW + 9, 0))
    said = {"task_uid": UID, "attempt": 1}
    reading = {"owner": "owner", "dataset": "table", "dataset_uid": DATASET, "grant": "g", "use": "Train"}
    world.record(3, "Opened", session="s", **said, **reading)
    world.record(4, "Closed", session="s", **said, **reading)
    result = world.put(UID, FILE)
    world.record(8, "Published", version=result, **said)
    world.attempts.append(
        {"task_uid": UID, "attempt": 1, "namespace": "team", "result": json.dumps({"digest": result})}
    )
    world.tell("pods", pod(made, "Succeeded"), 9)
    made["status"] = {"conditions": [condition("Complete", "True", "Completed")]}
    world.tell("jobs", made, 10)
    done = task()
    done["status"] = {
        "observedGeneration": 1,
        "reason": "Completed",
        "completionTime": at(10),
        "conditions": [condition("Succeeded", "True", "Completed"), condition("Stalled", "False", "Healthy")],
        "attempts": [{"number": 1, "outcome": "Completed", "exitCode": 0, "endTime": at(9)}],
        "datasets": [{"name": "t", "uid": DATASET, "digest": data}],
        "result": {"digest": result},
    }
    world.call(11, "patch", "collabtasks/status")
    world.tell("tasks", done, 11)
    world.record(11, "Used", gpu_seconds=7, cpu_seconds=7, reason="Completed", **said)
    return world
