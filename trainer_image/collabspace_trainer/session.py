"""What a method is given beside its data: the plan, the machine, and ways to tell, to stop, to save and to account."""

from dataclasses import dataclass
from pathlib import Path

from collabspace_trainer.checkpoints import Checkpoints
from collabspace_trainer.course import Course
from collabspace_trainer.events import Events
from collabspace_trainer.pulse import Pulse
from collabspace_trainer.runtime import Meter, Runtime
from collabspace_trainer.spec import Plan
from collabspace_trainer.stop import Stop
from collabspace_trainer.stored import StoredModel


@dataclass(frozen=True)
class Session:
    plan: Plan
    runtime: Runtime
    events: Events
    pulse: Pulse
    stop: Stop
    meter: Meter
    course: Course
    checkpoints: Checkpoints
    model_folder: Path | None
    """Weights to start from, checked; None when the run starts without."""
    stored: StoredModel | None = None
    """The model to measure, when that is the purpose."""
