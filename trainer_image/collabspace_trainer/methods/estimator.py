"""A predictor over numbers made of rows or texts: features, then layers or trees, all of it arrays and JSON.

What is published is what is measured: predictions come from these arrays, not from the library that fitted them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from collabspace_trainer import stored
from collabspace_trainer.errors import DataError
from collabspace_trainer.methods.features import Features
from collabspace_trainer.methods.halving import halved_if_short
from collabspace_trainer.methods.layers import ABSENT, Layers
from collabspace_trainer.methods.text_features import TextFeatures
from collabspace_trainer.methods.trees import Trees
from collabspace_trainer.pulse import each
from collabspace_trainer.stored import CONFIG, StoredModel

Link = Literal["Logits", "Shares", "Estimate"]
"""What the outputs are: logits of the classes, shares of them that add up to 1, or a number in standard form."""
WEIGHTS = "model.safetensors"
RECORDS_AT_ONCE = 500


class NumberMaker(Protocol):
    """Features of one kind of record."""

    @property
    def size(self) -> int:
        """How many numbers a record has."""
        ...

    def encode(self, records: Any) -> Any:
        """[records, numbers], dense or sparse."""
        ...

    def describe(self) -> Any:
        """As JSON, without the arrays."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]: ...


@dataclass(frozen=True)
class Estimator:
    """`target` names the column that a table's model predicts. Estimates are scaled back by `scale` and `mean`."""

    task: str
    method: str
    labels: list[str]
    features: NumberMaker
    head: Layers | Trees
    link: Link
    target: str = ""
    mean: float = 0.0
    scale: float = 1.0

    @property
    def parameters(self) -> int:
        return self.head.parameters + sum(array.size for array in self.features.arrays().values())

    def predict(self, records: Any) -> NDArray[np.float64]:
        """Log-probabilities [records, labels], or estimates [records]. Records can be counted and sliced."""
        return halved_if_short(lambda size: self._in_parts(records, size), min(len(records), RECORDS_AT_ONCE))

    def _in_parts(self, records: Any, size: int) -> NDArray[np.float64]:
        starts = range(0, len(records), size)
        return np.concatenate([self._predict(records[start : start + size]) for start in each(starts)])

    def _predict(self, records: Any) -> NDArray[np.float64]:
        outputs = self.head.compute(self.features.encode(records))
        if self.link == "Estimate":
            estimates: NDArray[np.float64] = outputs[:, 0] * self.scale + self.mean
            return estimates
        if self.link == "Shares":
            return np.log(np.maximum(outputs, np.exp(ABSENT)))
        shifted: NDArray[np.float64] = outputs - outputs.max(axis=1, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return shifted

    def save(self, folder: Path) -> None:
        """config.json says how numbers are made of records, model.safetensors holds all arrays."""
        config = {
            "model_type": "collabspace-estimator",
            "head": type(self.head).__name__,
            "link": self.link,
            "target": self.target,
            "mean": self.mean,
            "scale": self.scale,
            "features": self.features.describe(),
        }
        (folder / CONFIG).write_text(json.dumps(config, ensure_ascii=False))
        stored.describe(folder, self.task, self.method, self.labels)
        arrays = {**self.head.arrays(), **self.features.arrays()}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / WEIGHTS)


def load_estimator(model: StoredModel, _machine: object) -> Estimator:
    """What `save` wrote. Raises DataError when the files do not fit together."""
    try:
        arrays = load_file(model.folder / WEIGHTS)
        return _restore(model, arrays)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"model: {CONFIG} and {WEIGHTS} do not fit together ({type(error).__name__}); give another result"
        ) from None


def _restore(model: StoredModel, arrays: Mapping[str, NDArray[Any]]) -> Estimator:
    config, said = model.config, model.description
    if any(not np.isfinite(array).all() for array in arrays.values()):
        raise ValueError("a number is not finite")
    features: NumberMaker
    if said.task == "Tabular":
        features = Features.of(config["features"])
    else:
        features = TextFeatures.of(config["features"], arrays)
    head: Layers | Trees = (
        Trees.of(arrays, features.size) if config["head"] == "Trees" else Layers.of(arrays, features.size)
    )
    link: Link = config["link"]
    if link not in ("Logits", "Shares", "Estimate") or head.outputs != (len(said.labels) or 1):
        raise ValueError("the outputs are not those of the labels")
    target, mean, scale = str(config["target"]), float(config["mean"]), float(config["scale"])
    return Estimator(said.task, said.method, list(said.labels), features, head, link, target, mean, scale)
