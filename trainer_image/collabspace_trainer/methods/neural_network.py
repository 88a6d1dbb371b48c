"""NeuralNetwork: layers of hidden units over the columns of a table, trained by gradients."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from collabspace.api.manifest import TargetKind
from collabspace_trainer.methods import features
from collabspace_trainer.methods.layers import Layers
from collabspace_trainer.parameters import gradient_parameters, integer, number
from collabspace_trainer.registry import method
from collabspace_trainer.session import Session
from collabspace_trainer.tasks.tabular import Tables

if TYPE_CHECKING:
    from collabspace_trainer.methods.row_learner import RowLearner


@method(
    name="NeuralNetwork",
    tasks=["Tabular"],
    description="A feed-forward network of rectified hidden units (PyTorch).",
    parameters=[
        *gradient_parameters(
            epochs=20,
            batch_size=16,
            learning_rate=number("learningRate", "0.001", "0.0000001", "1", "Step size."),
            optimizers=["Adam", "AdamW", "Adafactor", "SGD"],
            schedulers=["Constant", "Linear", "Cosine"],
        ),
        number("dropout", "0", "0", "0.9", "Part of the hidden units that is set to zero while training."),
        integer("hiddenUnits", 128, 1, 4096, "Units of each hidden layer."),
        integer("hiddenLayers", 1, 1, 8, "Hidden layers."),
    ],
    cost=5,
)
def train(corpus: Tables, session: Session, score: Callable[[Layers], float] | None) -> Layers:
    """Raises DivergedError, Terminated."""
    import torch

    from collabspace_trainer import loop
    from collabspace_trainer.methods.row_learner import RowLearner

    with session.stop.at_once():
        torch.manual_seed(session.plan.document.training.seed)
        made = features.fit(corpus.train, corpus.features)
        numeric = corpus.target.kind is TargetKind.NUMBER
        mean = float(np.mean(corpus.train.target)) if numeric else 0.0
        scale = (float(np.std(corpus.train.target)) or 1.0) if numeric else 1.0
        learner = RowLearner(corpus, made, (mean, scale), session)

    def current() -> Layers:
        return _layers(learner, made, corpus, mean, scale)

    rules = loop.recipe(session, session.plan.settings.number("learningRate"), "parameters.learningRate")
    loop.train(learner, rules, session, (lambda: score(current())) if score else None)
    return current()


def _layers(learner: "RowLearner", made: features.Features, corpus: Tables, mean: float, scale: float) -> Layers:
    return Layers("NeuralNetwork", made, learner.arrays(), corpus.target.column, corpus.labels, mean, scale)
