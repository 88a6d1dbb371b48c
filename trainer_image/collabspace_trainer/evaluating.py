"""Evaluation: measures a stored model on data that it has not learnt from; nothing is learnt here."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collabspace.api.catalogue import Method, Purpose
from collabspace.api.manifest import Split, TargetKind
from collabspace.api.run import Role, RunDocument
from collabspace_trainer import registry, stored, stored_results
from collabspace_trainer.errors import DataError
from collabspace_trainer.registry import method, no_model
from collabspace_trainer.spec import Plan
from collabspace_trainer.stored import StoredModel
from collabspace_trainer.stored_results import RUN
from collabspace_trainer.tasks.tabular import QUANTITIES, Tables
from collabspace_trainer.versions import Inputs

if TYPE_CHECKING:
    from collabspace_trainer.session import Session

NAME = "Evaluation"


@dataclass(frozen=True)
class Examined:
    """A stored model with the corpus that it is measured on; the plan has the model's labels, in its order."""

    plan: Plan
    corpus: Any
    model: StoredModel


@method(
    Method(
        name=NAME,
        description="Measures a stored model on other data; learns nothing.",
        purpose=Purpose.EVALUATION,
        parameters=[],
        needs_weights=True,
        cost=20,
    ),
    ["TokenClassification", "TextClassification", "Tabular"],
    no_model,
    gradients=False,
)
def load(corpus: Any, session: "Session", _score: Callable[[Any], float] | None) -> Any:
    """The stored model as a predictor. Raises DataError."""
    if session.stored is None:
        raise DataError("training.initialModel is missing; name the result to measure")
    with session.stop.at_once():
        predictor = registry.method_of(session.stored).load(session.stored, session.runtime)
        if isinstance(corpus, Tables):
            _check_columns(predictor, corpus)
        return predictor


def _check_columns(predictor: Any, corpus: Tables) -> None:
    """Raises DataError naming the first column that the model needs and the table does not have as such."""
    from collabspace_trainer.methods.features import Quantity

    classes = corpus.target.kind is TargetKind.CLASS
    if predictor.target != corpus.target.column or classes is not bool(predictor.labels):
        raise DataError(
            f"target {corpus.target.column!r} ({corpus.target.kind}): the model predicts {predictor.target[:128]!r}, "
            f"a {TargetKind.CLASS if predictor.labels else TargetKind.NUMBER}; measure it on a table with that target"
        )
    numeric = {column.name: column.kind in QUANTITIES for column in corpus.features}
    for column in predictor.features.columns:
        if numeric.get(column.column) is not isinstance(column, Quantity):
            kind = "number or time" if isinstance(column, Quantity) else "category"
            raise DataError(
                f"column {column.column[:128]!r}: the model needs it as a {kind}, the table has it otherwise or not at "
                "all; measure it on a table with the columns that it learnt from"
            )


def read(plan: Plan, inputs: Inputs) -> Examined:
    """Raises DataError when the model is no sound one, is of another task, or does not fit the data."""
    if inputs.model_folder is None:
        raise DataError("training.initialModel is missing; name the result to measure")
    stored_results.check_model(inputs.model_folder)
    model = replace(stored.read(inputs.model_folder), base=inputs.base_folder)
    task = plan.document.training.task
    if model.description.task != task:
        raise DataError(f"model: it is of {model.description.task!r}, training.task is {task}; measure it as that")
    for version in inputs.versions:
        unknown = sorted(set(version.manifest.labels) - set(model.description.labels))
        if unknown:
            raise DataError(
                f"dataset {version.name}: the model does not know its labels {', '.join(unknown)[:256]}; "
                "measure it on data of the labels that it learnt"
            )
    _check_unseen(inputs)
    labels = model.description.labels
    training = plan.document.training.model_copy(update={"labels": labels})
    plan = replace(plan, document=plan.document.model_copy(update={"training": training}))
    corpus = plan.task.implementation.load(plan, inputs.versions)
    return Examined(plan, corpus, model)


def _check_unseen(inputs: Inputs) -> None:
    """Raises DataError where the model has learnt from the very records that it would be measured on."""
    run = (inputs.model_folder or Path()).parent / RUN
    if not run.is_file():
        return
    training = stored_results.read("model", run, RunDocument).training
    learnt = {dataset.digest for dataset in training.datasets if dataset.role is Role.TRAIN}
    for version in inputs.versions:
        if version.manifest.digest in learnt and Split.TRAIN in version.report_splits:
            raise DataError(
                f"dataset {version.name}: the model has learnt from this version, which has no test split; "
                "measure it on other data"
            )
