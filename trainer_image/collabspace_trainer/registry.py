"""What the trainer can do: two dicts, filled by decorators when `load` imports the modules of tasks and methods.

Nothing here or at the top of those modules imports torch, so the catalogue can be written on any machine.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from collabspace.api.catalogue import Catalogue, CatalogueTask, Method
from collabspace.api.manifest import DatasetFormat, Split
from collabspace.api.report import DatasetFacts
from collabspace.api.run import MetricName
from collabspace_trainer.errors import DataError
from collabspace_trainer.stored import StoredModel

if TYPE_CHECKING:
    from collabspace_trainer.evaluation.evaluation import Evaluation
    from collabspace_trainer.runtime import Runtime
    from collabspace_trainer.session import Session
    from collabspace_trainer.spec import Plan
    from collabspace_trainer.versions import Version


class Corpus(Protocol):
    """Data of a run in memory: what is trained on and what is measured on."""

    @property
    def facts(self) -> list[DatasetFacts]: ...

    @property
    def notes(self) -> list[str]: ...

    @property
    def headline(self) -> MetricName:
        """The metric that ranks results."""
        ...


class Predictor(Protocol):
    """A learnt model that can be measured and kept."""

    @property
    def parameters(self) -> int:
        """How many numbers were learnt."""
        ...

    def save(self, folder: Path) -> None:
        """Writes safetensors, JSON and its description (see `stored`) into the folder, which exists and is empty."""
        ...


class Task(Protocol):
    """A kind of problem: reads its data and measures predictors of it."""

    def load(self, plan: "Plan", versions: "Sequence[Version]") -> Any:
        """The corpus of the run. Raises DataError."""
        ...

    def evaluate(self, corpus: Any, predictor: Any, split: Split, intervals: bool) -> "Evaluation":
        """Measures on one split, by dataset and pooled; without `intervals` only what early stopping needs."""
        ...


Train = Callable[[Any, "Session", Callable[[Any], float] | None], Any]
"""corpus, session, score of a predictor on the validation split (None: there is none) -> predictor."""
Load = Callable[[StoredModel, "Runtime"], Any]
"""What `save` wrote, as a predictor again, ready to be measured. Raises DataError."""


@dataclass(frozen=True)
class TaskEntry:
    name: str
    description: str
    format: DatasetFormat
    metrics: tuple[MetricName, ...]
    implementation: Task
    scorer: str


@dataclass(frozen=True)
class MethodEntry:
    task: str
    description: Method
    train: Train
    load: Load
    gradients: bool


TASKS: dict[str, TaskEntry] = {}
METHODS: dict[tuple[str, str], MethodEntry] = {}
T = TypeVar("T", bound=type[Any])
F = TypeVar("F", bound=Train)


def task(
    name: str, description: str, data_format: DatasetFormat, metrics: Sequence[MetricName], scorer: str
) -> Callable[[T], T]:
    """Registers a class as a task; the first metric is the usual headline."""

    def register(implementation: T) -> T:
        TASKS[name] = TaskEntry(name, description, data_format, tuple(metrics), implementation(), scorer)
        return implementation

    return register


def method(description: Method, tasks: Sequence[str], load: Load, gradients: bool = True) -> Callable[[F], F]:
    """Registers a function as a method for tasks; `load` reads back the models that it makes.

    `gradients` says that it needs torch and can use a GPU. What needs weights accepts them.
    """
    entry = description.model_copy(update={"accepts_weights": description.accepts_weights or description.needs_weights})

    def register(train: F) -> F:
        for task_name in tasks:
            METHODS[task_name, entry.name] = MethodEntry(task_name, entry, train, load, gradients)
        return train

    return register


def no_model(_model: StoredModel, _machine: "Runtime") -> Any:
    """Stands as `load` of methods that learn nothing. Raises DataError."""
    raise DataError("model: its method learns nothing, so there is none; give the result of a training")


def method_of(model: StoredModel) -> MethodEntry:
    """The method that made a stored model and can load it. Raises DataError when this release has none such."""
    load()
    found = METHODS.get((model.description.task, model.description.method))
    if found is None:
        raise DataError(
            f"model: it is of {model.description.task!r} by {model.description.method!r}, which this release cannot "
            "load; give the result of a run of this release"
        )
    return found


def load() -> None:
    """Imports every task and method, which register themselves."""
    for name in (
        "tasks.token_classification",
        "tasks.tabular",
        "tasks.text_classification",
        "methods.full_fine_tuning",
        "methods.lora",
        "methods.majority",
        "methods.few_shot",
        "methods.zero_shot",
        "methods.window_features",
        "methods.neural_network",
        "methods.logistic_regression",
        "evaluating",
        "comparing",
        "methods.tree_ensembles",
    ):
        importlib.import_module(f"collabspace_trainer.{name}")


def catalogue() -> Catalogue:
    """All tasks with their methods, in alphabetical order."""
    load()
    return Catalogue(tasks=[_describe(TASKS[name]) for name in sorted(TASKS)])


def _describe(entry: TaskEntry) -> CatalogueTask:
    methods = [METHODS[key].description for key in sorted(METHODS) if key[0] == entry.name]
    return CatalogueTask(
        name=entry.name,
        description=entry.description,
        format=entry.format,
        metrics=[str(metric) for metric in entry.metrics],
        methods=methods,
    )
