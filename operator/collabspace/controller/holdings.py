"""What admitted tasks hold, from the moment of their admission until their pods are gone."""

from collections.abc import Iterator

from collabspace.core.admission import Holding
from collabspace.core.quantity import Amount


class Holdings:
    """One holding per task uid, so that a reservation and the Job that it became never count twice.

    A holding is of one attempt: late news about an earlier one neither takes nor frees anything.
    """

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, Holding]] = {}

    def hold(self, uid: str, attempt: int, team: str, amount: Amount) -> None:
        if attempt >= self.attempt(uid):
            self._held[uid] = (attempt, Holding(team, amount))

    def attempt(self, uid: str) -> int:
        """Of which attempt the task holds something; 0: nothing."""
        return self._held[uid][0] if uid in self._held else 0

    def release(self, uid: str, attempt: int) -> bool:
        """Frees what the attempt, or one before it, holds. Whether there was something to free."""
        if uid not in self._held or attempt < self.attempt(uid):
            return False
        del self._held[uid]
        return True

    def items(self) -> Iterator[tuple[str, int, Holding]]:
        """Of each task: uid, attempt, and what it holds."""
        return iter([(uid, attempt, holding) for uid, (attempt, holding) in self._held.items()])

    def values(self) -> Iterator[Holding]:
        return iter([holding for _, holding in self._held.values()])
