"""Measures estimates of a number: root mean squared error, mean absolute error, explained variance."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from collabspace.api.manifest import Split
from collabspace.api.report import Loss, ReportMetric
from collabspace.api.run import MetricName
from collabspace_trainer.evaluation.bootstrap import interval
from collabspace_trainer.evaluation.classes import POOLED, Part, with_ones, with_pooled
from collabspace_trainer.evaluation.evaluation import Evaluation


def evaluate(parts: Mapping[str, Part], split: Split, intervals: bool) -> Evaluation:
    """Rows by dataset and pooled (dataset empty); each part is gold and estimate, both [rows]."""
    result = Evaluation()
    for name, (gold, estimate) in with_pooled(parts).items():
        gold = gold.astype(np.float64)
        _add_metrics(result, gold, estimate, split, name, intervals)
        if intervals and name != POOLED:
            result.predictions[name] = [
                {"row": row, "gold": float(g), "predicted": float(e)}
                for row, (g, e) in enumerate(zip(gold, estimate, strict=True))
            ]
            result.counts[name] = {
                "squaredError": (gold - estimate) ** 2,
                "absoluteError": np.abs(gold - estimate),
                "group": np.arange(len(gold)),
            }
    return result


def _add_metrics(
    result: Evaluation,
    gold: NDArray[np.float64],
    estimate: NDArray[np.float64],
    split: Split,
    dataset: str,
    intervals: bool,
) -> None:
    squared = (gold - estimate) ** 2
    low, high = interval(with_ones(squared), np.arange(len(gold)), _root_mean) if intervals else (None, None)
    mean_squared = float(squared.mean())
    figures = {
        MetricName.RMSE: mean_squared**0.5,
        MetricName.MAE: float(np.abs(gold - estimate).mean()),
        MetricName.LOSS: mean_squared,
    }
    spread = float(((gold - gold.mean()) ** 2).sum())
    if spread > 0:
        figures[MetricName.R2] = 1.0 - float(squared.sum()) / spread
    for name, value in figures.items():
        bounds = (low, high) if name is MetricName.RMSE else (None, None)
        result.metrics.append(
            ReportMetric(name=name, value=value, dataset=dataset, split=split, low=bounds[0], high=bounds[1])
        )
    result.losses.append(
        Loss(dataset=dataset, split=split, mean=mean_squared, count=len(gold), unit="squaredError/record")
    )


def _root_mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(sums[..., 0] / sums[..., 1])
