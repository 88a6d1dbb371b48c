"""The pulse of a run: work is counted where it is done, so that who watches can tell slow from stuck.

Only the main thread beats: helpers that wait for the broker would beat on while the training itself hangs.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from statistics import median
from typing import TypeVar

from collabspace.api.run import Progress
from collabspace_trainer.course import Course
from collabspace_trainer.events import Events, curve_points, loss_text

T = TypeVar("T")
STALL_SECONDS = 120
WAITING_STALL_SECONDS = 900
"""Where one unit of work may be to wait ten minutes for the broker."""
UNBOUNDED_STALL_SECONDS = 21_600
"""Where a library works on its own, without a word, for as long as the data take."""
STEPS_BEHIND_MEDIAN = 101


class Pulse:
    """Counts units of work and tells progress: at once when a stage begins, then with the first beat after 5 s."""

    def __init__(self, events: Events, course: Course) -> None:
        self._events = events
        self._course = course
        self._beats = 0
        self._stage = "Fetch"
        self._stall_seconds = STALL_SECONDS
        self._steps: deque[float] = deque(maxlen=STEPS_BEHIND_MEDIAN)

    @property
    def step_seconds(self) -> float:
        """Median of the newest steps; 0 before the first."""
        return median(self._steps) if self._steps else 0.0

    def enter(self, stage: str, stall_seconds: int = STALL_SECONDS) -> None:
        """A stage begins, in which no unit of work takes longer than `stall_seconds`."""
        self._stage, self._stall_seconds = stage, stall_seconds
        self._beats += 1
        self._tell()

    def beat(self) -> None:
        """One unit of work is done."""
        self._beats += 1
        if self._events.due:
            self._tell()

    def step(self, seconds: float) -> None:
        """One optimizer step is done."""
        self._steps.append(seconds)
        self.beat()

    def _tell(self) -> None:
        losses = self._course.losses
        self._events.progress(
            Progress(
                step=self._course.step,
                total_steps=self._course.total_steps,
                beat=self._beats,
                stall_seconds=min(max(self._stall_seconds, round(5 * self.step_seconds)), 86_400),
                stage=self._stage,
                loss=loss_text(losses[-1]) if losses else None,
                curve=curve_points(losses),
            )
        )


_current: Pulse | None = None


def start(pulse: Pulse) -> None:
    """From now on `beat` of this module is this one's: a process is one run."""
    global _current
    _current = pulse


def each(items: Iterable[T]) -> Iterator[T]:
    """The items, with a beat after each."""
    for item in items:
        yield item
        beat()


def beat() -> None:
    """One unit of work is done, anywhere in the main thread; outside of a run it counts for nobody."""
    if _current is not None:
        _current.beat()
