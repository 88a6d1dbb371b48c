"""A feed-forward network that learns from the rows of a table."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from collabspace.api.manifest import TargetKind
from collabspace_trainer.methods.class_weights import class_weights
from collabspace_trainer.methods.features import Features
from collabspace_trainer.methods.layers import Layer
from collabspace_trainer.session import Session
from collabspace_trainer.tasks.tabular import Tables


class RowLearner:
    """`scaling` is mean and scale of a Number target, which the network learns in standardised form."""

    def __init__(self, corpus: Tables, made: Features, scaling: tuple[float, float], session: Session) -> None:
        settings, device = session.plan.settings, session.runtime.device
        self._classes = corpus.target.kind is TargetKind.CLASS
        inputs = torch.from_numpy(made.encode(corpus.train))
        self._inputs = inputs.to(device)
        if self._classes:
            self._targets = torch.from_numpy(corpus.train.target.astype(np.int64)).to(device)
        else:
            standard = (corpus.train.target.astype(np.float64) - scaling[0]) / scaling[1]
            self._targets = torch.from_numpy(standard.astype(np.float32)).to(device)
        self._smoothing = settings.number("labelSmoothing")
        weights = class_weights(self._targets.tolist(), len(corpus.labels), settings) if self._classes else None
        self._class_weights = None if weights is None else weights.to(device)
        units, dropout = settings.integer("hiddenUnits"), settings.number("dropout")
        layers: list[nn.Module] = []
        width = inputs.shape[1]
        for _ in range(settings.integer("hiddenLayers")):
            layers += [nn.Linear(width, units), nn.ReLU(), nn.Dropout(dropout)]
            width = units
        layers.append(nn.Linear(width, len(corpus.labels) if self._classes else 1))
        self.model: nn.Module = nn.Sequential(*layers).to(device)
        self._lengths = [1] * len(inputs)

    @property
    def lengths(self) -> Sequence[int]:
        return self._lengths

    def weight(self, records: Sequence[int]) -> float:
        if self._class_weights is None:
            return float(len(records))
        return float(self._class_weights[self._targets[list(records)]].sum().item())

    def loss(self, records: Sequence[int]) -> torch.Tensor:
        chosen = list(records)
        outputs = self.model(self._inputs[chosen]).float()
        targets = self._targets[chosen]
        if not self._classes:
            return functional.mse_loss(outputs[:, 0], targets, reduction="sum")
        return functional.cross_entropy(
            outputs, targets, self._class_weights, reduction="sum", label_smoothing=self._smoothing
        )

    def arrays(self) -> list[Layer]:
        """The layers as they are now."""
        linear = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
        return [(_array(module.weight), _array(module.bias)) for module in linear]


def _array(tensor: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    array: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = tensor.detach().cpu().numpy().copy()
    return array
