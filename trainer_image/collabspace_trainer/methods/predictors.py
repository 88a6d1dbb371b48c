"""Encoders as predictors: measured, kept, and read back from what was kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from collabspace.formats import TaggedSentence
from collabspace_trainer import stored
from collabspace_trainer.evaluation.spans import tag_set
from collabspace_trainer.stored import StoredModel

if TYPE_CHECKING:
    from collabspace_trainer.methods.classifying import ClassModel
    from collabspace_trainer.methods.tagging import TagModel
    from collabspace_trainer.runtime import Runtime

PREDICTION_BATCH = 32


@dataclass(frozen=True)
class Tagging:
    """Tags of words; `labels` are the entity types."""

    model: "TagModel"
    method: str
    labels: Sequence[str]

    @property
    def parameters(self) -> int:
        return self.model.encoder.parameters

    def predict(self, sentences: Sequence[TaggedSentence]) -> Iterator[NDArray[np.float32]]:
        return iter(self.model.predict([sentence.tokens for sentence in sentences], PREDICTION_BATCH))

    def save(self, folder: Path) -> None:
        from collabspace_trainer.methods import encoder

        encoder.save(self.model.encoder, folder, tag_set(self.labels))
        stored.describe(folder, "TokenClassification", self.method, self.labels)


def load_tagging(model: StoredModel, machine: "Runtime") -> Tagging:
    """Raises DataError."""
    from collabspace_trainer.methods import encoder
    from collabspace_trainer.methods.tagging import TagModel

    labels = model.description.labels
    learnt = encoder.load_learnt(model.folder, tag_set(labels), "Tags")
    return Tagging(TagModel(learnt, machine), model.description.method, labels)


@dataclass(frozen=True)
class Classifying:
    """Classes of texts."""

    model: "ClassModel"
    method: str
    labels: Sequence[str]

    @property
    def parameters(self) -> int:
        return self.model.encoder.parameters

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return self.model.predict(texts, PREDICTION_BATCH)

    def save(self, folder: Path) -> None:
        from collabspace_trainer.methods import encoder

        encoder.save(self.model.encoder, folder, self.labels)
        stored.describe(folder, "TextClassification", self.method, self.labels)


def load_classifying(model: StoredModel, machine: "Runtime") -> Classifying:
    """Raises DataError."""
    from collabspace_trainer.methods import encoder
    from collabspace_trainer.methods.classifying import ClassModel

    labels = model.description.labels
    learnt = encoder.load_learnt(model.folder, labels, "Classes")
    return Classifying(ClassModel(learnt, machine), model.description.method, labels)
