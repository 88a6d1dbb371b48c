"""NeuralNetwork: layers of hidden units over the columns of a table, trained by gradients."""

from collections.abc import Callable

import numpy as np

from collabspace.api.catalogue import Method
from collabspace.api.manifest import TargetKind
from collabspace_trainer.methods import features
from collabspace_trainer.methods.estimator import Estimator, Link, load_estimator
from collabspace_trainer.methods.layers import Layers
from collabspace_trainer.parameters import gradient_parameters, integer, number
from collabspace_trainer.registry import method
from collabspace_trainer.session import Session
from collabspace_trainer.tasks.tabular import Tables

NAME = "NeuralNetwork"


@method(
    Method(
        name=NAME,
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
    ),
    ["Tabular"],
    load_estimator,
)
def train(corpus: Tables, session: Session, score: Callable[[Estimator], float] | None) -> Estimator:
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

    labels = list(corpus.labels)
    link: Link = "Estimate" if numeric else "Logits"

    def current() -> Estimator:
        head = Layers(learner.arrays())
        return Estimator("Tabular", NAME, labels, made, head, link, corpus.target.column, mean, scale)

    rules = loop.recipe(session, session.plan.settings.number("learningRate"), "parameters.learningRate")
    loop.train(learner, rules, session, (lambda: score(current())) if score else None)
    return current()
