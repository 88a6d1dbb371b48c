"""Times as Kubernetes writes them. Pure: what the time is now, only kube/clock.py says."""

import datetime as dt


def rfc3339(moment: dt.datetime) -> str:
    """UTC, whole seconds, `Z`."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str) -> dt.datetime:
    """An RFC 3339 time, timezone aware. Raises ValueError when it is not one."""
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone; write for example 2026-12-31T00:00:00Z")
    return moment
