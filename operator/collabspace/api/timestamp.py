"""Times as Kubernetes writes them. Pure: what the time is now, only kube/clock.py says."""

import datetime as dt

# Nothing here is older or lasts longer; beyond, dates cannot be reckoned with any more.
FIRST, LAST = (dt.datetime(year, 1, 1, tzinfo=dt.UTC) for year in (1000, 9000))


def rfc3339(moment: dt.datetime) -> str:
    """UTC, whole seconds, `Z`."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str) -> dt.datetime:
    """An RFC 3339 time, timezone aware, within FIRST and LAST. Raises ValueError when it is not one."""
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; write for example 2026-12-31T00:00:00Z")
    return min(max(moment, FIRST), LAST)
