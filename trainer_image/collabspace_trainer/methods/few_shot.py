"""FewShot: a few examples of each class, as a frozen encoder sees them, tell the classes apart."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from collabspace.api.catalogue import Method
from collabspace_trainer.errors import DataError
from collabspace_trainer.methods.layers import Layers, logistic_layer
from collabspace_trainer.methods.zero_shot import LENGTH, SCALE, load
from collabspace_trainer.parameters import choice, integer, number
from collabspace_trainer.registry import method
from collabspace_trainer.session import Session
from collabspace_trainer.tasks.text_classification import Texts

if TYPE_CHECKING:
    from collabspace_trainer.methods.embedding import Embedded, Vectors

NAME = "FewShot"


@method(
    Method(
        name=NAME,
        description="Learns from a few examples of each class, "
        "on the vectors of a given encoder that is left as it is.",
        parameters=[
            integer("examples", 16, 1, 10_000, "Training texts of each class, drawn by the seed, or all there are."),
            choice("classifier", ["Logistic", "Prototypes"], "A linear model, or the nearest mean of the examples."),
            number("C", "4", "0.000001", "1000000", "Of Logistic: inverse of the hold on large coefficients."),
            SCALE,
            LENGTH,
        ],
        needs_weights=True,
        baseline=True,
        cost=4,
    ),
    ["TextClassification"],
    load,
)
def train(corpus: Texts, session: Session, _score: Callable[[Any], float] | None) -> "Embedded":
    """Raises DataError."""
    with session.stop.at_once():
        from collabspace_trainer.methods.embedding import Embedded, begin

        chosen, target = _examples(corpus, session)
        session.events.decision("examples", len(chosen), "parameters.examples of each class, drawn by the seed")
        embedder, base, length = begin(session, corpus.labels)
        vectors = embedder.embed(chosen)
        head = _head(vectors, target, len(corpus.labels), session)
        return Embedded(embedder, head, NAME, list(corpus.labels), base, length)


def _examples(corpus: Texts, session: Session) -> tuple[list[str], NDArray[np.intp]]:
    generator = np.random.default_rng(session.plan.document.training.seed)
    classes, most = corpus.classes(corpus.train), session.plan.settings.integer("examples")
    rows = [generator.permutation(np.flatnonzero(classes == number))[:most] for number in range(len(corpus.labels))]
    empty = next((label for label, part in zip(corpus.labels, rows, strict=True) if not len(part)), None)
    if empty is not None:
        raise DataError(f"label {empty!r}: no training text has it; push examples of it")
    order = np.concatenate(rows)
    return [corpus.train[row].text for row in order], classes[order]


def _head(vectors: "Vectors", target: NDArray[np.intp], classes: int, session: Session) -> Layers:
    settings = session.plan.settings
    if settings.choice("classifier") == "Prototypes":
        means = np.stack([vectors[target == number].mean(axis=0) for number in range(classes)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        weights = (settings.number("scale") * means).astype(np.float32)
        return Layers([(weights, np.zeros(classes, dtype=np.float32))])
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=settings.number("C"), max_iter=1000).fit(vectors.astype(np.float64), target)
    return logistic_layer(model.coef_, model.intercept_, np.asarray(model.classes_, dtype=np.intp), classes)
