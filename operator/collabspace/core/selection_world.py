"""All that a decision about one ModelSelection depends on, but for the selection itself, and what it may ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collabspace.api.catalogue import Catalogue
from collabspace.api.selection import SelectionStatus
from collabspace.core.observed import NO_MODELS, AliasRecord, Dataset, Key, Models, ObservedTask, TeamFacts
from collabspace.core.plan import Plan
from collabspace.core.task_world import Refusal


@dataclass(frozen=True, slots=True)
class Child:
    """A CollabTask that bears the name of a child; `owner_uid` is of the selection that controls it, empty: none."""

    task: ObservedTask
    owner_uid: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The broker's word on an alias that was to be set: what it stands for now, or why it was not set."""

    alias: AliasRecord | None
    moved: bool = False
    words: str = ""


@dataclass(frozen=True, slots=True)
class SelectionWorld:
    """The world as far as one selection is concerned.

    `children` holds the tasks of its namespace that bear a child's name, whoever made them; `refusals` why the API
    server did not take one. `datasets` and `models` hold those that it names, and the task behind its alias.
    `broker_read`: what is not among the aliases does not exist. `answer` is given when a promotion was just asked for.
    """

    catalogue: Catalogue
    datasets: Mapping[Key, Dataset]
    namespaces: Mapping[str, str]
    team: TeamFacts
    models: Models = NO_MODELS
    children: Mapping[str, Child] = field(default_factory=dict)
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    broker_read: bool = False
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """The alias is to stand for the result `digest` of the task, once for each `key`, if it stands for `replaces` now
    (None: for nothing)."""

    namespace: str
    alias: str
    key: str
    task_uid: str
    digest: str
    replaces: str | None


@dataclass(frozen=True)
class SelectionPlan(Plan[SelectionStatus]):
    """`children` are CollabTasks to create, `halt` and `resume` to patch, `discard` to delete. `promote` is asked of
    the broker; its answer is decided upon anew."""

    children: tuple[dict[str, Any], ...] = ()
    halt: tuple[ObservedTask, ...] = ()
    resume: tuple[ObservedTask, ...] = ()
    discard: tuple[ObservedTask, ...] = ()
    promote: PromotionRequest | None = None
