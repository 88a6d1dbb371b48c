"""For how long each running attempt has stood still, by the operator's clock and only while the broker was heard."""

# Answers of the feed come at least every half a minute; after a longer gap nobody knows what moved meanwhile.
MAX_GAP_SECONDS = 60.0


class Beats:
    """Times are seconds of one monotonic clock. Standing still is known up to the feed's last answer, not up to now."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._heard = 0.0
        self._moved: dict[tuple[str, int], tuple[int, float]] = {}

    def heard(self, now: float) -> None:
        """The feed answered."""
        if self._since is None or now - self._heard > MAX_GAP_SECONDS:
            self._since = now
        self._heard = now

    def lost(self) -> None:
        """The feed did not answer."""
        self._since = None

    def tell(self, task_uid: str, attempt: int, beat: int, now: float) -> None:
        """The attempt's beat, as the feed says."""
        known = self._moved.get((task_uid, attempt))
        if known is None or known[0] != beat:
            self._moved[task_uid, attempt] = (beat, now)

    def moved(self, task_uid: str, attempt: int) -> float | None:
        """When the beat was first seen as it is; None before the first."""
        known = self._moved.get((task_uid, attempt))
        return known[1] if known is not None else None

    def still(self, task_uid: str, attempt: int) -> float | None:
        """Seconds without a change; None when that is not known."""
        known = self._moved.get((task_uid, attempt))
        if known is None or self._since is None:
            return None
        return max(0.0, self._heard - max(known[1], self._since))

    def forget(self, task_uid: str) -> None:
        """The task is gone."""
        for key in [key for key in self._moved if key[0] == task_uid]:
            del self._moved[key]
