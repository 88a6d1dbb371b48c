"""How much one namespace may ask for: a bucket of tokens each, so that one caller's flood is not another's delay."""

from dataclasses import dataclass

MAX_BUCKETS = 10_000


@dataclass
class _Bucket:
    tokens: float
    filled: float


class RateLimiter:
    """`rate` requests per second for each name, and `burst` at once. Time is passed in, in seconds that only grow."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str, now: float) -> bool:
        """Whether one more request is within the limit; it counts when it is."""
        bucket = self._buckets.get(name)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[name] = _Bucket(float(self._burst), now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled) * self._rate)
        bucket.filled = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _make_room(self, now: float) -> None:
        """Forgets buckets that are full again: they say nothing."""
        if len(self._buckets) < MAX_BUCKETS:
            return
        full = [
            name
            for name, bucket in self._buckets.items()
            if bucket.tokens + (now - bucket.filled) * self._rate >= self._burst
        ]
        for name in full:
            del self._buckets[name]
