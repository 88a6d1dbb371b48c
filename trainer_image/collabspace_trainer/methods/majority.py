"""Majority: what is most common, whatever the text says; a model that learns must do better."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from collabspace.api.catalogue import Method
from collabspace.formats import TaggedSentence
from collabspace_trainer import stored
from collabspace_trainer.errors import DataError
from collabspace_trainer.evaluation.spans import tag_set
from collabspace_trainer.pulse import each
from collabspace_trainer.registry import method
from collabspace_trainer.session import Session
from collabspace_trainer.stored import CONFIG, StoredModel
from collabspace_trainer.tasks.text_classification import Texts
from collabspace_trainer.tasks.token_classification import Sentences

NAME = "Majority"
WEIGHTS = "model.safetensors"
MINIMUM_RECORDS = 5
"""Words of fewer sentences are not kept: a name of one patient must not travel with the model."""


@dataclass(frozen=True)
class Majority:
    """`shares` [1 + words, outputs] are log-probabilities: of all records, then of each word in lower case."""

    task: str
    labels: list[str]
    words: list[str]
    shares: NDArray[np.float32]

    @property
    def parameters(self) -> int:
        return int(self.shares.size)

    def save(self, folder: Path) -> None:
        config = {"model_type": "collabspace-majority", "words": self.words}
        (folder / CONFIG).write_text(json.dumps(config, ensure_ascii=False))
        stored.describe(folder, self.task, NAME, self.labels)
        save_file({"shares": np.ascontiguousarray(self.shares)}, folder / WEIGHTS)


class MajorityTagging(Majority):
    def predict(self, sentences: Sequence[TaggedSentence]) -> Iterator[NDArray[np.float32]]:
        """Log-probabilities [words, tags] of each sentence."""
        row = {word: index for index, word in enumerate(self.words, start=1)}
        for sentence in each(sentences):
            yield self.shares[[row.get(word.lower(), 0) for word in sentence.tokens]]


class MajorityClassifying(Majority):
    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Log-probabilities [texts, classes], the same for all."""
        return np.repeat(self.shares[:1].astype(np.float64), len(texts), axis=0)


def load_tagging(model: StoredModel, _machine: Any) -> MajorityTagging:
    """Raises DataError."""
    labels = list(model.description.labels)
    return MajorityTagging("TokenClassification", labels, *_load(model, len(tag_set(labels))))


def load_classifying(model: StoredModel, _machine: Any) -> MajorityClassifying:
    """Raises DataError."""
    labels = list(model.description.labels)
    return MajorityClassifying("TextClassification", labels, *_load(model, len(labels)))


@method(
    Method(
        name=NAME,
        description="The most common tag of each word that stands in five training sentences or more, "
        "else of all words.",
        parameters=[],
        baseline=True,
        cost=1,
    ),
    ["TokenClassification"],
    load_tagging,
    gradients=False,
)
def train_tagger(corpus: Sentences, session: Session, _score: Callable[[Any], float] | None) -> MajorityTagging:
    with session.stop.at_once():
        number = {tag: index for index, tag in enumerate(corpus.tags)}
        sentences: Counter[str] = Counter()
        for sentence in each(corpus.train):
            sentences.update({word.lower() for word in sentence.tokens})
        words = sorted(word for word, count in sentences.items() if count >= MINIMUM_RECORDS)
        row = {word: index for index, word in enumerate(words, start=1)}
        counts = np.zeros((1 + len(words), len(number)))
        for sentence in each(corpus.train):
            for word, tag in zip(sentence.tokens, sentence.tags, strict=True):
                counts[row.get(word.lower(), 0), number[tag]] += 1
        overall = counts.sum(axis=0) + 1
        counts[0] = overall
        counts[1:] += overall / overall.sum()  # one more word, of the common kind: nothing is impossible
    return MajorityTagging("TokenClassification", list(corpus.labels), words, _logs(counts))


@method(
    Method(
        name=NAME,
        description="The most common class of the training texts, for every text.",
        parameters=[],
        baseline=True,
        cost=1,
    ),
    ["TextClassification"],
    load_classifying,
    gradients=False,
)
def train_classifier(corpus: Texts, session: Session, _score: Callable[[Any], float] | None) -> MajorityClassifying:
    with session.stop.at_once():
        counts = np.bincount(corpus.classes(corpus.train), minlength=len(corpus.labels))[None, :] + 1.0
    return MajorityClassifying("TextClassification", list(corpus.labels), [], _logs(counts))


def _logs(counts: NDArray[Any]) -> NDArray[np.float32]:
    logs: NDArray[np.float32] = np.log(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return logs


def _load(model: StoredModel, outputs: int) -> tuple[list[str], NDArray[np.float32]]:
    try:
        words, shares = model.config["words"], load_file(model.folder / WEIGHTS)["shares"]
        if not all(isinstance(word, str) for word in words) or shares.shape != (1 + len(words), outputs):
            raise ValueError("words and shares do not fit together")
        if not np.isfinite(shares).all():
            raise ValueError("a share is not finite")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"model: {CONFIG} and {WEIGHTS} do not fit together ({type(error).__name__}); give another result"
        ) from None
    return list(words), shares.astype(np.float32)
