"""What was last seen of one kind: parsed facts by namespace and name, kept straight when news comes late or twice."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

Key = tuple[str, str]
"""Namespace (empty for cluster-wide kinds) and name."""

T = TypeVar("T")
REMEMBERED_DELETIONS = 20_000
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry(Generic[T]):
    uid: str
    version: int
    value: T


class Cache(Generic[T]):
    """Facts of one kind. `read` turns an object into facts, or None when it is not ours to know; `changed` hears of
    every real difference as (key, before, after).

    News older than what is known, or about an object known to be deleted, changes nothing: lists, watches and answers
    to our own writes may arrive in any order.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[dict[str, Any]], T | None],
        changed: Callable[[Key, T | None, T | None], None] = lambda _key, _before, _after: None,
    ) -> None:
        self.name = name
        self._read = read
        self._changed = changed
        self._entries: dict[Key, _Entry[T]] = {}
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._entries))

    def get(self, key: Key) -> T | None:
        entry = self._entries.get(key)
        return entry.value if entry is not None else None

    def values(self) -> Iterator[T]:
        return (entry.value for entry in list(self._entries.values()))

    def items(self) -> Iterator[tuple[Key, T]]:
        return ((key, entry.value) for key, entry in list(self._entries.items()))

    def apply(self, kind: str | None, raw: dict[str, Any]) -> None:
        """One watch event, or the answer to a write (kind MODIFIED)."""
        key, uid, version = _identity(raw)
        if kind == "DELETED":
            self._forget(key, uid)
        else:
            self._put(key, uid, version, raw)

    def retain(self, keys: Set[Key], resource_version: str) -> None:
        """The end of a list as of `resource_version`: what was not in it is gone, unless it is newer than the list."""
        taken = _number(resource_version)
        for key, entry in list(self._entries.items()):
            if key not in keys and entry.version <= taken:
                self._forget(key, entry.uid)

    def _put(self, key: Key, uid: str, version: int, raw: dict[str, Any]) -> None:
        known = self._entries.get(key)
        if uid in self._deleted or (known is not None and known.uid == uid and version <= known.version):
            return
        if known is not None and known.uid != uid:
            self._forget(key, known.uid)
            known = None
        try:
            value = self._read(raw)
        except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
            # An object that the schema should have refused: it harms nobody but itself.
            log.warning("%s %s/%s cannot be read: %s", self.name, *key, type(error).__name__)
            value = None
        if value is None:
            if known is not None:
                del self._entries[key]
                self._changed(key, known.value, None)
            return
        self._entries[key] = _Entry(uid, version, value)
        if known is None or known.value != value:
            self._changed(key, known.value if known is not None else None, value)

    def _forget(self, key: Key, uid: str) -> None:
        self._deleted[uid] = None
        if len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        known = self._entries.get(key)
        if known is not None and known.uid == uid:
            del self._entries[key]
            self._changed(key, known.value, None)


def _identity(raw: dict[str, Any]) -> tuple[Key, str, int]:
    meta = raw["metadata"]
    return (meta.get("namespace") or "", meta["name"]), meta["uid"], _number(meta.get("resourceVersion"))


def _number(version: str | None) -> int:
    """Versions of one kind are ordered numbers (Kubernetes 1.35 says so). What is none is taken as newest."""
    return int(version) if version is not None and version.isdecimal() else 2**63
