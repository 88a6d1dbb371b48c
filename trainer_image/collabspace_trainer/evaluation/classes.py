"""Measures classifiers of rows and texts: right or wrong, how sure, and how honestly sure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabspace.api.manifest import Split
from collabspace.api.report import Loss, ReportMetric
from collabspace.api.run import MetricName
from collabspace_trainer.evaluation.bootstrap import interval
from collabspace_trainer.evaluation.evaluation import Evaluation
from collabspace_trainer.evaluation.scores import confusion, macro_f1, table

POOLED = ""
BINS = 15
Part = tuple[NDArray[Any], NDArray[np.float64]]
"""Gold class numbers [rows] with log-probabilities [rows, labels]; or gold quantities with estimates, both [rows]."""


def evaluate(
    parts: Mapping[str, Part],
    labels: Sequence[str],
    split: Split,
    intervals: bool,
    groups: Mapping[str, NDArray[np.int64]] | None = None,
) -> Evaluation:
    """Rows by dataset and pooled (dataset empty); without `intervals` metrics and losses alone.

    `groups` numbers each record's group by dataset; without it each record is one of its own.
    """
    result = Evaluation()
    own = groups or {name: np.arange(len(gold)) for name, (gold, _) in parts.items()}
    groups = {**own, POOLED: _apart(list(own.values()))}
    for name, (gold, logs) in with_pooled(parts).items():
        gold = gold.astype(np.intp)
        predicted = logs.argmax(axis=1)
        _add_metrics(result, _Scored(gold, logs, groups[name]), labels, split, name, intervals)
        if intervals:
            result.per_class += table(labels, confusion(gold, predicted, len(labels)), split, name)
        if intervals and name != POOLED:
            result.predictions[name] = [
                {"row": row, "gold": labels[g], "predicted": labels[p]}
                for row, (g, p) in enumerate(zip(gold, predicted, strict=True))
            ]
            result.counts[name] = {
                "gold": gold.astype(np.int32),
                "predicted": predicted.astype(np.int32),
                "correct": (gold == predicted).astype(np.int8),
                "logProbabilities": logs.astype(np.float32),
                "group": groups[name],
            }
    return result


@dataclass(frozen=True)
class _Scored:
    """Gold class numbers, log-probabilities [rows, labels] and group numbers of one dataset, or of all pooled."""

    gold: NDArray[np.intp]
    logs: NDArray[np.float64]
    groups: NDArray[np.int64]


def _apart(groups: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The groups of several datasets in one numbering, in which those of different datasets differ."""
    offsets = np.cumsum([0, *(int(part.max(initial=-1)) + 1 for part in groups)])
    shifted = [part + offset for part, offset in zip(groups, offsets, strict=False)]
    return np.concatenate(shifted) if shifted else np.empty(0, dtype=np.int64)


def with_pooled(parts: Mapping[str, Part]) -> dict[str, Part]:
    """The parts, and all of them as one under the empty name."""
    if not parts:
        return {}
    gold, outputs = zip(*parts.values(), strict=True)
    return {**parts, POOLED: (np.concatenate(gold), np.concatenate(outputs))}


def calibration_error(gold: NDArray[np.intp], logs: NDArray[np.float64]) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over 15 equal bins, weighted by rows."""
    confidence = np.exp(logs.max(axis=1))
    correct = (logs.argmax(axis=1) == gold).astype(np.float64)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=confidence - correct, minlength=BINS)
    return float(np.abs(gaps).sum() / len(gold))


def _add_metrics(
    result: Evaluation,
    scored: _Scored,
    labels: Sequence[str],
    split: Split,
    dataset: str,
    intervals: bool,
) -> None:
    def add(
        name: MetricName, value: float, label: str = "", bounds: tuple[float | None, float | None] = (None, None)
    ) -> None:
        result.metrics.append(
            ReportMetric(
                name=name, value=value, dataset=dataset, split=split, label=label, low=bounds[0], high=bounds[1]
            )
        )

    gold, logs = scored.gold, scored.logs
    correct = (logs.argmax(axis=1) == gold).astype(np.float64)
    bounds = interval(with_ones(correct), scored.groups, _mean) if intervals else (None, None)
    loss = float(-logs[np.arange(len(gold)), gold].mean())
    add(MetricName.ACCURACY, float(correct.mean()), bounds=bounds)
    add(MetricName.MACRO_F1, float(macro_f1(confusion(gold, logs.argmax(axis=1), len(labels)))))
    add(MetricName.LOG_LOSS, loss)
    add(MetricName.LOSS, loss)
    add(MetricName.CALIBRATION_ERROR, calibration_error(gold, logs))
    if len(labels) == 2 and 0 < gold.sum() < len(gold):
        from sklearn.metrics import average_precision_score, roc_auc_score

        score = logs[:, 1] - logs[:, 0]
        add(MetricName.ROC_AUC, float(roc_auc_score(gold, score)), label=labels[1])
        add(MetricName.AVERAGE_PRECISION, float(average_precision_score(gold, score)), label=labels[1])
    result.losses.append(Loss(dataset=dataset, split=split, mean=loss, count=len(gold), unit="nats/record"))


def with_ones(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[rows, 2] of value and 1, whose sums give the mean of a draw."""
    return np.stack([values, np.ones(len(values))], axis=1)


def _mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = sums[..., 0] / sums[..., 1]
    return mean
