"""LogisticRegression: the linear baseline that a larger model must beat."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabspace.api.catalogue import Method
from collabspace.api.manifest import TargetKind
from collabspace_trainer.errors import ConfigError, DataError
from collabspace_trainer.methods import features, text_features
from collabspace_trainer.methods.estimator import Estimator, load_estimator
from collabspace_trainer.methods.layers import Layers, logistic_layer
from collabspace_trainer.parameters import CLASS_WEIGHTS, integer, number
from collabspace_trainer.pulse import UNBOUNDED_STALL_SECONDS
from collabspace_trainer.registry import method
from collabspace_trainer.session import Session
from collabspace_trainer.tasks.tabular import Tables
from collabspace_trainer.tasks.text_classification import Texts

NAME = "LogisticRegression"
STRENGTH = "Inverse of the strength by which large coefficients are held back."
ITERATIONS = integer("maxIterations", 1000, 1, 100_000, "Iterations before the solver gives up.")


@method(
    Method(
        name=NAME,
        description="A linear model of class probabilities (scikit-learn, L-BFGS).",
        parameters=[number("C", "1", "0.000001", "1000000", STRENGTH), ITERATIONS, CLASS_WEIGHTS],
        baseline=True,
        cost=1,
    ),
    ["Tabular"],
    load_estimator,
    gradients=False,
)
def train_on_rows(corpus: Tables, session: Session, _score: Callable[[Estimator], float] | None) -> Estimator:
    """Raises ConfigError for a Number target, DataError when training has a single class."""
    if corpus.target.kind is not TargetKind.CLASS:
        raise ConfigError(
            f"training.method LogisticRegression predicts classes, target {corpus.target.column!r} is a Number; "
            "use NeuralNetwork"
        )
    if len(np.unique(corpus.train.target)) < 2:
        raise DataError(f"target {corpus.target.column!r}: training rows have one class only; push rows of another")
    session.pulse.enter("Train", UNBOUNDED_STALL_SECONDS)
    made = features.fit(corpus.train, corpus.features)
    values = made.encode(corpus.train).astype(np.float64)
    head = _fit(values, corpus.train.target, len(corpus.labels), session)
    return Estimator("Tabular", NAME, list(corpus.labels), made, head, "Logits", corpus.target.column)


@method(
    Method(
        name=NAME,
        description="A linear model over the words and word pairs of a text, weighed by TF-IDF (scikit-learn, L-BFGS).",
        parameters=[
            *text_features.PARAMETERS,
            number("C", "4", "0.000001", "1000000", STRENGTH),
            ITERATIONS,
            CLASS_WEIGHTS,
        ],
        baseline=True,
        cost=1,
    ),
    ["TextClassification"],
    load_estimator,
    gradients=False,
)
def train_on_texts(corpus: Texts, session: Session, _score: Callable[[Estimator], float] | None) -> Estimator:
    """Raises DataError when the texts share no term."""
    session.pulse.enter("Train", UNBOUNDED_STALL_SECONDS)
    with session.stop.at_once():
        texts = [record.text for record in corpus.train]
        made = text_features.learn(texts, session)
        values = made.encode(texts)
    head = _fit(values, corpus.classes(corpus.train), len(corpus.labels), session)
    return Estimator("TextClassification", NAME, list(corpus.labels), made, head, "Logits")


def _fit(values: Any, target: NDArray[Any], classes: int, session: Session) -> Layers:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    settings = session.plan.settings
    model = LogisticRegression(
        C=settings.number("C"),
        max_iter=settings.integer("maxIterations"),
        class_weight="balanced" if settings.choice("classWeights") == "Balanced" else None,
        random_state=session.plan.document.training.seed,
    )
    with session.stop.at_once(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below, in our words
        model.fit(values, target)
    if int(model.n_iter_.max()) >= settings.integer("maxIterations"):
        session.events.note("the solver did not converge; raise parameters.maxIterations")
    return logistic_layer(model.coef_, model.intercept_, np.asarray(model.classes_, dtype=np.intp), classes)
