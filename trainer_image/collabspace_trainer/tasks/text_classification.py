"""TextClassification: one class per text, scored as right or wrong, with how sure the model was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from collabspace.api.manifest import DatasetFormat, Split
from collabspace.api.report import DatasetFacts
from collabspace.api.run import MetricName
from collabspace.formats import LabelledText, read_text_classification
from collabspace_trainer.errors import DataError
from collabspace_trainer.evaluation import classes
from collabspace_trainer.evaluation.bootstrap import group_numbers
from collabspace_trainer.evaluation.evaluation import Evaluation
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

Parts = Mapping[str, Sequence[LabelledText]]
"""Texts by dataset."""


class Classifier(Protocol):
    """A predictor of classes."""

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Log-probabilities [texts, labels]."""
        ...


@dataclass(frozen=True)
class Texts:
    """The corpus: training texts of all datasets together, measured ones by dataset."""

    labels: Sequence[str]
    train: Sequence[LabelledText]
    measured: Mapping[Split, Parts]
    facts: list[DatasetFacts]
    notes: list[str]

    @property
    def headline(self) -> MetricName:
        return MetricName.ACCURACY

    def classes(self, records: Sequence[LabelledText]) -> NDArray[np.intp]:
        """The class number of each record."""
        number = {label: index for index, label in enumerate(self.labels)}
        return np.array([number[record.label] for record in records], dtype=np.intp)


@task(
    name="TextClassification",
    description="Puts each text into one of several classes: topic, sentiment, intent.",
    data_format=DatasetFormat.TEXT_CLASSIFICATION,
    metrics=[
        MetricName.ACCURACY,
        MetricName.MACRO_F1,
        MetricName.LOG_LOSS,
        MetricName.ROC_AUC,
        MetricName.AVERAGE_PRECISION,
        MetricName.CALIBRATION_ERROR,
        MetricName.LOSS,
    ],
    scorer="texts, right or wrong; calibration error over 15 equal bins of the highest probability",
)
class TextClassification:
    def load(self, plan: Plan, versions: Sequence[Version]) -> Texts:
        """Reads all splits that are used. Raises DataError, FormatError."""
        labels = plan.document.training.labels
        check_labels(versions, labels)
        train = {v.name: _read(v, (Split.TRAIN,)) for v in training_versions(versions)}
        measured = {
            split: {v.name: _read(v, read_splits(v, split)) for v in measured_versions(versions, split)}
            for split in (Split.VALIDATION, Split.TEST)
        }
        keys = {comparable(r.text) for parts in measured.values() for part in parts.values() for r in part}
        kept = {name: [r for r in each(part) if comparable(r.text) not in keys] for name, part in train.items()}
        records = [record for part in kept.values() for record in part]
        if train and len({record.label for record in records}) < 2:
            raise DataError(
                "training texts of fewer than two classes are left after those that equal one of evaluation were "
                "dropped; push texts of another class"
            )
        rows = facts(
            versions, count_records(kept, measured), {name: len(train[name]) - len(kept[name]) for name in train}
        )
        return Texts(labels, records, measured, rows, notes(rows) + _shared(train, measured[Split.TEST]))

    def evaluate(self, corpus: Texts, predictor: Classifier, split: Split, intervals: bool) -> Evaluation:
        shown = {name: records for name, records in corpus.measured[split].items() if records}
        parts = {
            name: (corpus.classes(records), predictor.predict([record.text for record in records]))
            for name, records in shown.items()
        }
        groups = {name: group_numbers([record.group for record in records]) for name, records in shown.items()}
        return classes.evaluate(parts, corpus.labels, split, intervals, groups)


def _read(version: Version, splits: Sequence[Split]) -> list[LabelledText]:
    return [
        record for split in splits for record in each(read_text_classification(version.folder, version.manifest, split))
    ]


def _shared(train: Parts, test: Parts) -> list[str]:
    """How much of each test split would have been seen in training: texts that travel say little about new ones."""
    seen = {comparable(record.text) for part in train.values() for record in part}
    said = []
    for name, part in test.items():
        shared = sum(comparable(record.text) in seen for record in each(part))
        if shared:
            share = 100 * shared / len(part)
            said.append(
                f"{name}: {share:.1f} % of the test texts also stood in training data, before they were dropped there"
            )
    return said
