"""Conditions and the rules that all statuses share: when a transition counts, when a change is worth a write."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import BaseModel

from collabspace.api import timestamp
from collabspace.api.conditions import Condition, ConditionType, Reason

MAX_MESSAGE = 1024
# A change of words or coarse figures alone is written at most this often.
MINOR_SECONDS = 60
MINOR_FIELDS = frozenset({"conditions", "usage", "progress", "attempts", "cost", "leaderboard"})
# What a candidate costs so far, and in which words it waits.
MINOR_OF_ENTRY: Mapping[str, object] = {"cost": None, "reason": "", "message": ""}

Status = TypeVar("Status", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Judged:
    """What is now held true about one condition. Without a message the reason's own help stands in."""

    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str = ""


PENDING = Judged("Unknown", Reason.PENDING)


def bounded(message: str, limit: int = MAX_MESSAGE) -> str:
    """The message, cut at the limit so that one sees it was cut."""
    return message if len(message) <= limit else message[: limit - 1] + "…"


def conditions(
    types: Sequence[ConditionType],
    before: Sequence[Condition],
    judged: Mapping[ConditionType, Judged],
    generation: int,
    now: dt.datetime,
) -> list[Condition]:
    """All known types in their order; the transition time stays while the status does."""
    old = {each.type: each for each in before}
    found = []
    for kind in types:
        verdict = judged.get(kind, PENDING)
        previous = old.get(kind)
        kept = previous is not None and previous.status == verdict.status
        found.append(
            Condition(
                type=kind.value,
                status=verdict.status,
                reason=verdict.reason.value,
                message=bounded(verdict.message or verdict.reason.help),
                last_transition_time=previous.last_transition_time if previous and kept else timestamp.rfc3339(now),
                observed_generation=generation,
            )
        )
    return found


def find(kind: ConditionType, among: Sequence[Condition]) -> Condition | None:
    """The condition of that type."""
    return next((each for each in among if each.type == kind), None)


def holds(kind: ConditionType, among: Sequence[Condition]) -> bool:
    """Whether the condition is there and True."""
    condition = find(kind, among)
    return condition is not None and condition.status == "True"


def is_minor(before: Status, after: Status) -> bool:
    """Whether only messages, counters or progress differ, so that the write may wait."""
    for name in type(after).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if name not in MINOR_FIELDS:
            return False
        if name == "conditions" and _without_words(old) != _without_words(new):
            return False
        if name == "attempts" and len(old) != len(new):
            return False
        if name == "leaderboard" and _without_cost(old) != _without_cost(new):
            return False
    return True


def _without_words(among: Sequence[Condition]) -> list[tuple[str, str, str, int]]:
    return [(each.type, each.status, each.reason, each.observed_generation) for each in among]


def _without_cost(among: Sequence[BaseModel]) -> list[BaseModel]:
    return [each.model_copy(update=MINOR_OF_ENTRY) for each in among]
