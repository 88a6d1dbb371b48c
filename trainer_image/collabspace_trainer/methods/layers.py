"""Linear layers with rectifiers between them, as plain arrays. Logistic regression has one layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weights [out, in] and bias [out]."""
ABSENT = -30.0
"""Logit of a class that training never showed: practically impossible, yet with a finite loss."""


@dataclass(frozen=True)
class Layers:
    layers: Sequence[Layer]

    @property
    def parameters(self) -> int:
        return sum(weights.size + bias.size for weights, bias in self.layers)

    @property
    def outputs(self) -> int:
        return len(self.layers[-1][1])

    def compute(self, values: Any) -> NDArray[np.float64]:
        """[records, outputs] of values [records, numbers], dense or sparse."""
        for index, (weights, bias) in enumerate(self.layers):
            values = (np.maximum(values, 0) if index else values) @ weights.T.astype(np.float64) + bias
        computed: NDArray[np.float64] = values
        return computed

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            f"layers.{index}.{name}": array
            for index, layer in enumerate(self.layers)
            for name, array in zip(("weight", "bias"), layer, strict=True)
        }

    @staticmethod
    def of(arrays: Mapping[str, NDArray[Any]], inputs: int) -> "Layers":
        """From `arrays()`. Raises ValueError or KeyError when they do not fit together or to so many inputs."""
        count = sum(name.startswith("layers.") for name in arrays) // 2
        layers: list[Layer] = [(arrays[f"layers.{i}.weight"], arrays[f"layers.{i}.bias"]) for i in range(count)]
        for weights, bias in layers:
            if weights.shape != (len(bias), inputs) or bias.ndim != 1:
                raise ValueError("the layers do not fit together")
            inputs = len(bias)
        if not layers:
            raise ValueError("there is no layer")
        return Layers(layers)


def logistic_layer(weights: NDArray[Any], bias: NDArray[Any], present: NDArray[np.intp], classes: int) -> Layers:
    """What scikit-learn learnt for the `present` classes, as one layer over all; of two it learns the second alone."""
    two = len(present) == 2
    every = np.zeros((classes, weights.shape[1]), dtype=np.float32)
    biases = np.full(classes, ABSENT, dtype=np.float32)
    every[present[1:] if two else present] = weights
    biases[present[1:] if two else present] = bias
    if two:
        biases[present[0]] = 0.0
    return Layers([(every, biases)])
