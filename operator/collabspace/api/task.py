"""CollabTask: train a model on granted data with some GPUs."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StrictBool, StrictInt, StrictStr

from collabspace.api.conditions import Condition
from collabspace.api.resource import (
    DecimalText,
    DigestText,
    GpuText,
    NamespaceName,
    NameText,
    ObjectMeta,
    ObjectName,
    ObjectReference,
    Part,
    QuantityText,
    TimeText,
    map_list,
    rules,
)
from collabspace.api.run import COMPARISON, EVALUATION, Role

ParameterValue = Annotated[
    StrictInt | StrictStr, Field(json_schema_extra={"x-kubernetes-int-or-string": True, "maxLength": 256})
]
MAX_NAME = 50


class TaskDataset(Part):
    """One dataset of the task."""

    name: NameText = Field(description="Name within this task; reports use it.")
    dataset_ref: ObjectReference = Field(description="The SharedDataset, of any team that granted it.")
    version: DigestText | None = Field(
        default=None, description="A digest to pin; else the current version when admitted."
    )
    role: Role = Field(
        default=Role.TRAIN,
        description="Train: learned from; its own test split is reported. Evaluate: only tested on. "
        "The grant must hold the same use.",
    )


class ModelKind(StrEnum):
    SHARED_DATASET = "SharedDataset"
    COLLAB_TASK = "CollabTask"
    ALIAS = "Alias"


class ModelSource(Part):
    """A model to start from or to evaluate: granted like data, or a result of the own team."""

    kind: ModelKind = Field(
        default=ModelKind.SHARED_DATASET,
        description="SharedDataset: one of format Model, of any team that granted it. CollabTask: the stored result of "
        "a task of this namespace. Alias: the model that an alias of this namespace stands for.",
    )
    namespace: NamespaceName = Field(description="Its namespace.")
    name: ObjectName = Field(description="Its name; of an alias, the alias.")
    digest: DigestText | None = Field(default=None, description="A version to pin; else the current one when admitted.")


class ComparedResult(Part):
    """One stored result of a comparison."""

    name: NameText = Field(description="Name within this task.")
    candidate: NameText = Field(description="Whose run it is: runs of one candidate differ in their seed alone.")
    task_name: ObjectName = Field(description="The CollabTask of this namespace that stored it.")
    digest: DigestText = Field(description="The stored result.")


class Initialization(StrEnum):
    PRETRAINED = "Pretrained"
    RANDOM = "Random"


class TaskGate(Part):
    """A floor under a metric."""

    metric: str = Field(min_length=1, max_length=64, description="Name of the metric, for example entity_micro_f1.")
    minimum: DecimalText = Field(description="The floor, as a decimal string.")


class TaskBudget(Part):
    """The most that the task may spend, over all attempts."""

    cpu_seconds: StrictInt | None = Field(default=None, ge=1, le=2**53, description="CPU-seconds.")
    gpu_seconds: StrictInt | None = Field(default=None, ge=1, le=2**53, description="GPU-seconds.")


class Resources(Part):
    """Requests and limits of the trainer pod; both are equal."""

    cpu: QuantityText = Field(default="1", description="CPUs; threads follow from it.")
    memory: QuantityText = Field(default="2Gi", description="Memory; more is killed.")
    gpu: GpuText = Field(default="0", alias="nvidia.com/gpu", description="GPUs.")


class TaskSpec(Part):
    """What is asked for. Frozen once accepted, but for priority, suspend and the deadlines."""

    task: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="What is learned: TokenClassification, TextClassification or Tabular."
    )
    method: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="How, for example FullFineTuning, LoRA or LogisticRegression; docs/reference/catalogue.md and "
        "`kubectl collab submit --help` list the methods of each task."
    )
    datasets: list[TaskDataset] = Field(
        min_length=1,
        max_length=16,
        description="Data to learn from and to be tested on, possibly of several owners.",
        json_schema_extra=map_list("name"),
    )
    model_from: ModelSource | None = Field(default=None, description="Weights to start from, or a model to evaluate.")
    results: list[ComparedResult] = Field(
        default=[],
        max_length=60,
        description="Stored results to compare with one another, for method Comparison alone.",
        json_schema_extra=map_list("name"),
    )
    initialization: Initialization = Field(
        default=Initialization.PRETRAINED,
        description="Random must be said, so that missing weights cannot go unnoticed.",
    )
    parameters: dict[Annotated[str, Field(max_length=64)], ParameterValue] = Field(
        default={},
        description="Settings of the method: whole numbers, or decimals in quotes: {epochs: 3, learningRate: '1e-4'}. "
        "Unknown keys end the task with InvalidParameter; docs/reference/catalogue.md lists them.",
        json_schema_extra={"maxProperties": 64},
    )
    seed: StrictInt = Field(default=0, ge=0, le=2147483647, description="Seed of every random choice.")
    gates: list[TaskGate] = Field(
        default=[], max_length=16, description="Floors that the model must reach.", json_schema_extra=map_list("metric")
    )
    budget: TaskBudget | None = Field(default=None, description="The most that may be spent.")
    resources_per_node: Resources = Field(default=Resources(), description="What the trainer pod gets.")
    priority: StrictInt = Field(
        default=0, ge=-1000, le=1000, description="Higher goes first within the cluster; may change until admitted."
    )
    suspend: StrictBool = Field(
        default=False,
        description="True stops the task after a checkpoint and frees its GPUs; false lets it go on from there.",
    )
    max_attempts: StrictInt = Field(
        default=3, ge=1, le=10, description="Failed attempts after which the task ends; interrupted ones do not count."
    )
    active_deadline_seconds: StrictInt | None = Field(
        default=None, ge=1, le=31_536_000, description="The most seconds that all attempts together may run."
    )
    pending_deadline_seconds: StrictInt | None = Field(
        default=None, ge=1, le=31_536_000, description="The most seconds that the task may wait for its first attempt."
    )
    ttl_seconds_after_finished: StrictInt | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="Seconds after the end when the task and the files of its result are deleted; unset: never.",
    )


class Attempt(Part):
    """One run of the trainer."""

    number: int = Field(ge=1, description="Counts from 1.")
    start_time: TimeText | None = Field(
        default=None, description="When its pod started; until it ends, when its Job was made."
    )
    end_time: TimeText | None = Field(default=None, description="When its pod ended.")
    outcome: str = Field(
        default="",
        max_length=32,
        description="Running, Completed, Failed (counts against maxAttempts unless the next one gets more memory or "
        "smaller batches) or Interrupted (does not).",
    )
    reason: str = Field(default="", max_length=64, description="Why it ended.")
    exit_code: int | None = Field(default=None, description="Exit code of the trainer; docs/reference/exit-codes.md.")
    node: str = Field(default="", max_length=253, description="Where it ran.")
    message: str = Field(default="", max_length=512, description="The trainer's last word.")
    memory: str = Field(default="", max_length=32, description="Memory of the pod, as a quantity.")
    micro_batch_size: int | None = Field(
        default=None, ge=1, description="Records at a time, where it was lowered; the batch of a step stays the same."
    )
    change: str = Field(default="", max_length=256, description="What this attempt does otherwise than the one before.")
    checkpoint_step: int | None = Field(
        default=None, ge=0, description="Step of its newest checkpoint that the broker holds."
    )
    signature: str = Field(default="", max_length=64, description="Tells one crash from another.")


class Assignment(Part):
    namespace: str = Field(max_length=63, description="The team whose quota is used.")


class PinnedDataset(Part):
    name: str = Field(max_length=63, description="Name within this task.")
    uid: str = Field(default="", max_length=64, description="uid of the SharedDataset: one made anew is another.")
    digest: DigestText = Field(description="The version in use, by every attempt.")


class TaskProgress(Part):
    """Coarse; the live figure: kubectl collab get TASK."""

    percent: int = Field(ge=0, le=100, description="Of all steps.")
    step: int = Field(ge=0, description="Steps done.")
    total_steps: int = Field(ge=0, description="Steps in all.")
    last_update_time: TimeText = Field(description="When it was seen.")


class TaskMetric(Part):
    """A figure as text."""

    name: str = Field(max_length=64, description="Name of the metric.")
    value: str = Field(max_length=32, description="Its value.")
    dataset: str = Field(default="", max_length=63, description="The dataset tested on; empty: all of them.")
    split: str = Field(default="test", max_length=16, description="test, or validation, which ranks candidates.")
    label: str = Field(default="", max_length=128, description="The class or entity type; empty: all of them.")
    low: str | None = Field(default=None, max_length=32, description="Lower end of the 95 % interval.")
    high: str | None = Field(default=None, max_length=32, description="Upper end of the 95 % interval.")


class TaskResult(Part):
    digest: DigestText = Field(description="sha256 of the result's manifest.")
    bytes: int = Field(ge=0, description="Its size.")


class TaskUsage(Part):
    gpu_seconds: int = Field(default=0, ge=0, description="GPUs x seconds from start to end of the pod.")
    cpu_seconds: int = Field(default=0, ge=0, description="CPUs asked for x seconds from start to end of the pod.")
    active_seconds: int = Field(default=0, ge=0, description="Seconds that ended attempts ran.")


class TaskStatus(Part):
    """What is the case."""

    observed_generation: int = Field(default=0, ge=0, description="The generation that this status judges.")
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        description="Accepted, DataAuthorized, Admitted, Running, Succeeded, Stalled.",
        json_schema_extra=map_list("type"),
    )
    reason: str = Field(default="", max_length=64, description="The one dominant reason, as in the conditions.")
    assignment: Assignment | None = Field(default=None, description="Whose quota is used.")
    datasets: list[PinnedDataset] = Field(
        default=[], max_length=17, description="Versions pinned at admission.", json_schema_extra=map_list("name")
    )
    attempts: list[Attempt] = Field(
        default=[], max_length=10, description="The last ten.", json_schema_extra=map_list("number")
    )
    failed_attempts: int = Field(default=0, ge=0, description="Attempts that count against maxAttempts.")
    progress: TaskProgress | None = Field(default=None, description="Where the running attempt stands.")
    metrics: list[TaskMetric] = Field(default=[], max_length=64, description="Headline figures on the test split.")
    result: TaskResult | None = Field(default=None, description="What was stored.")
    usage: TaskUsage | None = Field(default=None, description="What was used, over all attempts.")
    start_time: TimeText | None = Field(default=None, description="When it was first admitted.")
    completion_time: TimeText | None = Field(default=None, description="When it ended.")


class CollabTask(Part):
    """A model to train or evaluate on granted data, run under the team's quota, with every use of data on record."""

    metadata: ObjectMeta
    spec: TaskSpec
    status: TaskStatus = TaskStatus()


NAME_RULE = (
    f"size(self.metadata.name) <= {MAX_NAME} && !self.metadata.name.contains('.')",
    f"metadata.name must have at most {MAX_NAME} characters and no dots: Jobs and pods are named after it",
)
SPEC_RULES = rules(
    (
        f"self.method in ['{EVALUATION}', '{COMPARISON}'] || self.datasets.exists(d, d.role == 'Train')",
        "datasets: at least one must have role Train",
    ),
    (
        "!has(self.modelFrom) || self.initialization == 'Pretrained'",
        "initialization Random and modelFrom exclude each other; remove one",
    ),
)
MUTABLE = frozenset(
    {"priority", "suspend", "activeDeadlineSeconds", "pendingDeadlineSeconds", "ttlSecondsAfterFinished"}
)
