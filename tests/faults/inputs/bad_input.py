"""What a case is: a change to a good object of one of our kinds, and what must come of it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from collabspace.api import names
from collabspace.kube.client import Object

TASK, DATASET, SELECTION = "CollabTask", "SharedDataset", "ModelSelection"
JOB, POD, NAMESPACE = "Job", "Pod", "Namespace"
PLURALS = {TASK: names.COLLAB_TASKS, DATASET: names.SHARED_DATASETS, SELECTION: names.MODEL_SELECTIONS}
CREATE, UPDATE, STORAGE = "create", "update", "storage"
WAYS = (CREATE, UPDATE, STORAGE)

# What may come of it. Beside these, the reasons of our conditions.
OK = "ok"
"""The object is good, or what was changed is nobody's business: it is treated as any other."""
ALARM = "alarm"
"""The API server's own rules fail on the object, so that no status can be written; the operator counts it."""

UNTOUCHED = "untouched"
"""Written past the API server: the operator has nothing to say to it."""

GONE = "gone"
"""It is deleted: by its time, by its owner's end, or because it was asked to go."""
MAYBE = "?"
"""As what is refused: the API server may refuse it or take it; that is its own affair."""

ANY = "*"
"""Any of these: what is right is judged by other signs."""

DROP: Any = object()
Change = Mapping[str, Any]
"""New values by path, `spec/datasets/0/name`; DROP removes; `+` as the last step appends. In a step, `~` stands for
`/`."""


@dataclass(frozen=True)
class Case:
    """`refused` is what the refusal of the API server must hold, empty when it accepts, or MAYBE; `ends` is what may
    come of the object once it is there: reasons, or what is named above. As an update of an accepted object it may also
    be refused as frozen. `running`: in storage it is written over an object that runs."""

    id: str
    kind: str
    change: Change
    refused: str = ""
    ends: tuple[str, ...] = ("InvalidSpec",)
    running: bool = False

    @property
    def group(self) -> str:
        """The class of bad inputs."""
        return self.id.split(".", 1)[0]

    @property
    def fields(self) -> set[str]:
        """Fields of the spec that it changes."""
        return {path.split("/")[1] for path in self.change if path.startswith("spec/")}


def changed(item: Object, change: Change) -> Object:
    """A copy of the object with the change."""
    found = copy.deepcopy(item)
    for path, value in change.items():
        *steps, last = (step.replace("~", "/") for step in path.split("/"))
        place: Any = found
        for step in steps:
            place = _step(place, step)
        _put(place, last, value)
    return found


def _step(place: Any, step: str) -> Any:
    """One step down; what is no place to go on from becomes one."""
    key: Any = step
    if isinstance(place, list):
        key = int(step)
        place.extend({} for _ in range(key + 1 - len(place)))
    elif not isinstance(place.get(step), dict | list):
        place[step] = {}
    if not isinstance(place[key], dict | list):
        place[key] = {}
    return place[key]


def _put(place: Any, last: str, value: Any) -> None:
    if isinstance(place, list):
        if last == "+":
            place.append(value)
        elif value is DROP:
            del place[int(last) :]
        elif int(last) >= len(place):
            place.append(value)
        else:
            place[int(last)] = value
    elif value is DROP:
        place.pop(last, None)
    else:
        place[last] = value


def digest_of(letter: str) -> str:
    """A digest that nothing has."""
    return "sha256:" + letter * 64


def good_task(namespace: str) -> Object:
    return _object(
        TASK,
        {
            "task": "Tabular",
            "method": "LogisticRegression",
            "datasets": [{"name": "train", "datasetRef": {"namespace": namespace, "name": "table"}, "role": "Train"}],
            "parameters": {"C": 2, "classWeights": "Balanced"},
            "seed": 7,
            "gates": [{"metric": "accuracy", "minimum": "0.5"}],
            "budget": {"cpuSeconds": 3600, "gpuSeconds": 60},
            "resourcesPerNode": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "0"},
            "priority": 0,
            "suspend": False,
            "maxAttempts": 3,
            "activeDeadlineSeconds": 3600,
            "pendingDeadlineSeconds": 3600,
            "ttlSecondsAfterFinished": 3600,
        },
    )


def good_dataset(namespace: str) -> Object:
    return _object(
        DATASET,
        {
            "description": "a table",
            "format": "Tabular",
            "source": {"type": "Upload"},
            "splits": {"mode": "Hash", "trainPercent": 80, "validationPercent": 10, "testPercent": 10, "seed": 1},
            "card": {"title": "t", "contact": "c", "licence": "l", "languages": ["en"], "limitations": "none"},
            "contract": {"target": {"column": "y", "kind": "Class"}, "columns": [{"name": "a", "kind": "Number"}]},
            "grants": [
                {
                    "name": "g",
                    "namespace": "elsewhere",
                    "namespaceUID": "00000000-0000-0000-0000-000000000000",
                    "uses": ["Train"],
                    "purpose": "p",
                    "agreement": "a",
                    "notAfter": "2099-01-01T00:00:00Z",
                }
            ],
            "onRevoke": "Stop",
            "deletionPolicy": "Delete",
        },
    )


def good_selection(namespace: str) -> Object:
    return _object(
        SELECTION,
        {
            "task": "Tabular",
            "datasets": [{"name": "train", "datasetRef": {"namespace": namespace, "name": "table"}, "role": "Train"}],
            "objective": {"metric": "accuracy", "goal": "Maximize", "tolerance": "0.01"},
            "candidates": [
                {"name": "linear", "method": "LogisticRegression", "parameters": {"C": "0.5"}},
                {"name": "forest", "method": "RandomForest", "resourcesPerNode": {"cpu": "1", "memory": "1Gi"}},
            ],
            "seeds": 1,
            "parallelism": 1,
            "budget": {"cpuSeconds": 100000},
            "promotion": {"alias": "best", "mode": "Manual"},
            "suspend": False,
        },
    )


GOOD = {TASK: good_task, DATASET: good_dataset, SELECTION: good_selection}


def _object(kind: str, spec: Object) -> Object:
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": "good"}, "spec": spec}
