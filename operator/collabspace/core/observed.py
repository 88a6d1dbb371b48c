"""What the core is told about the world: frozen facts, parsed once at the edge, no raw objects beyond this point."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from collabspace.api.conditions import Reason
from collabspace.api.dataset import DatasetSpec, DatasetStatus, DatasetUsage, Version
from collabspace.api.manifest import DatasetFormat
from collabspace.api.resource import ObjectMeta
from collabspace.api.run import EndRecord, Progress
from collabspace.api.selection import SelectionSpec, SelectionStatus
from collabspace.api.task import ModelKind, ModelSource, PinnedDataset, TaskDataset, TaskSpec, TaskStatus, TaskUsage
from collabspace.core.quantity import Amount

Key = tuple[str, str]
"""Namespace and name."""
# Under this name the version of the weights stands among the pinned ones; no dataset can have it.
MODEL = "modelFrom"

Spec = TypeVar("Spec", bound=BaseModel)
Status = TypeVar("Status", bound=BaseModel)
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Observed(Generic[Spec, Status]):
    """One of our objects as stored. `spec` is None when it cannot be read; then `problem` names the field."""

    meta: ObjectMeta
    spec: Spec | None
    problem: str
    status: Status

    @property
    def key(self) -> Key:
        return (self.meta.namespace, self.meta.name)


ObservedTask = Observed[TaskSpec, TaskStatus]
ObservedDataset = Observed[DatasetSpec, DatasetStatus]
ObservedSelection = Observed[SelectionSpec, SelectionStatus]


def observe(raw: Mapping[str, Any], spec: type[Spec], status: type[Status]) -> Observed[Spec, Status]:
    """Reads an object that the schema may not have guarded (written past it, or by another release).

    Raises ValidationError only when its metadata is no Kubernetes metadata. A status that cannot be read is empty.
    """
    meta = ObjectMeta.model_validate(raw.get("metadata"))
    problem = ""
    parsed: Spec | None = None
    try:
        parsed = spec.model_validate(raw.get("spec"))
    except ValidationError as error:
        problem = describe(error)
    try:
        known = status.model_validate(raw.get("status") or {})
    except ValidationError:
        known = status()
    return Observed(meta, parsed, problem, known)


class Reference(NamedTuple):
    """Something that an object names and waits for: a dataset, a task's stored result, or an alias."""

    kind: ModelKind
    namespace: str
    name: str

    @property
    def key(self) -> Key:
        return (self.namespace, self.name)


def references(spec: TaskSpec | None, namespace: str) -> set[Reference]:
    """All that a task in `namespace` names: datasets, its model, the results that it compares."""
    if spec is None:
        return set()
    compared = {Reference(ModelKind.COLLAB_TASK, namespace, each.task_name) for each in spec.results}
    return _inputs(spec.datasets, [spec.model_from]) | compared


def selection_references(spec: SelectionSpec | None, namespace: str) -> set[Reference]:
    """The same of a selection, with the alias that it may set."""
    if spec is None:
        return set()
    found = _inputs(spec.datasets, [each.model_from for each in spec.candidates])
    if spec.promotion is not None:
        found.add(Reference(ModelKind.ALIAS, namespace, spec.promotion.alias))
    return found


def _inputs(datasets: Iterable[TaskDataset], models: Iterable[ModelSource | None]) -> set[Reference]:
    named = (each.dataset_ref for each in datasets)
    found = {Reference(ModelKind.SHARED_DATASET, each.namespace, each.name) for each in named}
    return found | {Reference(each.kind, each.namespace, each.name) for each in models if each is not None}


def describe(error: ValidationError) -> str:
    """Every wrong field with what is wrong; the values found are not repeated, they may be anything."""
    parts = [f"spec.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
    return "; ".join(part.replace("spec.: ", "spec: ") for part in parts[:8])


@dataclass(frozen=True, slots=True)
class Dataset:
    """A SharedDataset with the versions that the broker holds, newest first; the first is the current one."""

    object: ObservedDataset
    versions: tuple[Version, ...]

    @property
    def format(self) -> DatasetFormat | None:
        return self.object.spec.format if self.object.spec is not None else None


@dataclass(frozen=True, slots=True)
class StoredResult:
    """What a CollabTask that is there has stored and what that took; `digest` is None while it has no result.

    `made_by` says how it was made, `started_from` from which version of its modelFrom.
    """

    uid: str
    task: str
    digest: str | None
    usage: TaskUsage = field(default_factory=TaskUsage)
    made_by: TaskSpec | None = None
    started_from: PinnedDataset | None = None


@dataclass(frozen=True, slots=True)
class AliasRecord:
    """What the broker says that an alias stands for."""

    namespace_uid: str
    task_uid: str
    task: str
    digest: str
    promoted_time: str = ""
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Models:
    """Stored results by the task's namespace and name, aliases by theirs, as far as somebody refers to them."""

    results: Mapping[Key, StoredResult] = field(default_factory=dict)
    aliases: Mapping[Key, AliasRecord] = field(default_factory=dict)


NO_MODELS = Models()
# A task that ended otherwise keeps what it stored for itself.
WITH_RESULT = frozenset({Reason.COMPLETED, Reason.GATE_NOT_MET})


def stored_digest(status: TaskStatus) -> str | None:
    """The result that others may use."""
    return status.result.digest if status.result is not None and status.reason in WITH_RESULT else None


def stored_result(task: ObservedTask) -> StoredResult:
    """The task as one to take a model from."""
    learned = task.spec.task if task.spec is not None else ""
    used = task.status.usage or TaskUsage()
    model = next((each for each in task.status.datasets if each.name == MODEL), None)
    return StoredResult(task.meta.uid, learned, stored_digest(task.status), used, task.spec, model)


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """What the broker says about one dataset."""

    versions: tuple[Version, ...] = ()
    usage: DatasetUsage = field(default_factory=DatasetUsage)


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """What the broker says about one attempt. `result_digest` it holds itself; `end` are the trainer's claims."""

    progress: Progress | None = None
    end: EndRecord | None = None
    checkpoint_step: int | None = None
    result_digest: str | None = None
    result_bytes: int = 0


@dataclass(frozen=True, slots=True)
class JobFacts:
    """One of our Jobs, read back. `pinned` (name within the task, uid, digest) is the record of what was admitted.

    `suspended` is what its spec says; `halted` that the Job controller has done so and makes no pod any more.
    `stopping` counts pods that were told to go. `stop` says why it was suspended.
    """

    namespace: str
    name: str
    uid: str
    task: str
    task_uid: str
    attempt: int
    pinned: tuple[tuple[str, str, str], ...]
    amount: Amount
    memory: str
    micro_batch: int | None
    created: str
    ready: bool
    finished: bool
    finished_time: str | None
    failure: str
    suspended: bool = False
    halted: bool = False
    stopping: int = 0
    stop: tuple[Reason, str] | None = None


@dataclass(frozen=True, slots=True)
class PodFacts:
    """The end of a trainer pod. `exit_code` is None when the container never ran or its end was not seen."""

    name: str
    job_uid: str
    node: str
    started: str | None
    ended: str | None
    exit_code: int | None
    out_of_memory: bool
    lost: bool
    message: str
    words: str


@dataclass(frozen=True, slots=True)
class NotRunning:
    """Why a Job has no running pod, in the cluster's words. `stuck_on` names the node of a pod that was told to go."""

    image: bool
    words: str
    stuck_on: str = ""


@dataclass(frozen=True, slots=True)
class TeamFacts:
    """Whether tasks may start in the namespace; None while it is being found out."""

    ready: bool | None
    message: str = ""
