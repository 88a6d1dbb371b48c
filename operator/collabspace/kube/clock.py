"""The one place where the platform reads the time, so that the pure core never does."""

import datetime as dt
import time

from collabspace.api.timestamp import parse, rfc3339

__all__ = ["elapsed", "now", "parse", "rfc3339"]

# On Linux it counts through a suspended machine too, which the usual monotonic clock does not.
_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> dt.datetime:
    """Current time in UTC, timezone aware."""
    return dt.datetime.now(dt.UTC)  # noqa: TID251 the edge that the ban points to


def elapsed() -> float:
    """Seconds since some moment, never set back, counted also while this process or the machine is suspended."""
    return time.clock_gettime(_ELAPSED)
