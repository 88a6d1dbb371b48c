"""What admitted tasks hold, from the moment of their admission until their pods are gone."""

from collections import Counter
from collections.abc import Iterator, Mapping

from collabspace.core.admission import Holding
from collabspace.core.quantity import Amount


class Holdings:
    """One holding per task uid, so that a reservation and the Job that it became never count twice.

    A holding is of one attempt: late news about an earlier one neither takes nor frees anything.
    """

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, Holding]] = {}
        self._counts = Counter[Holding]()

    def hold(self, uid: str, attempt: int, team: str, amount: Amount) -> None:
        if attempt >= self.attempt(uid):
            self._drop(uid)
            holding = Holding(team, amount)
            self._held[uid] = (attempt, holding)
            self._counts[holding] += 1

    def attempt(self, uid: str) -> int:
        """Of which attempt the task holds something; 0: nothing."""
        return self._held[uid][0] if uid in self._held else 0

    def release(self, uid: str, attempt: int) -> bool:
        """Frees what the attempt, or one before it, holds. Whether there was something to free."""
        if uid not in self._held or attempt < self.attempt(uid):
            return False
        self._drop(uid)
        return True

    def items(self) -> Iterator[tuple[str, int, Holding]]:
        """Of each task: uid, attempt, and what it holds."""
        return iter([(uid, attempt, holding) for uid, (attempt, holding) in self._held.items()])

    def counts(self) -> Mapping[Holding, int]:
        """How many tasks hold the same: there are far fewer kinds of holdings than tasks."""
        return self._counts

    def _drop(self, uid: str) -> None:
        known = self._held.pop(uid, None)
        if known is not None:
            self._counts[known[1]] -= 1
            if not self._counts[known[1]]:
                del self._counts[known[1]]
