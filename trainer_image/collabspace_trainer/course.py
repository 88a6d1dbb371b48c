"""How far training came: filled by the loop, kept in checkpoints, read for progress, report and end record."""

from dataclasses import dataclass, field
from typing import Literal

Stopped = Literal["", "EarlyStopping", "StepLimit", "BudgetSpent"]

RATE_AFTER_DIVERGENCE = 0.1


@dataclass
class Course:
    """`position` counts the batches done in the epoch, `recent` holds the losses since the last point of the curve.

    `finished` says that training has ended, for the reason in `stopped` or because all steps are done.
    """

    step: int = 0
    total_steps: int = 0
    batch_size: int = 0
    micro_batch_size: int = 0
    epoch: int = 0
    position: int = 0
    finished: bool = False
    stopped: Stopped = ""
    rollbacks: int = 0
    recent: list[float] = field(default_factory=list)
    curve: list[dict[str, int | float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Of this attempt, for the reader of the report."""

    @property
    def rate_scale(self) -> float:
        """Part of the learning rate that a divergence left over."""
        return RATE_AFTER_DIVERGENCE if self.rollbacks else 1.0

    @property
    def losses(self) -> list[float]:
        return [point["loss"] for point in self.curve if "loss" in point]
