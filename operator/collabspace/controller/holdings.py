"""What admitted tasks hold, from the moment of their admission until their pods are gone."""

from collections.abc import Iterator

from collabspace.core.admission import Holding
from collabspace.core.quantity import Amount


class Holdings:
    """One holding per task uid, so that a reservation and the Job that it became never count twice."""

    def __init__(self) -> None:
        self._held: dict[str, Holding] = {}

    def hold(self, uid: str, team: str, amount: Amount) -> None:
        self._held[uid] = Holding(team, amount)

    def active(self, uid: str) -> bool:
        return uid in self._held

    def release(self, uid: str) -> bool:
        """Whether there was something to free."""
        return self._held.pop(uid, None) is not None

    def values(self) -> Iterator[Holding]:
        return iter(self._held.values())
