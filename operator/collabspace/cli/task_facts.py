"""What an answer about a task is made of: the task, what surrounds it, and what it reads. Pure."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

from collabspace.api.dataset import Use
from collabspace.api.task import CollabTask, ModelKind, ModelSource
from collabspace.api.team import Team
from collabspace.cli.task_state import message_of
from collabspace.core.grants import USE


@dataclass(frozen=True)
class Source:
    """A dataset or model that the task reads, and the use that its grant must hold."""

    namespace: str
    name: str
    use: Use

    @property
    def reference(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Facts:
    """The task and what surrounds it. `team`: None when unreadable; `neighbours` share its quota.

    `taken`: names of all other tasks of the namespace, those that cannot be read included.
    """

    task: CollabTask
    team: Team | None
    neighbours: Sequence[CollabTask]
    warnings: Sequence[str]
    now: dt.datetime
    taken: frozenset[str] = frozenset()

    @property
    def age(self) -> int:
        """Seconds since the task was handed in."""
        created = self.task.metadata.creation_timestamp
        return int((self.now - dt.datetime.fromisoformat(created)).total_seconds()) if created else 0


def sources(task: CollabTask) -> list[Source]:
    """All that the task reads of what owners grant, weights included, without repetition."""
    refs = [(each.dataset_ref.namespace, each.dataset_ref.name, USE[each.role]) for each in task.spec.datasets]
    model = task.spec.model_from
    if model and model.kind is ModelKind.SHARED_DATASET:
        refs.append((model.namespace, model.name, Use.TRAIN))
    return [Source(*each) for each in dict.fromkeys(refs)]


def lacking_model(task: CollabTask) -> ModelSource | None:
    """The model of the own team that the message says is not there yet."""
    model = task.spec.model_from
    if model is None or model.kind is ModelKind.SHARED_DATASET:
        return None
    named = rf"modelFrom: {model.kind} {re.escape(model.namespace)}/{re.escape(model.name)}(?![-a-z0-9])"
    return model if re.search(named, message_of(task)) else None


def blocked(task: CollabTask) -> list[Source]:
    """The sources that the message names; all of other teams when it names none."""
    every = sources(task)
    named = [source for source in every if re.search(rf"{re.escape(source.reference)}(?![-a-z0-9])", message_of(task))]
    return named or [source for source in every if source.namespace != task.metadata.namespace] or every
