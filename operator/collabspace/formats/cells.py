"""One cell of a table: from what stands in a CSV or Parquet file to the value its column's kind asks for."""

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal

from collabspace.api.manifest import ColumnKind
from collabspace.formats.limits import MAX_CELL_CHARACTERS

Raw = str | int | float | bool | Decimal | datetime | date | None
"""A cell as read; None is missing."""
Value = str | float | bool | datetime | None
"""A cell as kept."""

# A leading zero says that the digits are a code (post code, record number), not a quantity.
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.]{5,15}(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


class CellProblem(ValueError):
    """Message and remedy, without the cell's content."""


def convert(kind: ColumnKind, raw: Raw) -> Value:
    """The cell as its kind is kept: Number as float, Boolean as bool, Time in UTC, all others as text.

    Raises CellProblem.
    """
    if raw is None:
        return None
    return _CONVERSIONS.get(kind, to_text)(raw)


def is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text.strip(" ")) is not None


def to_number(raw: Raw) -> float:
    """A finite number. Integers beyond 2**53 are rounded to the nearest float."""
    if isinstance(raw, str):
        text = raw.strip(" ")
        value = float(text) if _NUMBER.fullmatch(text) else math.nan
    elif isinstance(raw, int | float | Decimal):
        value = float(raw)
    else:
        value = math.nan
    if not math.isfinite(value):
        raise CellProblem("the cell is no finite number", "Leave missing cells empty, or name another kind.")
    return value


def to_boolean(raw: Raw) -> bool:
    """True, yes and 1 against false, no and 0, in any case."""
    value = raw if isinstance(raw, bool) else _BOOLEANS.get(str(raw).strip(" ").lower())
    if value is None:
        raise CellProblem("the cell is neither true nor false", "Write true or false, or name another kind.")
    return value


def to_time(raw: Raw) -> datetime:
    """A point in time in UTC; one without a zone is taken as UTC, a date as its midnight."""
    try:
        if isinstance(raw, str) and _TIME.fullmatch(raw):
            raw = datetime.fromisoformat(raw)
        if isinstance(raw, datetime):
            return raw.astimezone(UTC) if raw.tzinfo else raw.replace(tzinfo=UTC)
        if isinstance(raw, date):
            return datetime.combine(raw, time(), UTC)
    except (ValueError, OverflowError) as error:
        raise CellProblem("the cell is no date or time", "Write ISO 8601: 2024-01-31T12:00:00Z.") from error
    raise CellProblem("the cell is no date or time", "Write ISO 8601: 2024-01-31T12:00:00Z.")


def to_text(raw: Raw) -> str:
    """The cell's text, white space kept. Numbers of Parquet are written as they print."""
    text = _plain(raw)
    if len(text) > MAX_CELL_CHARACTERS:
        raise CellProblem(f"the cell is longer than {MAX_CELL_CHARACTERS} characters", "Shorten it.")
    if found := _CONTROL.search(text):
        raise CellProblem(f"the cell holds control character U+{ord(found[0]):04X}", "Remove it.")
    return text


def key(raw: Raw) -> str | None:
    """The cell as part of a record's split key. It depends on the cell alone, not on its column's kind:

    a later version may infer another kind from other cells, and no record may change its split by that.
    """
    if raw is None:
        return None
    text = raw if isinstance(raw, str) else _plain(raw)
    return repr(float(text)) if is_number(text) else text


def _plain(raw: Raw) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, datetime | date):
        return raw.isoformat()
    return str(raw)


_CONVERSIONS: dict[ColumnKind, Callable[[Raw], Value]] = {
    ColumnKind.NUMBER: to_number,
    ColumnKind.BOOLEAN: to_boolean,
    ColumnKind.TIME: to_time,
}
