"""By how much each class counts in the loss: what the parameter classWeights means for every method with gradients."""

from collections.abc import Sequence

import numpy as np
import torch

from collabspace_trainer.parameters import Settings


def class_weights(targets: Sequence[int], classes: int, settings: Settings) -> torch.Tensor | None:
    """[classes] inverse to their shares, 1 on average over the targets; None where all count alike."""
    if settings.choice("classWeights") == "None":
        return None
    counts = np.bincount(targets, minlength=classes)
    return torch.tensor(counts.sum() / (classes * np.maximum(counts, 1)), dtype=torch.float32)
