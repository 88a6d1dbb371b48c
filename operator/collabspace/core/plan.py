"""What a decision asks the executor to do: frozen data, no calls."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from collabspace.api.conditions import Reason
from collabspace.api.run import RunDocument
from collabspace.core.observed import JobFacts, Key
from collabspace.core.quantity import Amount

Status = TypeVar("Status", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Event:
    """A turn in an object's life, for `kubectl describe`."""

    warning: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Creation:
    """The Job to create; `run` is what it must say if it exists already."""

    run: RunDocument
    job: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Queued:
    """What a task waits for in the admission queue, and for which of its attempts."""

    attempt: int
    amount: Amount


@dataclass(frozen=True, slots=True)
class Stop:
    """A running attempt is told to save and stop; the reason is kept on its Job until its pod is gone."""

    job: JobFacts
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What an ended attempt used, for the ledger."""

    attempt: int
    gpu_seconds: int
    cpu_seconds: int
    outcome: str


@dataclass(frozen=True)
class Plan(Generic[Status]):
    """At most one child to create or to stop and one status to write.

    `status` is None when it need not change. `spent` is to be on record before the status says that the attempt is
    over. `remove` are Jobs that are of no use any more; `expired` says so of the object itself. `inspect` asks to look
    at the Job's pods, `confirm` to read these datasets afresh and to decide again. `requeue_after` is in seconds.
    """

    status: Status | None = None
    create: Creation | None = None
    stop: Stop | None = None
    queued: Queued | None = None
    event: Event | None = None
    spent: Spent | None = None
    remove: tuple[JobFacts, ...] = ()
    expired: bool = False
    inspect: bool = False
    confirm: frozenset[Key] = frozenset()
    requeue_after: float | None = None
