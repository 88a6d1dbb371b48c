"""The run document: all that a trainer is told, written by the operator into the Job and read by the trainer.

It is the record of admission as well: pinned versions and the attempt's number are read back from it, never chosen
again.
"""

import hashlib
import json
from enum import IntEnum, StrEnum
from typing import Literal

from pydantic import Field

from collabspace.api.manifest import Digest, Frozen

RUN_VARIABLE = "COLLABSPACE_RUN"
BROKER_URL_VARIABLE = "COLLABSPACE_BROKER_URL"
BROKER_CA_VARIABLE = "COLLABSPACE_BROKER_CA"
TOKEN_FILE_VARIABLE = "COLLABSPACE_TOKEN_FILE"
TERMINATION_LOG_VARIABLE = "COLLABSPACE_TERMINATION_LOG"
TERMINATION_LOG = "/dev/termination-log"
MAX_RUN_BYTES = 32 * 1024
MAX_TERMINATION_BYTES = 3_500
MAX_END_METRICS = 24

Scalar = int | str
EVALUATION, COMPARISON = "Evaluation", "Comparison"
"""Methods that learn nothing: they measure a stored model, and compare stored results."""


class Role(StrEnum):
    TRAIN = "Train"
    EVALUATE = "Evaluate"


class Precision(StrEnum):
    FLOAT32 = "Float32"
    BFLOAT16 = "BFloat16"


class TaskReference(Frozen):
    namespace: str
    name: str
    uid: str


class RunDataset(Frozen):
    """One pinned version. `owner` is `namespace/name` of the SharedDataset, for reports; access goes by uid."""

    name: str
    owner: str
    uid: str
    digest: Digest
    role: Role


class InitialModel(Frozen):
    """Weights: a version of a SharedDataset of format Model, or the stored result of the CollabTask with that uid."""

    uid: str
    digest: Digest


class RunResult(Frozen):
    """A stored result to compare: of the CollabTask with that uid. Runs of one candidate differ in their seed alone."""

    name: str
    candidate: str
    uid: str
    digest: Digest


class Training(Frozen):
    """What is learned. Its identity names checkpoints: equal `training`, equal result."""

    task: str
    method: str
    seed: int = Field(ge=0, le=2**31 - 1)
    parameters: dict[str, Scalar]
    labels: list[str] = []
    datasets: list[RunDataset] = Field(min_length=1, max_length=16)
    initial_model: InitialModel | None = Field(default=None, alias="initialModel")
    results: list[RunResult] = Field(default=[], max_length=60)
    random_init: bool = Field(default=False, alias="randomInit")


class Gate(Frozen):
    """A floor under a metric: below it the run ends with exit code 60 and keeps its result."""

    metric: str
    minimum: str


class Budget(Frozen):
    cpu_seconds: int | None = Field(default=None, alias="cpuSeconds", ge=1)
    gpu_seconds: int | None = Field(default=None, alias="gpuSeconds", ge=1)


class Execution(Frozen):
    """How it is run this time; may differ between attempts of the same training."""

    attempt: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1, le=512)
    gpus: int = Field(default=0, ge=0)
    micro_batch_size: int | None = Field(default=None, alias="microBatchSize", ge=1)
    precision: Precision | None = Field(
        default=None, description="Of computing on a GPU; without it BFloat16 where the GPU has that."
    )
    checkpoint_seconds: int = Field(default=300, alias="checkpointSeconds", ge=1)
    deadline: str | None = None
    stop_after_steps: int | None = Field(default=None, alias="stopAfterSteps", ge=1)
    budget: Budget = Budget()
    gates: list[Gate] = []
    resume: bool = True


class RunDocument(Frozen):
    schema_: Literal["v1alpha1"] = Field(default="v1alpha1", alias="schema")
    task: TaskReference
    training: Training
    execution: Execution = Execution()

    def to_environment(self) -> str:
        """JSON for the environment variable; `$` is escaped because the kubelet expands `$(NAME)`."""
        return self.model_dump_json(by_alias=True, exclude_none=True).replace("$", "\\u0024")

    def training_digest(self) -> str:
        """sha256 of the canonical JSON of `training`, hexadecimal."""
        data = self.training.model_dump(mode="json", by_alias=True)
        return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class ExitCode(IntEnum):
    """The trainer's public contract; what follows each code is the operator's decision (core/outcome.py)."""

    OK = 0
    CONFIG = 10
    DATA = 20
    ACCESS_REFUSED = 21
    OUT_OF_MEMORY = 30
    TRANSIENT = 40
    PREEMPTED = 50
    PREEMPTED_UNSAVED = 51
    GATE_NOT_MET = 60
    DIVERGED = 61
    BUDGET_SPENT = 62
    BUG = 70


class MetricName(StrEnum):
    ENTITY_MICRO_F1 = "entity_micro_f1"
    ENTITY_MACRO_F1 = "entity_macro_f1"
    TOKEN_MICRO_F1_WITH_O = "token_micro_f1_with_o"
    ACCURACY = "accuracy"
    MACRO_F1 = "macro_f1"
    LOG_LOSS = "log_loss"
    ROC_AUC = "roc_auc"
    AVERAGE_PRECISION = "average_precision"
    RMSE = "rmse"
    MAE = "mae"
    R2 = "r2"
    RECALL_AT_10 = "recall_at_10"
    NDCG_AT_10 = "ndcg_at_10"
    MRR = "mrr"
    CALIBRATION_ERROR = "calibration_error"
    LOSS = "loss"
    DIFFERENCE = "difference"
    """Of a comparison: the best candidate's figure less that of the candidate named by `label`, both on the same
    records; positive where the best is better, whatever the goal."""


LOWER_IS_BETTER = frozenset(
    {MetricName.LOSS, MetricName.LOG_LOSS, MetricName.RMSE, MetricName.MAE, MetricName.CALIBRATION_ERROR}
)
"""Metrics that no gate can put a floor under."""


class Metric(Frozen):
    """One figure as text (the API has no floats). `dataset` is one of the task's datasets, or empty for all pooled."""

    name: str = Field(max_length=64)
    value: str = Field(max_length=32, pattern=r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$")
    dataset: str = Field(default="", max_length=63)
    split: Literal["validation", "test"] = "test"
    label: str = Field(default="", max_length=128)
    low: str | None = Field(default=None, max_length=32)
    high: str | None = Field(default=None, max_length=32)


class CheckpointReference(Frozen):
    step: int = Field(ge=0)
    digest: Digest


class EndRecord(Frozen):
    """How an attempt ended: the termination message of the container, and the same posted to the broker.

    It comes from the trainer, so readers treat it as claims: bounded here, believed only as far as the broker confirms.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    code: int = Field(ge=0, le=255)
    reason: str = Field(max_length=64, pattern=r"^[A-Za-z]+$")
    message: str = Field(default="", max_length=512)
    metrics: list[Metric] = Field(default=[], max_length=MAX_END_METRICS)
    digest: Digest | None = None
    bytes: int = Field(default=0, ge=0)
    step: int = Field(default=0, ge=0)
    total_steps: int = Field(default=0, alias="totalSteps", ge=0)
    checkpoint: CheckpointReference | None = None
    peak_memory_bytes: int = Field(default=0, alias="peakMemoryBytes", ge=0)
    suggested_micro_batch: int | None = Field(default=None, alias="suggestedMicroBatch", ge=1)
    signature: str | None = Field(default=None, max_length=64)
    cpu_seconds: int = Field(default=0, alias="cpuSeconds", ge=0)
    gpu_seconds: int = Field(default=0, alias="gpuSeconds", ge=0)
    save_seconds: int = Field(default=0, alias="saveSeconds", ge=0)


class Progress(Frozen):
    """Where a running attempt stands; `curve` is the newest losses, oldest first, for a sparkline.

    `beat` grows with every unit of work of any stage (a file fetched, a step, an evaluation batch); when it stands
    still for `stallSeconds` while reports or the broker's word come, the attempt hangs.
    """

    step: int = Field(ge=0)
    beat: int = Field(default=0, ge=0)
    stall_seconds: int = Field(default=120, alias="stallSeconds", ge=1, le=86_400)
    total_steps: int = Field(alias="totalSteps", ge=0)
    stage: str = Field(default="Train", max_length=32, pattern=r"^[A-Za-z]+$")
    loss: str | None = Field(default=None, max_length=32)
    curve: list[str] = Field(default=[], max_length=64)

    @property
    def percent(self) -> int:
        return 0 if self.total_steps == 0 else min(100, 100 * self.step // self.total_steps)
