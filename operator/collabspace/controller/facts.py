"""What the caches keep of objects: read once when they come, small enough for ten thousand."""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import orjson

from collabspace.api import names
from collabspace.api.task import TaskSpec, TaskStatus
from collabspace.api.team import Team, parse_team
from collabspace.controller.metrics import REASONS
from collabspace.core import quantity
from collabspace.core.admission import Node
from collabspace.core.observed import ObservedTask, Reference, observe, references, stored_digest
from collabspace.core.selection_children import KIND as SELECTION_KIND


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """`team` is None for a namespace that is no team."""

    uid: str
    team: Team | None


class Owner(NamedTuple):
    """The ModelSelection that controls a task."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class PackedTask:
    """A CollabTask as it came, in a third of the room: there may be ten thousand, and few are looked at at a time."""

    uid: str
    reason: str
    references: frozenset[Reference]
    result: str | None
    owner: Owner | None
    packed: bytes

    @classmethod
    def pack(cls, raw: dict[str, Any]) -> Self:
        observed = observe(raw, TaskSpec, TaskStatus)
        meta = observed.meta.model_dump(by_alias=True)
        packed = _dumps({"metadata": meta, "spec": raw.get("spec"), "status": raw.get("status")})
        reason = REASONS.get(observed.status.reason)
        text = reason.value if reason is not None else ""
        named = frozenset(references(observed.spec, observed.meta.namespace))
        return cls(observed.meta.uid, text, named, stored_digest(observed.status), _owner(raw), packed)

    @property
    def has_ended_attempts(self) -> bool:
        """Told without unpacking; a name that looks alike only makes it look."""
        return b'"endTime"' in self.packed

    def unpack(self) -> ObservedTask:
        return observe(orjson.loads(self.packed), TaskSpec, TaskStatus)


def _dumps(value: dict[str, Any]) -> bytes:
    try:
        # Copied, as what orjson returns keeps the whole buffer that it was written into: twice as much, for each task.
        return bytes(memoryview(orjson.dumps(value)))
    except TypeError:
        # A number beyond 64 bits: wrong wherever it stands, but to be told so by its field.
        return json.dumps(value).encode()


def _owner(raw: dict[str, Any]) -> Owner | None:
    """The selection that the task names as its controller; whether it is one of its children, core decides."""
    for each in raw["metadata"].get("ownerReferences") or ():
        if each.get("controller") and (each["kind"], each["apiVersion"]) == (SELECTION_KIND, names.API_VERSION):
            return Owner(str(each["name"]), str(each["uid"]))
    return None


def read_namespace(raw: dict[str, Any]) -> NamespaceFacts:
    """Whether a namespace is a team, and with which settings."""
    meta = raw["metadata"]
    is_team = (meta.get("labels") or {}).get(names.TEAM_LABEL) == "true"
    team = parse_team(meta["name"], meta["uid"], meta.get("annotations") or {}) if is_team else None
    return NamespaceFacts(meta["uid"], team)


def read_node(raw: dict[str, Any]) -> Node:
    """What a node offers, and whether it takes work. Raises KeyError, TypeError or ValueError for what is no Node."""
    offered = raw["status"]["allocatable"]
    amount = quantity.amount(
        cpu=offered.get("cpu", "0"), memory=offered.get("memory", "0"), gpu=offered.get(names.GPU_RESOURCE, "0")
    )
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in raw["status"].get("conditions") or ())
    usable = ready and not (raw.get("spec") or {}).get("unschedulable", False)
    return Node(raw["metadata"]["name"], amount, usable, ready)
