"""Who is concerned by what: sets of members by key, without empty ones."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Set
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
M = TypeVar("M", bound=Hashable)


class Index(Generic[K, M]):
    def __init__(self) -> None:
        self._members: dict[K, set[M]] = defaultdict(set)

    def of(self, key: K) -> list[M]:
        """The members as they are now."""
        return list(self._members.get(key, ()))

    def move(self, member: M, old: Set[K], new: Set[K]) -> None:
        """The member stood under the old keys and stands under the new ones."""
        self._take(member, old - new)
        for key in new:
            self._members[key].add(member)

    def _take(self, member: M, keys: Iterable[K]) -> None:
        for key in keys:
            members = self._members.get(key)
            if members is not None:
                members.discard(member)
                if not members:
                    del self._members[key]
