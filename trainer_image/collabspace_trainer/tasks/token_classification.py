"""TokenClassification: entities in sentences, scored as strict IOB2 spans over whole sentences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from collabspace.api.manifest import DatasetFormat, Split
from collabspace.api.report import DatasetFacts
from collabspace.api.run import MetricName
from collabspace.formats import TaggedSentence, read_token_classification
from collabspace_trainer.errors import DataError
from collabspace_trainer.evaluation.entities import Scored, evaluate
from collabspace_trainer.evaluation.evaluation import Evaluation
from collabspace_trainer.evaluation.spans import find_spans, tag_set
from collabspace_trainer.pulse import each
from collabspace_trainer.registry import task
from collabspace_trainer.spec import Plan
from collabspace_trainer.tasks.copies import comparable
from collabspace_trainer.tasks.facts import (
    check_labels,
    count_records,
    facts,
    measured_versions,
    notes,
    read_splits,
    training_versions,
)
from collabspace_trainer.versions import Version

Parts = Mapping[str, Sequence[TaggedSentence]]
"""Sentences by dataset."""


class Tagger(Protocol):
    """A predictor of tags."""

    def predict(self, sentences: Sequence[TaggedSentence]) -> Iterator[NDArray[np.float32]]:
        """Log-probabilities [words, tags] of each sentence, in order."""
        ...


@dataclass(frozen=True)
class Sentences:
    """The corpus: `tags` is O, then B- and I- of each label; `known` the lower-cased entities of the training data."""

    labels: Sequence[str]
    tags: Sequence[str]
    train: Sequence[TaggedSentence]
    measured: Mapping[Split, Parts]
    known: frozenset[str]
    facts: list[DatasetFacts]
    notes: list[str]

    @property
    def headline(self) -> MetricName:
        return MetricName.ENTITY_MICRO_F1


@task(
    name="TokenClassification",
    description="Finds entities in text: one tag per word.",
    data_format=DatasetFormat.TOKEN_CLASSIFICATION,
    metrics=[
        MetricName.ENTITY_MICRO_F1,
        MetricName.ENTITY_MACRO_F1,
        MetricName.TOKEN_MICRO_F1_WITH_O,
        MetricName.LOSS,
    ],
    scorer="strict IOB2 spans of whole sentences; predictions are the most probable valid IOB2 sequence",
)
class TokenClassification:
    def load(self, plan: Plan, versions: Sequence[Version]) -> Sentences:
        """Reads all splits that are used. Raises DataError, FormatError."""
        labels = plan.document.training.labels
        if not labels:
            raise DataError("training.labels is empty and no dataset has an entity; push data with tags other than O")
        check_labels(versions, labels)
        train = {v.name: _read(v, (Split.TRAIN,)) for v in training_versions(versions)}
        measured = {
            split: {v.name: _read(v, read_splits(v, split)) for v in measured_versions(versions, split)}
            for split in (Split.VALIDATION, Split.TEST)
        }
        kept = _without(train, {_key(s) for parts in measured.values() for part in parts.values() for s in part})
        sentences = [sentence for part in kept.values() for sentence in part]
        if train and not sentences:
            raise DataError(
                "no training sentence is left: all of them equal one of evaluation; push other training data"
            )
        rows = facts(
            versions, count_records(kept, measured), {name: len(train[name]) - len(kept[name]) for name in train}
        )
        return Sentences(
            labels, tag_set(labels), sentences, measured, frozenset(_entities(sentences)), rows, notes(rows)
        )

    def evaluate(self, corpus: Sentences, predictor: Tagger, split: Split, intervals: bool) -> Evaluation:
        scored = {
            name: Scored(sentences, list(predictor.predict(sentences)))
            for name, sentences in corpus.measured[split].items()
        }
        return evaluate(scored, corpus.labels, corpus.known, split, intervals)


def _read(version: Version, splits: Sequence[Split]) -> list[TaggedSentence]:
    return [
        sentence
        for split in splits
        for sentence in each(read_token_classification(version.folder, version.manifest, split))
    ]


def _key(sentence: TaggedSentence) -> str:
    return comparable(" ".join(sentence.tokens))


def _without(parts: Parts, keys: set[str]) -> dict[str, list[TaggedSentence]]:
    """The parts without sentences that hold an entity and equal one of evaluation.

    Standing phrases without an entity stay: they are no secret of the test, and what is not an entity must be learnt.
    """
    return {
        name: [sentence for sentence in each(part) if set(sentence.tags) == {"O"} or _key(sentence) not in keys]
        for name, part in parts.items()
    }


def _entities(sentences: Sequence[TaggedSentence]) -> Iterator[str]:
    for sentence in sentences:
        for start, end, _ in find_spans(sentence.tags):
            yield " ".join(sentence.tokens[start:end]).lower()
