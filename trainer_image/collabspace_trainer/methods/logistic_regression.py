"""LogisticRegression: the linear baseline that a larger model must beat."""

import warnings
from collections.abc import Callable

import numpy as np

from collabspace.api.manifest import TargetKind
from collabspace_trainer.errors import ConfigError, DataError
from collabspace_trainer.methods import features
from collabspace_trainer.methods.layers import Layers
from collabspace_trainer.parameters import CLASS_WEIGHTS, integer, number
from collabspace_trainer.pulse import UNBOUNDED_STALL_SECONDS
from collabspace_trainer.registry import method
from collabspace_trainer.session import Session
from collabspace_trainer.tasks.tabular import Tables

ABSENT = -30.0
"""Logit of a class that training never showed: practically impossible, yet with a finite loss."""


@method(
    name="LogisticRegression",
    tasks=["Tabular"],
    description="A linear model of class probabilities (scikit-learn, L-BFGS).",
    parameters=[
        number("C", "1", "0.000001", "1000000", "Inverse of the strength by which large coefficients are held back."),
        integer("maxIterations", 1000, 1, 100_000, "Iterations before the solver gives up."),
        CLASS_WEIGHTS,
    ],
    cost=1,
    gradients=False,
)
def train(corpus: Tables, session: Session, _score: Callable[[Layers], float] | None) -> Layers:
    """Raises ConfigError for a Number target, DataError when training has a single class."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if corpus.target.kind is not TargetKind.CLASS:
        raise ConfigError(
            f"training.method LogisticRegression predicts classes, target {corpus.target.column!r} is a Number; "
            "use NeuralNetwork"
        )
    present = np.unique(corpus.train.target)
    if len(present) < 2:
        raise DataError(f"target {corpus.target.column!r}: training rows have one class only; push rows of another")
    settings = session.plan.settings
    session.pulse.enter("Train", UNBOUNDED_STALL_SECONDS)
    made = features.fit(corpus.train, corpus.features)
    model = LogisticRegression(
        C=settings.number("C"),
        max_iter=settings.integer("maxIterations"),
        class_weight="balanced" if settings.choice("classWeights") == "Balanced" else None,
        random_state=session.plan.document.training.seed,
    )
    with session.stop.at_once(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below, in our words
        model.fit(made.encode(corpus.train).astype(np.float64), corpus.train.target)
    if int(model.n_iter_.max()) >= settings.integer("maxIterations"):
        session.events.note("the solver did not converge; raise parameters.maxIterations")
    weights = np.zeros((len(corpus.labels), model.coef_.shape[1]), dtype=np.float32)
    bias = np.full(len(corpus.labels), ABSENT, dtype=np.float32)
    two = len(present) == 2
    weights[present[1:] if two else present] = model.coef_
    bias[present[1:] if two else present] = model.intercept_
    if two:
        bias[present[0]] = 0.0
    return Layers("LogisticRegression", made, [(weights, bias)], corpus.target.column, corpus.labels)
