"""When a training is saved, where its checkpoints lie, from which one it goes on, and how it leaves on SIGTERM.

Saving pauses training for as long as the disk takes; the upload runs beside it, one at a time. Nothing that fails here
ends a training that works: the next checkpoint is tried again.
"""

import math
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from collabspace.api.manifest import Manifest
from collabspace.api.run import CheckpointReference, Execution
from collabspace.client.errors import BrokerError, BrokerUnavailable
from collabspace.client.protocol import Checkpoint
from collabspace.client.transport import PATIENCE_SECONDS
from collabspace_trainer.course import Course
from collabspace_trainer.errors import BrokenCheckpointError, DivergedError
from collabspace_trainer.events import Events
from collabspace_trainer.file_entries import file_entries
from collabspace_trainer.remote_checkpoints import RemoteCheckpoints
from collabspace_trainer.stop import Stop

KEPT = 2
NAME = re.compile(r"(\d{6})-step-(\d{1,18})")
EARLIEST_FIRST_SECONDS = 20.0
FIRST_COST = 50
"""The first save comes before its time once training has run this many times longer than a save takes."""
ASSUMED_BYTES_PER_SECOND = 10e6
"""Speed of an upload while none has been measured."""
GROWTH = 3
"""A checkpoint is this much larger than one from before the first step: optimizers remember up to two numbers each."""
CAUTION = 1.5
"""How much longer than measured a save and an upload may take in the last minute."""
Place = RemoteCheckpoints | Literal["Folder", "Nowhere"]
"""At the broker, in the run's very folder, or nowhere: then they serve to come back from a divergence alone."""


class Training(Protocol):
    """What is saved; see snapshot.Training."""

    @property
    def course(self) -> Course: ...

    @property
    def bit_equal(self) -> bool: ...

    def write(self, folder: Path) -> None: ...

    def read(self, folder: Path) -> None: ...


class Checkpoints:
    """The checkpoints of one run, made in `folder`; `place` is where they outlive it."""

    def __init__(
        self,
        identity: str,
        folder: Path,
        place: Place,
        execution: Execution,
        stop: Stop,
        events: Events,
    ) -> None:
        self.identity = identity
        self._folder = folder
        self._durable = place == "Folder"
        self._remote = place if isinstance(place, RemoteCheckpoints) else None
        self._execution = execution
        self._stop = stop
        self._events = events
        self._known: list[Checkpoint] = []
        self._training: Training | None = None
        self._next = math.inf
        self._saved: tuple[object, ...] = ()
        self._bytes = 0
        self._save_seconds = 0.0
        self._bytes_per_second: float | None = None
        self._upload: threading.Thread | None = None
        self._uploaded: Path | None = None
        self._abandoned = threading.Event()
        self.complete: CheckpointReference | None = None
        """The newest one that outlives this process."""

    @property
    def save_seconds(self) -> float:
        """What the last save and its upload took, or would have taken."""
        return self._save_seconds + self._upload_seconds

    def look(self) -> None:
        """Asks the broker what it has, so that a run that must leave early knows. Raises BrokerUnavailable."""
        if self._remote is None or not self._execution.resume:
            return
        try:
            known = self._known = self._remote.newest(self._stop.requested, PATIENCE_SECONDS)
        except BrokerUnavailable:
            raise
        except BrokerError as error:
            self._events.note(f"checkpoints of earlier attempts cannot be used: {error.reason}")
            return
        self.complete = CheckpointReference(step=known[0].step, digest=known[0].digest) if known else None

    def begin(self, training: Training) -> None:
        """Goes on from the newest valid checkpoint; without one the start is kept, for a divergence to go back to."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in [*self._folder.glob("*.partial"), *self._folder.glob("*.complete")]:
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
        with self._stop.at_once():
            resumed = self._execution.resume and any(self._restore(training, path) for path in self._candidates())
        self._training = training
        wait: float = self._execution.checkpoint_seconds
        if not resumed:
            self.complete = None
            self._save()
            self._bytes *= GROWTH
            wait = min(wait, max(EARLIEST_FIRST_SECONDS, FIRST_COST * self._save_seconds))
        self._next = time.monotonic() + wait

    def save_if_due(self) -> None:
        """To be called between steps."""
        if time.monotonic() >= self._next and not self._uploading:
            self.save()

    def save(self) -> None:
        """Keeps the present state, and sends it to the broker if the time for that has come."""
        due = time.monotonic() >= self._next
        if self._save() and due:
            self._send()
            self._next = time.monotonic() + self._execution.checkpoint_seconds

    def roll_back(self, error: DivergedError) -> None:
        """Back to the newest good state with a tenth of the learning rate; raises `error` the second time."""
        training = self._training
        if training is None or training.course.rollbacks:
            raise error
        diverged = training.course.step + 1
        for folder in reversed(self._kept()):
            if self._restore(training, folder):
                break
        else:
            raise error
        training.course.rollbacks = 1
        told = f"diverged at step {diverged}; back at step {training.course.step} with a tenth of the learning rate"
        self._events.note(told)
        training.course.notes.append(f"training {told}")

    def leave(self) -> CheckpointReference | None:
        """After SIGTERM: the state is saved where it outlives the pod if the grace allows. The newest that does."""
        training = self._training
        lasting = self._durable or self._remote is not None
        if lasting and training is not None and training.course.step > 0:
            cost = CAUTION * self.save_seconds
            self._await_upload(self._stop.grace_left - cost)
            if not self._uploading and self._stop.grace_left >= cost:
                unchanged = self._saved == _place(training.course)
                if (unchanged or self._save()) and self._stop.grace_left >= CAUTION * self._upload_seconds:
                    self._send()
            elif not self._uploading:
                self._events.note("the grace that is left does not allow another checkpoint")
        self.settle(self._stop.grace_left)
        return self.complete

    def settle(self, seconds: float) -> None:
        """Gives an upload that is on its way so much time, then gives it up."""
        self._await_upload(seconds)
        self._abandoned.set()

    # ---- the folder

    def _kept(self) -> list[Path]:
        """Oldest first."""
        if not self._folder.is_dir():
            return []
        return sorted(
            path
            for path in self._folder.iterdir()
            if NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
        )

    def _new(self, step: int) -> Path:
        used = [int(path.name[:6]) for path in self._folder.iterdir() if NAME.match(path.name)]
        return self._folder / f"{max(used, default=0) + 1:06d}-step-{step}"

    def _save(self) -> bool:
        """Whether the state is on the disk."""
        training = self._training
        assert training is not None  # noqa: S101 `begin` comes first
        started, folder = time.monotonic(), self._new(training.course.step)
        try:
            training.write(folder)
        except OSError as error:
            self._events.note(f"checkpoint not written ({type(error).__name__}); training goes on")
            self._next = time.monotonic() + self._execution.checkpoint_seconds
            return False
        self._saved = _place(training.course)
        self._save_seconds = time.monotonic() - started
        self._bytes = sum(path.stat().st_size for path in folder.iterdir())
        if self._durable:
            self.complete = CheckpointReference(step=training.course.step, digest=_digest(folder))
        for old in self._kept()[:-KEPT]:
            if old != self._uploaded or not self._uploading:
                shutil.rmtree(old, ignore_errors=True)
        return True

    def _candidates(self) -> Iterator[Path]:
        """Newest first: what lies here, then what the broker has, fetched one after the other."""
        yield from reversed(self._kept())
        remote = self._remote
        if remote is None:
            return
        for checkpoint in self._known:
            folder = self._new(checkpoint.step)
            try:
                remote.fetch(checkpoint, folder, self._stop.requested, PATIENCE_SECONDS)
            except BrokerUnavailable:
                raise
            except BrokerError as error:
                self._set_aside(folder, error.reason)
                continue
            self.complete = CheckpointReference(step=checkpoint.step, digest=checkpoint.digest)
            yield folder

    def _restore(self, training: Training, folder: Path) -> bool:
        try:
            training.read(folder)
        except BrokenCheckpointError as error:
            self._set_aside(folder, str(error))
            training.course.notes.append(f"a checkpoint was set aside: {error}")
            return False
        if self._training is None:
            equal = str(training.bit_equal).lower()
            self._events.decision("resume", training.course.step, "newest valid checkpoint of this training")
            training.course.notes.append(
                f"training went on from the checkpoint of step {training.course.step}; bitEqualResume: {equal}"
            )
            if self._durable:
                self.complete = CheckpointReference(step=training.course.step, digest=_digest(folder))
            self._uploaded = folder
        self._saved = _place(training.course)
        self._bytes = sum(path.stat().st_size for path in folder.iterdir())
        return True

    def _set_aside(self, folder: Path, why: str) -> None:
        self._events.note(f"checkpoint {folder.name} is set aside: {why}")
        if folder.exists():
            folder.rename(folder.with_name(f"{folder.name}.broken"))

    # ---- the broker

    @property
    def _uploading(self) -> bool:
        return self._upload is not None and self._upload.is_alive()

    @property
    def _upload_seconds(self) -> float:
        return self._bytes / (self._bytes_per_second or ASSUMED_BYTES_PER_SECOND) if self._remote else 0.0

    def _send(self) -> None:
        """Sends the newest of the folder, unless the broker has it."""
        newest = self._kept()[-1]
        if self._remote is None or newest == self._uploaded:
            return
        self._uploaded = newest
        self._upload = threading.Thread(target=self._publish, args=(self._remote, newest), daemon=True)
        self._upload.start()

    def _publish(self, remote: RemoteCheckpoints, folder: Path) -> None:
        started, step = time.monotonic(), int(folder.name.rpartition("-")[2])
        try:
            self.complete = remote.publish(folder, step, self._abandoned, PATIENCE_SECONDS)
        except (BrokerError, OSError) as error:
            self._uploaded = None
            reason = error.reason if isinstance(error, BrokerError) else type(error).__name__
            self._events.note(f"checkpoint of step {step} did not reach the broker: {reason}")
            return
        seconds = max(time.monotonic() - started, 0.001)
        # The best so far: one that waited for a broker that was away says nothing of how long the next will take.
        self._bytes_per_second = max(self._bytes_per_second or 0.0, self._bytes / seconds)
        self._events.saved(step, self._save_seconds, seconds)

    def _await_upload(self, seconds: float) -> None:
        if self._upload is not None and seconds > 0:
            self._upload.join(seconds)


def _place(course: Course) -> tuple[object, ...]:
    return course.step, course.epoch, course.position, course.finished, course.rollbacks


def _digest(folder: Path) -> str:
    return Manifest(owner_uid="local", format="Checkpoint", files=file_entries(folder)).digest
