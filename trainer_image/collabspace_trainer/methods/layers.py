"""A predictor of rows as plain arrays: linear layers, rectifiers between them. Logistic regression has one layer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from collabspace_trainer.methods.features import Features
from collabspace_trainer.methods.halving import halved_if_short
from collabspace_trainer.pulse import each
from collabspace_trainer.tasks.tabular import Rows

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weights [out, in] and bias [out]."""


@dataclass(frozen=True)
class Layers:
    """What is published is what is measured: predictions come from these arrays, not from the library that fitted them.

    `labels` empty: the output is a number, to be scaled back by `target_scale` and `target_mean`.
    """

    method: str
    features: Features
    layers: Sequence[Layer]
    target: str
    labels: Sequence[str]
    target_mean: float = 0.0
    target_scale: float = 1.0

    @property
    def parameters(self) -> int:
        return sum(weights.size + bias.size for weights, bias in self.layers)

    def predict(self, rows: Rows) -> NDArray[np.float64]:
        """Log-probabilities [rows, labels], or estimates [rows]."""
        return halved_if_short(lambda size: self._in_parts(rows, size), len(rows))

    def _in_parts(self, rows: Rows, size: int) -> NDArray[np.float64]:
        starts = range(0, len(rows), size)
        return np.concatenate([self._predict(rows.part(start, start + size)) for start in each(starts)])

    def _predict(self, rows: Rows) -> NDArray[np.float64]:
        values = self.features.encode(rows).astype(np.float64)
        for index, (weights, bias) in enumerate(self.layers):
            values = (np.maximum(values, 0) if index else values) @ weights.T.astype(np.float64) + bias
        if not self.labels:
            estimates: NDArray[np.float64] = values[:, 0] * self.target_scale + self.target_mean
            return estimates
        shifted: NDArray[np.float64] = values - values.max(axis=1, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return shifted

    def save(self, folder: Path) -> None:
        """config.json says how numbers are made of columns, model.safetensors holds the layers."""
        config = {
            "model_type": "collabspace-layers",
            "method": self.method,
            "target": self.target,
            "labels": list(self.labels),
            "targetMean": self.target_mean,
            "targetScale": self.target_scale,
            "features": self.features.describe(),
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        arrays = {
            f"layers.{i}.{name}": array
            for i, layer in enumerate(self.layers)
            for name, array in zip(("weight", "bias"), layer, strict=True)
        }
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "model.safetensors")
