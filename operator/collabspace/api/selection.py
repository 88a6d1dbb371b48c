"""ModelSelection: compare different models and methods on the same data. Stored in this release, not yet run."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from collabspace.api.conditions import Condition
from collabspace.api.resource import DecimalText, NameText, ObjectMeta, Part, map_list, rules
from collabspace.api.task import ModelSource, ParameterValue, Resources, TaskBudget, TaskDataset

MAX_NAME = 40


class Goal(StrEnum):
    MAXIMIZE = "Maximize"
    MINIMIZE = "Minimize"


class Objective(Part):
    """What is compared."""

    metric: str = Field(min_length=1, max_length=64, description="Name of the metric, for example entity_micro_f1.")
    goal: Goal = Field(default=Goal.MAXIMIZE, description="Maximize or Minimize.")
    tolerance: DecimalText = Field(default="0.01", description="A difference below this does not matter.")


class Candidate(Part):
    """One model and method with its settings."""

    name: NameText = Field(description="Name on the leaderboard.")
    method: str = Field(min_length=1, max_length=64, description="As in CollabTask.")
    model_from: ModelSource | None = Field(default=None, description="Weights to start from.")
    parameters: dict[Annotated[str, Field(max_length=64)], ParameterValue] = Field(
        default={}, description="Settings of the method.", json_schema_extra={"maxProperties": 64}
    )
    resources_per_node: Resources = Field(default=Resources(), description="What its trainer pods get.")


class SelectionSpec(Part):
    """What is asked for."""

    task: str = Field(min_length=1, max_length=64, description="What is learned, as in CollabTask.")
    datasets: list[TaskDataset] = Field(
        min_length=1, max_length=16, description="Shared by all candidates.", json_schema_extra=map_list("name")
    )
    objective: Objective = Field(description="What is compared.")
    candidates: list[Candidate] = Field(
        min_length=1, max_length=50, description="Models and methods to compare.", json_schema_extra=map_list("name")
    )
    parallelism: int = Field(default=1, ge=1, le=50, description="Tasks at a time.")
    budget: TaskBudget | None = Field(default=None, description="The most that all together may spend.")


class SelectionStatus(Part):
    """What is the case."""

    observed_generation: int = Field(default=0, ge=0, description="The generation that this status judges.")
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        description="Accepted, Running, Succeeded, Stalled.",
        json_schema_extra=map_list("type"),
    )


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
