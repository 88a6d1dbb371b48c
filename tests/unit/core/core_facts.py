"""Facts for tests of the core: whole and good; a test names what it changes."""

import datetime as dt
from typing import Any

from collabspace.api.catalogue import Catalogue, CatalogueTask, Method, Parameter, ParameterType
from collabspace.api.dataset import DatasetSpec, DatasetStatus, Version
from collabspace.api.manifest import DatasetFormat
from collabspace.api.run import EndRecord
from collabspace.api.task import TaskSpec, TaskStatus
from collabspace.core import job
from collabspace.core.admission import ADMITTED
from collabspace.core.observed import (
    AttemptRecord,
    Dataset,
    JobFacts,
    ObservedDataset,
    ObservedTask,
    PodFacts,
    TeamFacts,
    observe,
)
from collabspace.core.task import decide_task
from collabspace.core.task_world import TaskWorld

NOW = dt.datetime(2026, 6, 1, 12, 0, 0, tzinfo=dt.UTC)
OWN, OTHER = "hospital-a", "hospital-b"
UIDS = {OWN: "uid-a", OTHER: "uid-b"}
SETTINGS = job.JobSettings(image="collabspace/trainer:1", broker_url="https://broker:8443")


def digest(text: str) -> str:
    return "sha256:" + (text.encode().hex() + "0" * 64)[:64]


def at(seconds: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


def text(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parameter(name: str, kind: str = "Number", default: int | str = "1", **more: Any) -> Parameter:
    return Parameter(name=name, type=ParameterType(kind), default=default, description="x", **more)


CATALOGUE = Catalogue(
    tasks=[
        CatalogueTask(
            name="TokenClassification",
            description="x",
            format=DatasetFormat.TOKEN_CLASSIFICATION,
            metrics=["entity_micro_f1", "loss"],
            methods=[
                Method(
                    name="FullFineTuning",
                    description="x",
                    accepts_weights=True,
                    cost=9,
                    parameters=[
                        parameter("epochs", "Integer", 3, minimum="1", maximum="100"),
                        parameter("learningRate", "Number", "0.0001", minimum="0", maximum="1"),
                        parameter("optimizer", "Choice", "AdamW", choices=["Adam", "AdamW"]),
                    ],
                ),
                Method(name="LoRA", description="x", needs_weights=True, needs_gpu=True, cost=5, parameters=[]),
            ],
        ),
        CatalogueTask(
            name="Tabular",
            description="x",
            format=DatasetFormat.TABULAR,
            metrics=["accuracy"],
            methods=[
                Method(name="LogisticRegression", description="x", cost=1, parameters=[parameter("C")]),
                Method(
                    name="NeuralNetwork",
                    description="x",
                    cost=2,
                    parameters=[parameter("batchSize", "Integer", 16, minimum="1", maximum="4096")],
                ),
            ],
        ),
    ]
)


def reference(namespace: str = OWN, name: str = "table", **more: Any) -> dict[str, Any]:
    return {"name": "train", "datasetRef": {"namespace": namespace, "name": name}, **more}


def spec_body(**changes: Any) -> dict[str, Any]:
    return {
        "task": "Tabular",
        "method": "LogisticRegression",
        "datasets": [reference()],
        "resourcesPerNode": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"},
    } | changes


def spec(**changes: Any) -> TaskSpec:
    return TaskSpec.model_validate(spec_body(**changes))


def meta(name: str, namespace: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{name}",
        "generation": 1,
        "resourceVersion": "7",
        "creationTimestamp": text(NOW),
    } | changes


def task(status: TaskStatus | None = None, raw_spec: Any = None, **changes: Any) -> ObservedTask:
    body = {"metadata": meta("task", OWN, **changes.pop("meta", {})), "spec": raw_spec or spec_body(**changes)}
    observed = observe(body, TaskSpec, TaskStatus)
    return ObservedTask(observed.meta, observed.spec, observed.problem, status or TaskStatus())


def version(name: str) -> Version:
    return Version(digest=digest(name), created_time=text(NOW), records=10, bytes=100, files=2)


def grant(to: str = OWN, uses: tuple[str, ...] = ("Train",), **changes: Any) -> dict[str, Any]:
    known = {"name": "g", "namespace": to, "namespaceUID": UIDS.get(to), "uses": list(uses)}
    return known | changes


def dataset(
    namespace: str = OWN,
    name: str = "table",
    versions: tuple[str, ...] = ("one",),
    grants: list[dict[str, Any]] | None = None,
    data_format: str = "Tabular",
) -> Dataset:
    return Dataset(observed_dataset(namespace, name, grants, data_format), tuple(version(each) for each in versions))


def observed_dataset(
    namespace: str = OWN,
    name: str = "table",
    grants: list[dict[str, Any]] | None = None,
    data_format: str = "Tabular",
    status: DatasetStatus | None = None,
) -> ObservedDataset:
    contract = {"target": {"column": "y", "kind": "Class"}}
    body = {
        "metadata": meta(name, namespace),
        "spec": {"format": data_format, "contract": contract, "grants": grants or []},
    }
    observed = observe(body, DatasetSpec, DatasetStatus)
    return ObservedDataset(observed.meta, observed.spec, observed.problem, status or DatasetStatus())


def world(*datasets: Dataset, **changes: Any) -> TaskWorld:
    found = {each.object.key: each for each in datasets or (dataset(),)}
    known = {
        "catalogue": CATALOGUE,
        "settings": SETTINGS,
        "datasets": found,
        "namespaces": UIDS,
        "team": TeamFacts(True),
        "broker_known": True,
    }
    return TaskWorld(**(known | changes))


def job_body(**changes: Any) -> dict[str, Any]:
    """The Job that the operator would create for `task(**changes)`, as the API server gives it back."""
    plan = decide_task(task(**changes), world(verdict=ADMITTED), NOW)
    assert plan.create is not None
    body = plan.create.job
    body["metadata"] |= {"uid": "uid-job", "creationTimestamp": text(NOW)}
    return body


def job_facts(status: dict[str, Any] | None = None, **changes: Any) -> JobFacts:
    facts = job.read(job_body(**changes) | {"status": status or {}})
    assert facts is not None
    return facts


def pod(exit_code: int | None = 0, message: str = "", **changes: Any) -> PodFacts:
    known: dict[str, Any] = {
        "name": "task-1-x",
        "job_uid": "uid-job",
        "node": "node-1",
        "started": text(NOW),
        "ended": text(at(90)),
        "exit_code": exit_code,
        "out_of_memory": False,
        "lost": False,
        "message": message,
        "words": "",
    }
    return PodFacts(**(known | changes))


def end_record(code: int = 0, result: str | None = None, **changes: Any) -> EndRecord:
    known = {"code": code, "reason": "Completed" if code == 0 else "Failed", "digest": result, "bytes": 5}
    return EndRecord.model_validate(known | changes)


def claims(code: int = 0, result: str | None = None, **changes: Any) -> str:
    return end_record(code, result, **changes).model_dump_json(by_alias=True)


def held(result: str) -> AttemptRecord:
    return AttemptRecord(result_digest=result, result_bytes=5)
