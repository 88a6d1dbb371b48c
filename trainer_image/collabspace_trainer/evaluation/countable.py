"""Which figures can be computed again from the counts per record that results hold, and how."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabspace.api.run import MetricName
from collabspace_trainer.evaluation.comparison import Counts, Figure, Floats
from collabspace_trainer.evaluation.scores import macro_f1, precision_recall_f1, ratio

Arrays = Mapping[str, NDArray[Any]]
"""The arrays of one counts file; first axis the record."""


@dataclass(frozen=True)
class Countable:
    """A metric that sums of counts give: the columns of each record, and the figure of their sums."""

    columns: Callable[[Arrays], Counts]
    figure: Figure


@dataclass(frozen=True)
class Kind:
    """One sort of counts: how many axes each array has, which metrics it gives, what each record came to.

    `gold` is equal in all results that were measured on the same records, once class numbers are names.
    """

    arrays: Mapping[str, int]
    metrics: Mapping[MetricName, Countable]
    outcome: Callable[[Arrays], NDArray[Any]] | None
    gold: str


def _mean(sums: Floats) -> Floats:
    return ratio(sums[..., 0], sums[..., 1])


def _with_ones(values: NDArray[Any]) -> Counts:
    return Counts.of(values, np.ones(len(values)))


def _gold_loss(arrays: Arrays) -> NDArray[Any]:
    logs = arrays["logProbabilities"]
    loss: NDArray[Any] = -logs[np.arange(len(logs)), arrays["gold"]].astype(np.float64)
    return loss


def _confusion(arrays: Arrays) -> Counts:
    """[records, labels * 3] of TP, FP, FN."""
    gold, predicted = arrays["gold"].astype(np.intp), arrays["predicted"].astype(np.intp)
    rows, right = np.arange(len(gold)), gold == predicted
    wrong = ~right
    columns = np.concatenate([3 * gold[right], 3 * predicted[wrong] + 1, 3 * gold[wrong] + 2])
    shape = (len(gold), 3 * arrays["logProbabilities"].shape[1])
    return Counts.ones(np.concatenate([rows[right], rows[wrong], rows[wrong]]), columns, shape)


def _macro_f1(sums: Floats) -> Floats:
    return macro_f1(sums.reshape(*sums.shape[:-1], -1, 3))


def _entities(arrays: Arrays) -> Counts:
    return Counts.table(arrays["entities"].reshape(len(arrays["entities"]), -1))


def _all_entities(arrays: Arrays) -> Counts:
    return Counts.table(arrays["entities"].sum(axis=1))


def _wrong_entities(arrays: Arrays) -> NDArray[Any]:
    wrong: NDArray[Any] = arrays["entities"][:, :, 1:].sum(axis=(1, 2)) > 0
    return wrong


_CLASS_LOSS = Countable(lambda arrays: _with_ones(_gold_loss(arrays)), _mean)
_SQUARED = Countable(lambda arrays: _with_ones(arrays["squaredError"]), _mean)
KINDS = (
    Kind(
        {"gold": 1, "predicted": 1, "correct": 1, "logProbabilities": 2, "group": 1},
        {
            MetricName.ACCURACY: Countable(lambda arrays: _with_ones(arrays["correct"]), _mean),
            MetricName.MACRO_F1: Countable(_confusion, _macro_f1),
            MetricName.LOG_LOSS: _CLASS_LOSS,
            MetricName.LOSS: _CLASS_LOSS,
        },
        lambda arrays: arrays["correct"],
        "gold",
    ),
    Kind(
        {"entities": 3, "loss": 1, "tokens": 1, "group": 1},
        {
            MetricName.ENTITY_MICRO_F1: Countable(_all_entities, lambda sums: precision_recall_f1(sums)[2]),
            MetricName.ENTITY_MACRO_F1: Countable(_entities, _macro_f1),
            MetricName.LOSS: Countable(lambda arrays: Counts.of(arrays["loss"], arrays["tokens"]), _mean),
        },
        _wrong_entities,
        "tokens",
    ),
    Kind(
        {"squaredError": 1, "absoluteError": 1, "group": 1},
        {
            MetricName.RMSE: Countable(_SQUARED.columns, lambda sums: np.sqrt(_mean(sums))),
            MetricName.MAE: Countable(lambda arrays: _with_ones(arrays["absoluteError"]), _mean),
            MetricName.LOSS: _SQUARED,
        },
        None,
        "group",
    ),
)


def kind_of(arrays: Arrays) -> Kind:
    """The sort of counts that these are, sound in every number. Raises ValueError saying what is wrong."""
    found = next((kind for kind in KINDS if kind.arrays.keys() == arrays.keys()), None)
    if found is None:
        raise ValueError("it has other arrays than counts of this release")
    sizes = {len(array) if array.ndim else -1 for array in arrays.values()}
    if len(sizes) != 1 or sizes == {0} or any(arrays[name].ndim != axes for name, axes in found.arrays.items()):
        raise ValueError("its arrays have no records, or not the same number")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("a number is not finite")
    whole = ("group", "gold", "predicted", "correct", "entities", "tokens")
    for name in whole:
        if name in arrays and (arrays[name].dtype.kind != "i" or arrays[name].min() < 0):
            raise ValueError(f"{name} is no count")
    classes = arrays["logProbabilities"].shape[1] if "logProbabilities" in arrays else 0
    if classes and max(arrays["gold"].max(), arrays["predicted"].max()) >= classes:
        raise ValueError("a class number is beyond its labels")
    if arrays["group"].max() >= len(arrays["group"]) or ("entities" in arrays and arrays["entities"].shape[2] != 3):
        raise ValueError("its groups or entities do not fit its records")
    return found
