"""Who is ahead: the one order of candidates, for the operator and for the command line."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from collabspace.api.run import LOWER_IS_BETTER, MetricName
from collabspace.api.selection import Goal

# What one second of a GPU counts as much as, where one figure for the cost is needed.
GPU_CPU_SECONDS = 20
UNIT_METRICS = frozenset(
    {
        MetricName.ENTITY_MICRO_F1,
        MetricName.ENTITY_MACRO_F1,
        MetricName.TOKEN_MICRO_F1_WITH_O,
        MetricName.ACCURACY,
        MetricName.MACRO_F1,
        MetricName.ROC_AUC,
        MetricName.AVERAGE_PRECISION,
        MetricName.RECALL_AT_10,
        MetricName.NDCG_AT_10,
        MetricName.MRR,
        MetricName.CALIBRATION_ERROR,
    }
)


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate with its figure; `cost` of one run."""

    candidate: str
    value: Decimal
    cost: Decimal = Decimal(0)


def rank(scored: Iterable[Scored], goal: Goal) -> list[Scored]:
    """The best first; of equal ones the cheaper, then the one that was named earlier."""
    sign = -1 if goal is Goal.MAXIMIZE else 1
    return sorted(scored, key=lambda each: (sign * each.value, each.cost))


def goal_of(metric: str) -> Goal:
    """Which way the metric is better."""
    return Goal.MINIMIZE if metric in LOWER_IS_BETTER else Goal.MAXIMIZE


def figure(metric: str, text: str) -> Decimal:
    """The metric's value as a number. Raises ValueError, saying why, when it cannot be one."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError("it is no number") from None
    # What a computer's number cannot hold is none either.
    if not value.is_finite() or abs(float(value)) == float("inf"):
        raise ValueError(f"{text[:32]} is no finite number")
    if metric in UNIT_METRICS and not 0 <= value <= 1:
        raise ValueError(f"{text[:32]} is not between 0 and 1")
    if metric in LOWER_IS_BETTER and value < 0:
        raise ValueError(f"{text[:32]} is below 0")
    if metric == MetricName.R2 and value > 1:
        raise ValueError(f"{text[:32]} is above 1")
    return value


def seconds(cpu: int, gpu: int) -> Decimal:
    """One figure for what was spent, in CPU-seconds."""
    return Decimal(cpu + GPU_CPU_SECONDS * gpu)


def text(value: Decimal) -> str:
    """As statuses write figures: six digits."""
    return f"{float(value):.6g}"
