"""What a method is given beside its data: the plan, the machine, and ways to tell, to stop and to account."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from collabspace.api.run import Progress
from collabspace_trainer.events import Events, curve_points
from collabspace_trainer.runtime import Meter, Runtime
from collabspace_trainer.spec import Plan
from collabspace_trainer.stop import Stop

Stopped = Literal["", "EarlyStopping", "StepLimit", "BudgetSpent"]


@dataclass
class Course:
    """How far training came: filled by the method, read for progress, report and end record."""

    step: int = 0
    total_steps: int = 0
    batch_size: int = 0
    micro_batch_size: int = 0
    stopped: Stopped = ""
    curve: list[dict[str, float]] = field(default_factory=list)

    @property
    def losses(self) -> list[float]:
        return [point["loss"] for point in self.curve if "loss" in point]


@dataclass(frozen=True)
class Session:
    plan: Plan
    runtime: Runtime
    events: Events
    stop: Stop
    meter: Meter
    course: Course
    model_folder: Path | None
    """Weights to start from, checked; None when the run starts without."""

    def tell(self, stage: str, force: bool = False) -> None:
        """Progress with the loss so far, at most once in 5 s unless forced."""
        if not force and not self.events.due:
            return
        losses = self.course.losses
        self.events.progress(
            Progress(
                step=self.course.step,
                total_steps=self.course.total_steps,
                stage=stage,
                loss=f"{losses[-1]:.4f}" if losses else None,
                curve=curve_points(losses),
            )
        )
