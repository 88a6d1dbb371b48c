"""What a decision asks the executor to do: frozen data, no calls."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from collabspace.api.run import RunDocument
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
class Spent:
    """What an ended attempt used, for the ledger."""

    attempt: int
    gpu_seconds: int
    cpu_seconds: int
    outcome: str


@dataclass(frozen=True)
class Plan(Generic[Status]):
    """At most one child to create and one status to write.

    `status` is None when it need not change. `queued` is what the task waits for in the admission queue. `spent` is to
    be on record before the status says that the attempt is over. `inspect` asks to look at the Job's pods.
    `requeue_after` is in seconds.
    """

    status: Status | None = None
    create: Creation | None = None
    queued: Amount | None = None
    event: Event | None = None
    spent: Spent | None = None
    inspect: bool = False
    requeue_after: float | None = None
