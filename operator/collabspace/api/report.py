"""metrics.json of a result: what the trainer measured, as types that the command line, the demo and comparisons read.

Figures are floats here, for this is a file and not an API object; the end record carries the headline as text. In every
row `dataset` is a name of the task's datasets, or empty for all of them pooled, and `split` is where it was measured.
"""

from typing import Literal

from pydantic import Field

from collabspace.api.manifest import Digest, Frozen, Split
from collabspace.api.run import MetricName, Role


class ReportMetric(Frozen):
    """One figure; `low` and `high` bound its 95 % bootstrap interval where one was computed."""

    name: MetricName
    value: float
    dataset: str = ""
    split: Split
    label: str = Field(default="", description="The positive class of metrics that need one; else empty.")
    low: float | None = None
    high: float | None = None


class Loss(Frozen):
    """Mean loss over `count` units: cross-entropy in nats per token or record, or squared error per record."""

    dataset: str = ""
    split: Split
    mean: float
    count: int = Field(ge=0)
    unit: Literal["nats/token", "nats/record", "squaredError/record"]

    @property
    def total(self) -> float:
        return self.mean * self.count


class LabelScores(Frozen):
    """A line of a classification report. Averages have the label empty; a label nobody has scores 0 with support 0."""

    dataset: str = ""
    split: Split
    label: str = ""
    average: Literal["", "micro", "macro", "weighted"] = ""
    precision: float
    recall: float
    f1: float
    support: int = Field(ge=0)


class UnseenEntities(Frozen):
    """Entities whose lower-cased words are no entity of the training data: how far the model goes beyond memory."""

    dataset: str = ""
    split: Split
    share: float = Field(ge=0, le=1, description="Part of all gold entities.")
    support: int = Field(ge=0)
    precision: float
    recall: float
    f1: float


class DatasetFacts(Frozen):
    """What was read of one dataset. `own_labels` are labels that no other training dataset has."""

    name: str
    owner: str
    digest: Digest
    role: Role
    records: dict[Split, int] = Field(description="Records used in each split, after duplicates were dropped.")
    dropped_duplicates: int = Field(
        default=0, alias="droppedDuplicates", ge=0, description="Training records that equal a record of evaluation."
    )
    own_labels: list[str] = Field(default=[], alias="ownLabels")


class ExecutionFacts(Frozen):
    """How it ran. `simulated_gpu`: GPUs were asked for, none is there, so it ran on the CPU."""

    device: Literal["cpu", "cuda"]
    simulated_gpu: bool = Field(alias="simulatedGpu")
    precision: Literal["Float32", "BFloat16"]
    threads: int
    attempt: int
    seconds: float
    cpu_seconds: float = Field(alias="cpuSeconds")
    gpu_seconds: float = Field(alias="gpuSeconds")
    peak_memory_bytes: int = Field(alias="peakMemoryBytes", description="Of the process, in the memory of the machine.")
    peak_gpu_memory_bytes: int | None = Field(
        default=None, alias="peakGpuMemoryBytes", description="Held for tensors; the driver takes its part beside it."
    )
    parameters: int = Field(description="Numbers that the model learnt.")
    steps: int
    total_steps: int = Field(alias="totalSteps")
    batch_size: int = Field(alias="batchSize")
    micro_batch_size: int = Field(alias="microBatchSize")
    stopped: Literal["", "EarlyStopping", "StepLimit", "BudgetSpent"] = ""


class Report(Frozen):
    """The whole of metrics.json. `headline` is the metric that ranks results of this task."""

    schema_: Literal["v1alpha1"] = Field(default="v1alpha1", alias="schema")
    task: str
    method: str
    seed: int
    scorer: str = Field(description="How records were scored; figures of other scorers do not compare.")
    headline: MetricName
    metrics: list[ReportMetric]
    losses: list[Loss]
    per_entity: list[LabelScores] = Field(default=[], alias="perEntity")
    per_tag: list[LabelScores] = Field(default=[], alias="perTag", description="Tokens, the tag O included.")
    per_class: list[LabelScores] = Field(default=[], alias="perClass")
    unseen: list[UnseenEntities] = []
    datasets: list[DatasetFacts]
    notes: list[str] = Field(default=[], description="What a reader must know to read the figures rightly.")
    execution: ExecutionFacts

    def metric(self, name: MetricName, split: Split, dataset: str = "") -> ReportMetric | None:
        """The figure of that name on one dataset, or pooled; None when it was not measured."""
        found = (m for m in self.metrics if (m.name, m.split, m.dataset) == (name, split, dataset))
        return next(found, None)
