"""The one place where the platform reads the time, so that the pure core never does."""

import datetime as dt

from collabspace.api.timestamp import parse, rfc3339

__all__ = ["now", "parse", "rfc3339"]


def now() -> dt.datetime:
    """Current time in UTC, timezone aware."""
    return dt.datetime.now(dt.UTC)  # noqa: TID251 the edge that the ban points to
