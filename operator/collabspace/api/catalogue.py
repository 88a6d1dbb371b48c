"""What the trainer can do: tasks x methods with their parameters, read from the generated `catalogue.json` beside it.

The trainer's registries write the file (`make generate`); operator, CLI and chart read it and never import torch.
"""

import json
from enum import StrEnum
from functools import cache
from importlib import resources

from pydantic import Field

from collabspace.api.manifest import DatasetFormat, Frozen
from collabspace.api.run import Scalar


class ParameterType(StrEnum):
    INTEGER = "Integer"
    NUMBER = "Number"
    CHOICE = "Choice"


class Parameter(Frozen):
    """One setting of a method. Numbers are decimal strings, as in the API; bounds are inclusive."""

    name: str
    type: ParameterType
    default: Scalar
    minimum: str | None = None
    maximum: str | None = None
    choices: list[str] = []
    description: str


class Purpose(StrEnum):
    """What a method does with its data: learn, measure a stored model, or compare stored results."""

    TRAINING = "Training"
    EVALUATION = "Evaluation"
    COMPARISON = "Comparison"


class Method(Frozen):
    name: str
    description: str
    purpose: Purpose = Purpose.TRAINING
    parameters: list[Parameter]
    needs_weights: bool = Field(default=False, alias="needsWeights")
    accepts_weights: bool = Field(default=False, alias="acceptsWeights")
    needs_gpu: bool = Field(default=False, alias="needsGpu")
    baseline: bool = Field(default=False, description="Sets the bar that others must clear: cheap, and quick to run.")
    cost: int = Field(
        ge=1,
        description="What to expect before anything was measured: CPU-seconds for 10,000 training records, and for "
        "each epoch where there are epochs. A guess that orders candidates, no promise.",
    )


class CatalogueTask(Frozen):
    name: str
    description: str
    format: DatasetFormat
    metrics: list[str]
    methods: list[Method]

    def method(self, name: str) -> Method | None:
        return next((method for method in self.methods if method.name == name), None)


class Catalogue(Frozen):
    tasks: list[CatalogueTask]

    def task(self, name: str) -> CatalogueTask | None:
        return next((task for task in self.tasks if task.name == name), None)


@cache
def catalogue() -> Catalogue:
    """The catalogue of this release."""
    text = resources.files("collabspace.api").joinpath("catalogue.json").read_text()
    return Catalogue.model_validate(json.loads(text))
