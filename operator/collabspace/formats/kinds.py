"""The kind of a column that its owner did not name, from simple rules over its cells.

In this order, missing cells left out: no cell at all = Ignore; all true/false or all yes/no = Boolean; all numbers =
Number (digits after a leading zero are a code, not a number); all ISO 8601 dates or times = Time; at least 20
different texts, none twice = Identifier, or Text when one is longer than 64 characters; at most 20 different texts,
or at most 1,000 of which each occurs twice on average = Category; else Text.
"""

from datetime import date, datetime
from decimal import Decimal

from collabspace.api.manifest import ColumnKind
from collabspace.formats.cells import CellProblem, Raw, is_number, to_time
from collabspace.formats.problem import quoted

_FEW = 20
_MANY = 1_000
_LONG = 64
# Texts are judged unique by the first so many, which bounds the memory of a column.
_REMEMBERED = 20_000
_PAIRS = (frozenset({"true", "false"}), frozenset({"yes", "no"}))
_WORDS = frozenset().union(*_PAIRS)


class ColumnProfile:
    """What one pass over a column's cells tells of it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._cells = 0
        self._numbers = 0
        self._may_be_time = True
        self._distinct: set[str | int] = set()
        self._unique = True
        self._longest = 0
        self._native: ColumnKind | None = None

    def add(self, raw: Raw) -> None:
        """Takes one cell into account; missing ones count for nothing."""
        if raw is None:
            return
        self._cells += 1
        if not isinstance(raw, str):
            self._native = _native_kind(raw)
            return
        self._numbers += is_number(raw)
        if self._may_be_time:
            self._may_be_time = _is_time(raw)
        self._longest = max(self._longest, len(raw))
        self._remember(raw)

    def _remember(self, text: str) -> None:
        if len(self._distinct) >= _REMEMBERED or (not self._unique and len(self._distinct) > _MANY):
            return
        # Hashes, since a cell may be long; the words of a Boolean are needed as such.
        item: str | int = text.lower() if text.lower() in _WORDS else hash(text)
        self._unique = self._unique and item not in self._distinct
        self._distinct.add(item)

    def kind(self) -> ColumnKind:
        if not self._cells:
            return ColumnKind.IGNORE
        if self._native is not None:
            return self._native
        if any(self._distinct <= pair for pair in _PAIRS):
            return ColumnKind.BOOLEAN
        if self._numbers == self._cells:
            return ColumnKind.NUMBER
        return ColumnKind.TIME if self._may_be_time else self._text_kind()

    def _text_kind(self) -> ColumnKind:
        different = len(self._distinct)
        if self._unique and different >= _FEW:
            return ColumnKind.TEXT if self._longest > _LONG else ColumnKind.IDENTIFIER
        if different <= _FEW or (different <= _MANY and 2 * different <= self._cells):
            return ColumnKind.CATEGORY
        return ColumnKind.TEXT

    @property
    def warning(self) -> str | None:
        """A sentence when the rules were probably not what the owner wants."""
        kind = self.kind()
        if kind is ColumnKind.IGNORE:
            return f"column {quoted(self._name)} has no cell that is not missing: ignored"
        if self._native is None and kind is not ColumnKind.NUMBER and self._numbers > 0.8 * self._cells:
            others = self._cells - self._numbers
            return (
                f"column {quoted(self._name)} is taken as {kind}: {others} of {self._cells} cells are no number; "
                "leave missing cells empty or name the column's kind"
            )
        return None


def _native_kind(raw: Raw) -> ColumnKind:
    """Of a Parquet cell whose type already says it."""
    if isinstance(raw, bool):
        return ColumnKind.BOOLEAN
    if isinstance(raw, int | float | Decimal):
        return ColumnKind.NUMBER
    return ColumnKind.TIME if isinstance(raw, datetime | date) else ColumnKind.CATEGORY


def _is_time(text: str) -> bool:
    try:
        to_time(text)
    except CellProblem:
        return False
    return True
