"""Precision, recall and F1 from counts of true positives, false positives and false negatives."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabspace.api.manifest import Split
from collabspace.api.report import LabelScores

Numbers = NDArray[Any]
Floats = NDArray[np.float64]


def ratio(part: Numbers, whole: Numbers) -> Floats:
    """part / whole, and 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole > 0)


def precision_recall_f1(counts: Numbers) -> tuple[Floats, Floats, Floats]:
    """From [..., 3] of TP, FP, FN; undefined ratios are 0, as the usual scorers have it."""
    counts = counts.astype(np.float64)
    hits, false, missed = counts[..., 0], counts[..., 1], counts[..., 2]
    return ratio(hits, hits + false), ratio(hits, hits + missed), ratio(2 * hits, 2 * hits + false + missed)


def macro_f1(counts: Numbers) -> Floats:
    """Mean F1 over the labels of [..., labels, 3] that occur in gold or prediction."""
    f1 = precision_recall_f1(counts)[2]
    present = counts.sum(axis=-1) > 0
    return ratio((f1 * present).sum(axis=-1), present.sum(axis=-1).astype(np.float64))


def table(labels: Sequence[str], counts: Numbers, split: Split, dataset: str) -> list[LabelScores]:
    """One line per label that occurs, then micro, macro and weighted averages. `counts` is [labels, 3]."""
    present = counts.sum(axis=1) > 0
    precision, recall, f1 = precision_recall_f1(counts)
    support = (counts[:, 0] + counts[:, 2]).astype(int)
    rows = [
        LabelScores(
            dataset=dataset,
            split=split,
            label=label,
            precision=float(precision[i]),
            recall=float(recall[i]),
            f1=float(f1[i]),
            support=int(support[i]),
        )
        for i, label in enumerate(labels)
        if present[i]
    ]
    total = int(support.sum())
    micro = [float(value) for value in precision_recall_f1(counts.sum(axis=0))]
    stacked = np.stack([precision, recall, f1])[:, present]
    macro = stacked.mean(axis=1) if present.any() else np.zeros(3)
    weighted = ratio(stacked @ support[present], np.full(3, float(total)))
    for average, values in (("micro", micro), ("macro", macro.tolist()), ("weighted", weighted.tolist())):
        rows.append(
            LabelScores.model_validate(
                {
                    "dataset": dataset,
                    "split": split,
                    "average": average,
                    "precision": values[0],
                    "recall": values[1],
                    "f1": values[2],
                    "support": total,
                }
            )
        )
    return rows


def confusion(gold: NDArray[np.intp], predicted: NDArray[np.intp], size: int) -> NDArray[np.int64]:
    """[size, 3] of TP, FP, FN by class, from class numbers."""
    hit = gold == predicted
    true = np.bincount(gold[hit], minlength=size)
    false = np.bincount(predicted[~hit], minlength=size)
    missed = np.bincount(gold[~hit], minlength=size)
    return np.stack([true, false, missed], axis=1)
