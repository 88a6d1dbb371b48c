"""What measuring one split yields: rows of the report, and per record what later comparisons need."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabspace.api.report import LabelScores, Loss, ReportMetric, UnseenEntities
from collabspace.api.run import MetricName

Counts = dict[str, NDArray[np.generic]]
"""Arrays of one dataset, first axis the record; `group` numbers the record's group."""


@dataclass
class Evaluation:
    """Rows of metrics.json, and by dataset the predictions (no text of the data) and counts per record."""

    metrics: list[ReportMetric] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    per_entity: list[LabelScores] = field(default_factory=list)
    per_tag: list[LabelScores] = field(default_factory=list)
    per_class: list[LabelScores] = field(default_factory=list)
    unseen: list[UnseenEntities] = field(default_factory=list)
    predictions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)

    def value(self, name: MetricName, dataset: str = "") -> float | None:
        """The figure of that name, pooled unless a dataset is named; None when it was not measured."""
        return next((m.value for m in self.metrics if m.name is name and m.dataset == dataset), None)
