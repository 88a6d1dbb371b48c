"""ZeroShot: a text gets the class whose name, in a sentence, lies nearest to it; no training text is looked at."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from collabspace.api.catalogue import Method
from collabspace_trainer.methods.layers import Layers
from collabspace_trainer.parameters import choice, integer, number
from collabspace_trainer.registry import method
from collabspace_trainer.session import Session
from collabspace_trainer.stored import StoredModel
from collabspace_trainer.tasks.text_classification import Texts

if TYPE_CHECKING:
    from collabspace_trainer.methods.embedding import Embedded
    from collabspace_trainer.runtime import Runtime

NAME = "ZeroShot"
LENGTH = integer("maxLength", 128, 16, 512, "Word pieces of a text that are read.")
SCALE = number("scale", "20", "0.1", "1000", "By how much a nearer class is more probable: factor of the cosine.")


def load(model: StoredModel, machine: "Runtime") -> "Embedded":
    """Raises DataError, also when the encoder is not at hand."""
    from collabspace_trainer.methods import embedding

    return embedding.load(model, machine)


@method(
    Method(
        name=NAME,
        description="Compares texts with sentences that name the classes, by a given encoder that is left as it is.",
        parameters=[
            choice(
                "sentence", ["This text is about {}.", "It was {}.", "{}"], "What stands for a class; {} is its name."
            ),
            SCALE,
            LENGTH,
        ],
        needs_weights=True,
        baseline=True,
        cost=2,
    ),
    ["TextClassification"],
    load,
)
def train(corpus: Texts, session: Session, _score: Callable[[Any], float] | None) -> "Embedded":
    """Raises DataError."""
    with session.stop.at_once():
        from collabspace_trainer.methods.embedding import Embedded, begin

        settings = session.plan.settings
        embedder, base, length = begin(session, corpus.labels)
        names = [label.replace("_", " ").replace("-", " ") for label in corpus.labels]
        sentences = [settings.choice("sentence").replace("{}", name) for name in names]
        weights = np.float32(settings.number("scale")) * embedder.embed(sentences)
        head = Layers([(weights, np.zeros(len(weights), dtype=np.float32))])
        return Embedded(embedder, head, NAME, list(corpus.labels), base, length)
