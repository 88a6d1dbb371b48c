"""Tasks, reports and command runs to test with: objects as the API server and the trainer would give them."""

import datetime as dt
from typing import Any

from click.testing import CliRunner, Result

from collabspace.api import names
from collabspace.api.conditions import TASK_CONDITIONS, Outcome, Reason
from collabspace.api.report import Report
from collabspace.api.task import CollabTask
from collabspace.cli.main import root

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
SINCE = "2026-11-22T11:58:00Z"
DIGEST = "sha256:" + "a" * 64


def collab(*words: str, env: dict[str, str] | None = None) -> Result:
    """The command line run in this process, as `kubectl collab WORDS`."""
    return CliRunner().invoke(root, list(words), prog_name="kubectl collab", env=env)


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": SINCE}


def raw_task(name: str = "joint", *, reason: str = "", message: str = "", **parts: Any) -> dict[str, Any]:
    """A CollabTask of research-lab on two hospitals' notes, one GPU; `parts`: spec, status and more to put over it."""
    spec = {
        "task": "TokenClassification",
        "method": "FullFineTuning",
        "datasets": [
            {"name": "a", "datasetRef": {"namespace": "hospital-a", "name": "notes"}, "role": "Train"},
            {"name": "b", "datasetRef": {"namespace": "hospital-b", "name": "notes"}, "role": "Evaluate"},
        ],
        "initialization": "Random",
        "parameters": {"epochs": 3, "learningRate": "1e-3"},
        "resourcesPerNode": {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"},
    }
    status: dict[str, Any] = {}
    if reason:
        status = {"reason": reason, "conditions": conditions_for(reason, message)}
    return {
        "apiVersion": names.API_VERSION,
        "kind": "CollabTask",
        "metadata": {"name": name, "namespace": "research-lab", "uid": "u-1", "creationTimestamp": SINCE},
        "spec": spec | parts.get("spec", {}),
        "status": status | parts.get("status", {}),
    }


def a_task(name: str = "joint", *, reason: str = "", message: str = "", **parts: Any) -> CollabTask:
    return CollabTask.model_validate(raw_task(name, reason=reason, message=message, **parts))


# How many of Accepted, DataAuthorized, Admitted, Running hold when a task stands still for a reason.
REACHED = {Reason.GRANT_MISSING: 1, Reason.WAITING_FOR_QUOTA: 2, Reason.INVALID_PARAMETER: 0, Reason.TRAINING: 4}


def conditions_for(word: str, message: str = "") -> list[dict[str, Any]]:
    """All conditions of a task whose dominant reason is `word`, as the operator writes them."""
    reason = Reason(word) if word in set(Reason) else None
    outcome = reason.outcome if reason else Outcome.WAITING
    text = message or (reason.help if reason else "")
    reached = 4 if outcome is Outcome.GOOD else REACHED.get(reason, 1) if reason else 1
    ended = {Outcome.GOOD: "True", Outcome.TERMINAL: "False"}.get(outcome, "Unknown")
    found = []
    for position, kind in enumerate(TASK_CONDITIONS):
        if kind == "Succeeded":
            found.append(condition(kind, ended, word, text))
        elif kind == "Stalled":
            found.append(condition(kind, "True" if outcome is Outcome.TERMINAL else "False", word))
        elif position < reached:
            found.append(condition(kind, "True", "Valid", "As it should be."))
        else:
            found.append(condition(kind, "False" if outcome is Outcome.TERMINAL else "Unknown", word, text))
    return found


def a_report(**parts: Any) -> Report:
    """metrics.json of a task on two hospitals, with an entity type that only one of them has."""

    def scores(label: str, f1: float, **more: Any) -> dict[str, Any]:
        return {"split": "test", "label": label, "precision": 0.9, "recall": 0.8, "f1": f1, "support": 40} | more

    body: dict[str, Any] = {
        "schema": "v1alpha1",
        "task": "TokenClassification",
        "method": "FullFineTuning",
        "seed": 7,
        "scorer": "strict IOB2 spans",
        "headline": "entity_micro_f1",
        "metrics": [
            {"name": "entity_micro_f1", "value": 0.819, "split": "test", "low": 0.79, "high": 0.843},
            {"name": "entity_micro_f1", "value": 0.783, "split": "test", "dataset": "a", "low": 0.75, "high": 0.81},
            {"name": "entity_micro_f1", "value": 0.728, "split": "test", "dataset": "b"},
        ],
        "losses": [
            {"dataset": "a", "split": "test", "mean": 0.25, "count": 400, "unit": "nats/token"},
            {"split": "test", "mean": 0.5, "count": 600, "unit": "nats/token"},
        ],
        "perEntity": [
            scores("Disease", 0.846),
            scores("Drug", 0.5, support=12),
            scores("", 0.819, average="micro"),
            scores("", 0.673, average="macro"),
            scores("Disease", 0.111, dataset="a"),
        ],
        "perTag": [scores("O", 0.994, support=900), scores("B-Disease", 0.96)],
        "unseen": [{"split": "test", "share": 0.25, "support": 13, "precision": 0.4, "recall": 0.3, "f1": 0.343}],
        "datasets": [
            {
                "name": name,
                "owner": f"hospital-{name}/notes",
                "digest": DIGEST,
                "role": "Train",
                "records": {"train": 80, "test": 10},
                "ownLabels": labels,
                "droppedDuplicates": dropped,
            }
            for name, labels, dropped in (("a", ["Drug"], 3), ("b", [], 0))
        ],
        "execution": {
            "device": "cpu",
            "simulatedGpu": True,
            "precision": "Float32",
            "threads": 1,
            "attempt": 1,
            "seconds": 95.2,
            "cpuSeconds": 90.0,
            "gpuSeconds": 0.0,
            "peakMemoryBytes": 1,
            "parameters": 424709,
            "steps": 30,
            "totalSteps": 30,
            "batchSize": 16,
            "microBatchSize": 16,
        },
    }
    return Report.model_validate(body | parts)
