"""How a list of grants changes. Pure: grants as they stand in, grants as they should be out."""

import datetime as dt
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collabspace.cli.errors import CommandError
from collabspace.cli.parameters import duration_seconds
from collabspace.kube import clock

Grant = dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """What the owner asked for; None leaves what is there.

    `ends` False: remove the end. `shorten`: the end may be sooner than it was.
    """

    name: str
    namespace: str
    uses: tuple[str, ...] = ()
    not_after: str | None = None
    ends: bool = True
    purpose: str | None = None
    agreement: str | None = None
    shorten: bool = False


def granted(existing: Sequence[Grant], wish: Wish, namespace_uid: str, now: dt.datetime) -> tuple[list[Grant], str]:
    """The grants with the wish fulfilled, and a verb: created, configured. Raises CommandError for what cannot be."""
    before = next((grant for grant in existing if grant["name"] == wish.name), None)
    if before and before["namespace"] != wish.namespace:
        raise CommandError(
            f"grant {wish.name} is there already, for namespace {before['namespace']}", "Choose another --name."
        )
    if before:
        _check_end(before, wish, now)
    uses = [*(before["uses"] if before else []), *wish.uses]
    if not uses:
        raise CommandError("a new grant needs a use", "Add --use Train, --use Evaluate or both.")
    after: Grant = {**(before or {}), "name": wish.name, "namespace": wish.namespace}
    after |= {"namespaceUID": namespace_uid, "uses": list(dict.fromkeys(uses))}
    for field, value in (("purpose", wish.purpose), ("agreement", wish.agreement), ("notAfter", wish.not_after)):
        if value is not None:
            after[field] = value
    if not wish.ends:
        after.pop("notAfter", None)
    if before:
        return [after if grant is before else grant for grant in existing], "configured"
    return [*existing, after], "created"


def _check_end(before: Grant, wish: Wish, now: dt.datetime) -> None:
    """Raises CommandError for a grant that would stay ended, and for one that would end sooner unasked."""
    if has_ended(before, now):
        if wish.ends and wish.not_after is None:
            raise CommandError(f"grant {wish.name}: it ended at {before['notAfter']}", "Give --until, as --until 30d.")
    elif wish.not_after is not None and not wish.shorten and _sooner(wish.not_after, before.get("notAfter")):
        raise CommandError(
            f"grant {wish.name} holds until {_told(before)}, and --until {wish.not_after} is sooner",
            "Tasks that run on it then lose their data. Add --shorten if that is meant.",
        )


def _sooner(new: str, old: str | None) -> bool:
    try:
        return not old or clock.parse(new) < clock.parse(old)
    except ValueError:
        return False  # an end that cannot be read may be replaced by any


def _told(grant: Grant) -> str:
    return grant.get("notAfter") or "it is revoked"


def change_of_end(before: Sequence[Grant], after: Sequence[Grant], name: str) -> str:
    """`until OLD -> NEW` of the grant of that name; empty when it is new or its end stays."""
    old, new = (next((grant for grant in grants if grant["name"] == name), None) for grants in (before, after))
    if old is None or new is None or old.get("notAfter") == new.get("notAfter"):
        return ""
    return f"until {_told(old)} -> {_told(new)}"


def end_of(until: str, now: dt.datetime) -> str | None:
    """RFC 3339 end of `30d`, `2026-12-31` (that whole day, UTC) or a moment; None for `never`.

    Raises CommandError for anything else and for what is past.
    """
    if until == "never":
        return None
    seconds = duration_seconds(until)
    moment = _after(now, seconds, until) if seconds is not None else _moment(until)
    if moment <= now:
        raise CommandError(
            f"--until {until} is past ({clock.rfc3339(moment)})", "Give a later day, or a length such as 30d."
        )
    return clock.rfc3339(moment)


def _after(now: dt.datetime, seconds: int, until: str) -> dt.datetime:
    try:
        return now + dt.timedelta(seconds=seconds)
    except OverflowError as error:
        raise CommandError(f"--until {until} is beyond the calendar", "Give a nearer end, or 'never'.") from error


def _moment(until: str) -> dt.datetime:
    try:
        day = dt.date.fromisoformat(until)
    except ValueError:
        try:
            return clock.parse(until)
        except ValueError as error:
            remedy = "Give 2026-12-31, 2026-12-31T18:00:00Z, 30d or never."
            raise CommandError(f"--until {until[:60]!r} is neither a day, a moment nor a length", remedy) from error
    return dt.datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=dt.UTC)


def has_ended(grant: Grant, now: dt.datetime) -> bool:
    """Whether the end of a stored grant is past."""
    try:
        return bool(grant.get("notAfter")) and clock.parse(grant["notAfter"]) <= now
    except ValueError:
        return False  # an end that cannot be read is the operator's to judge


def undo(dataset: str, owner: str, grant: Grant) -> str:
    """The words of the command that gives a revoked grant again."""
    words = ["grants", "add", dataset, "-n", owner, "--to", grant["namespace"]]
    for use in grant["uses"]:
        words += ["--use", use]
    for flag, field in (("--until", "notAfter"), ("--purpose", "purpose"), ("--agreement", "agreement")):
        if grant.get(field):
            words += [flag, str(grant[field])]
    if grant["name"] != grant["namespace"]:
        words += ["--name", grant["name"]]
    return shlex.join(words)
