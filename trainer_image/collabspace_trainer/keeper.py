"""Early stopping: the weights of the best epoch so far, and when to give up hoping for better ones."""

import copy
import math

import torch
from torch import nn


class Keeper:
    """Keeps the weights of the best epoch; without patience it keeps nothing."""

    def __init__(self, patience: int, model: nn.Module) -> None:
        self._patience = patience
        self._model = model
        self.best = -math.inf
        self.since = 0
        self.weights: dict[str, torch.Tensor] | None = None

    def enough(self, value: float) -> bool:
        """Takes the score of an epoch; true when the last `patience` epochs have brought nothing better."""
        if value > self.best:
            self.best, self.since = value, 0
            self.weights = copy.deepcopy(self._model.state_dict())
        else:
            self.since += 1
        return self.since >= self._patience

    def restore_best(self) -> None:
        if self.weights is not None:
            self._model.load_state_dict(self.weights)
