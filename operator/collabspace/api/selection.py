"""ModelSelection: compare different models and methods on the same data, and promote the best."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StrictBool, StrictInt

from collabspace.api.conditions import Condition
from collabspace.api.resource import DecimalText, DigestText, NameText, ObjectMeta, Part, TimeText, map_list, rules
from collabspace.api.task import (
    Initialization,
    ModelSource,
    ParameterValue,
    PinnedDataset,
    Resources,
    TaskBudget,
    TaskDataset,
)

MAX_NAME = 40
MAX_CANDIDATES = 50
MAX_SEEDS = 5


class Goal(StrEnum):
    MAXIMIZE = "Maximize"
    MINIMIZE = "Minimize"


class Objective(Part):
    """What is compared."""

    metric: str = Field(min_length=1, max_length=64, description="Name of the metric, for example entity_micro_f1.")
    goal: Goal = Field(default=Goal.MAXIMIZE, description="Maximize or Minimize.")
    tolerance: DecimalText = Field(
        default="0.01",
        description="A difference below this does not matter: the cheapest candidate that is surely within it wins.",
    )


class Candidate(Part):
    """One model and method with its settings."""

    name: NameText = Field(description="Name on the leaderboard.")
    method: str = Field(min_length=1, max_length=64, description="As in CollabTask.")
    model_from: ModelSource | None = Field(default=None, description="Weights to start from.")
    initialization: Initialization = Field(default=Initialization.PRETRAINED, description="As in CollabTask.")
    parameters: dict[Annotated[str, Field(max_length=64)], ParameterValue] = Field(
        default={}, description="Settings of the method.", json_schema_extra={"maxProperties": 64}
    )
    resources_per_node: Resources = Field(default=Resources(), description="What its trainer pods get.")


class PromotionMode(StrEnum):
    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class Promotion(Part):
    """What becomes of the winner."""

    alias: NameText = Field(description="The alias of this namespace that shall stand for the winner.")
    mode: PromotionMode = Field(
        default=PromotionMode.AUTOMATIC,
        description="Automatic: the alias is set where there is none yet, or where the winner is shown to be better "
        "than what it stands for, or no worse and a fifth cheaper. Manual: kubectl collab promote SELECTION.",
    )


class SelectionSpec(Part):
    """What is asked for. Frozen once accepted, but for suspend."""

    task: str = Field(min_length=1, max_length=64, description="What is learned, as in CollabTask.")
    datasets: list[TaskDataset] = Field(
        min_length=1, max_length=16, description="Shared by all candidates.", json_schema_extra=map_list("name")
    )
    objective: Objective = Field(description="What is compared.")
    candidates: list[Candidate] = Field(
        min_length=1,
        max_length=MAX_CANDIDATES,
        description="Models and methods to compare.",
        json_schema_extra=map_list("name"),
    )
    seeds: StrictInt = Field(
        default=1,
        ge=1,
        le=MAX_SEEDS,
        description="Runs of each candidate. With one, training noise is unknown: nothing is called better or worse.",
    )
    parallelism: StrictInt = Field(default=1, ge=1, le=MAX_CANDIDATES, description="Tasks at a time.")
    budget: TaskBudget | None = Field(
        default=None,
        description="The most that all candidates together may spend; the cheap ones run first.",
    )
    promotion: Promotion | None = Field(default=None, description="Unset: the winner is named and nothing more.")
    suspend: StrictBool = Field(
        default=False, description="True stops its tasks after a checkpoint; false lets them go on."
    )


class CandidateState(StrEnum):
    WAITING = "Waiting"
    RUNNING = "Running"
    RANKED = "Ranked"
    EXCLUDED = "Excluded"
    """It ended without a figure that can be ranked; the reason says why."""
    SKIPPED = "Skipped"
    """Not started: the budget does not cover it."""


class Cost(Part):
    """Over all runs and attempts."""

    cpu_seconds: int = Field(default=0, ge=0, description="CPUs asked for x seconds.")
    gpu_seconds: int = Field(default=0, ge=0, description="GPUs x seconds.")


class LeaderboardEntry(Part):
    """One candidate; ranked ones first, the best on top, then the others in the order of the spec."""

    rank: int | None = Field(default=None, ge=1, description="From 1; unset: not ranked.")
    candidate: str = Field(max_length=63, description="Its name.")
    task_name: str = Field(default="", max_length=63, description="Its CollabTask; of several runs the best.")
    validation_value: str = Field(default="", max_length=32, description="Mean over its runs, on the validation split.")
    cost: Cost = Field(default=Cost(), description="What it cost.")
    runs: int = Field(default=0, ge=0, description="Runs that ended well.")
    state: CandidateState = Field(description="Waiting, Running, Ranked, Excluded or Skipped.")
    reason: str = Field(default="", max_length=64, description="Why, in a word.")
    message: str = Field(default="", max_length=512, description="Why, in a sentence.")


class Rival(StrEnum):
    """Part in the last comparison, on the test split."""

    WINNER = "Winner"
    CHAMPION = "Champion"
    BASELINE = "Baseline"


class Verdict(StrEnum):
    """How the winner stands to a rival; of the winner itself nothing is said."""

    NONE = ""
    BETTER = "Better"
    NON_INFERIOR = "NonInferior"
    WORSE = "Worse"
    UNDECIDED = "Undecided"


class ComparisonEntry(Part):
    """The winner, the champion or the best baseline on the test split."""

    rival: Rival = Field(description="Winner, Champion or Baseline.")
    candidate: str = Field(max_length=63, description="Its candidate; of the champion its task.")
    test_value: str = Field(default="", max_length=32, description="The figure on the test split.")
    difference: str = Field(
        default="", max_length=32, description="The winner's figure less this one; above 0: better."
    )
    low: str = Field(default="", max_length=32, description="Lower end of the difference's 95 % interval.")
    high: str = Field(default="", max_length=32, description="Upper end of it.")
    verdict: Verdict = Field(default=Verdict.NONE, description="Better, NonInferior, Worse or Undecided.")
    runs: int = Field(default=0, ge=0, description="Runs that stand behind it.")
    message: str = Field(default="", max_length=512, description="How to read it.")


class Winner(Part):
    candidate: str = Field(max_length=63, description="Its name.")
    task_name: str = Field(max_length=63, description="The CollabTask of its best run.")
    task_uid: str = Field(max_length=64, description="uid of that task.")
    result_digest: DigestText = Field(description="The stored result.")
    metric_value: str = Field(max_length=32, description="Its figure on the validation split.")
    message: str = Field(default="", max_length=512, description="Why it won.")


class Champion(Part):
    """What the alias stood for when the comparison began."""

    task_name: str = Field(default="", max_length=63, description="The task that stored it.")
    result_digest: DigestText = Field(description="The stored result.")


class PromotionState(StrEnum):
    PROMOTED = "Promoted"
    KEPT = "Kept"
    AWAITING = "Awaiting"
    MOVED = "Moved"


class PromotionRecord(Part):
    state: PromotionState = Field(
        description="Promoted: the alias stands for the winner. Kept: the champion stays. Awaiting: a person decides "
        "(kubectl collab promote). Moved: somebody else set the alias meanwhile, so the comparison does not hold."
    )
    alias: str = Field(max_length=63, description="The alias.")
    result_digest: str = Field(default="", max_length=71, description="What it stands for.")
    time: TimeText | None = Field(default=None, description="When it was set.")
    message: str = Field(default="", max_length=512, description="Why.")


class SelectionStatus(Part):
    """What is the case."""

    observed_generation: int = Field(default=0, ge=0, description="The generation that this status judges.")
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        description="Accepted, Running, Succeeded, Stalled.",
        json_schema_extra=map_list("type"),
    )
    reason: str = Field(default="", max_length=64, description="The one dominant reason, as in the conditions.")
    datasets: list[PinnedDataset] = Field(
        default=[], max_length=17, description="Versions that all candidates use.", json_schema_extra=map_list("name")
    )
    leaderboard: list[LeaderboardEntry] = Field(
        default=[], max_length=MAX_CANDIDATES, description="All candidates.", json_schema_extra=map_list("candidate")
    )
    winner: Winner | None = Field(default=None, description="The cheapest candidate that is good enough.")
    champion: Champion | None = Field(default=None, description="What the alias stood for.")
    comparison: list[ComparisonEntry] = Field(
        default=[], max_length=3, description="On the test split, scored once.", json_schema_extra=map_list("rival")
    )
    promotion: PromotionRecord | None = Field(default=None, description="What became of the alias.")
    cost: Cost = Field(default=Cost(), description="Of all candidates.")
    start_time: TimeText | None = Field(default=None, description="When its versions were pinned.")
    completion_time: TimeText | None = Field(default=None, description="When it ended.")


class ModelSelection(Part):
    """A comparison of different models and methods on the same data."""

    metadata: ObjectMeta
    spec: SelectionSpec
    status: SelectionStatus = SelectionStatus()


NAME_RULE = (
    f"size(self.metadata.name) <= {MAX_NAME} && !self.metadata.name.contains('.')",
    f"metadata.name must have at most {MAX_NAME} characters and no dots: its tasks are named after it",
)
SPEC_RULES = rules(
    ("self.datasets.exists(d, d.role == 'Train')", "datasets: at least one must have role Train"),
)
MUTABLE = frozenset({"suspend"})
