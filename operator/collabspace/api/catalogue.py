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


class Method(Frozen):
    name: str
    description: str
    parameters: list[Parameter]
    needs_weights: bool = Field(default=False, alias="needsWeights")
    accepts_weights: bool = Field(default=False, alias="acceptsWeights")
    needs_gpu: bool = Field(default=False, alias="needsGpu")
    cost: int = Field(ge=1, description="Relative CPU cost on the same data; the cheapest is 1.")


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
