"""Counts of a table's rows and classes per split, and the rules of its target."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa

from collabspace.api.manifest import ColumnSchema, Split, TargetColumn, TargetKind
from collabspace.formats.cells import Value
from collabspace.formats.limits import MAX_LABELS, MAX_NAME_CHARACTERS
from collabspace.formats.problem import Problems, quoted
from collabspace.formats.split import check_presence


class TableTally:
    """Adds up rows; with a Class target it counts the classes too."""

    def __init__(self, splits: set[Split], columns: Sequence[ColumnSchema], target: TargetColumn | None) -> None:
        names = [column.name for column in columns]
        self._target = target
        self._index = None if target is None else names.index(target.column)
        self.records = {split: 0 for split in Split if split in splits}
        self._classes: dict[Split, Counter[str]] = {split: Counter() for split in self.records}

    def fault(self, row: Sequence[Value]) -> str | None:
        """What is wrong with the target's cell of a row."""
        return None if self._index is None else self.target_fault(row[self._index])

    def target_fault(self, cell: Value) -> str | None:
        if self._target is None:
            return None
        if cell is None:
            return f"the target {quoted(self._target.column)} is missing"
        if self._is_class and len(_label(cell)) > MAX_NAME_CHARACTERS:
            return f"the class in {quoted(self._target.column)} is longer than {MAX_NAME_CHARACTERS} characters"
        return None

    def add(self, split: Split, row: Sequence[Value]) -> None:
        self.add_target(split, None if self._index is None else row[self._index])

    def add_target(self, split: Split, cell: Value) -> None:
        """Counts a row of which only the target's cell is at hand."""
        self.records[split] += 1
        counts = self._classes[split]
        # One more than allowed is remembered, so that a column of free text neither fills memory nor passes.
        if self._is_class and cell is not None and (len(counts) <= MAX_LABELS or _label(cell) in counts):
            counts[_label(cell)] += 1

    def target_rows(self, batch: pa.RecordBatch) -> Iterator[Value]:
        """The target's cell of each row of a canonical batch, None where there is no target."""
        if self._index is None:
            return iter([None] * batch.num_rows)
        return iter(batch.column(self._index).to_pylist())

    @property
    def _is_class(self) -> bool:
        return self._target is not None and self._target.kind is TargetKind.CLASS

    @property
    def labels(self) -> list[str]:
        """The classes, sorted."""
        return sorted(set().union(*self._classes.values()))

    @property
    def label_counts(self) -> dict[Split, dict[str, int]]:
        """Rows of each class per split; empty without a Class target."""
        if not self._is_class:
            return {}
        return {split: dict(sorted(counts.items())) for split, counts in self._classes.items()}

    def check(self, problems: Problems) -> None:
        """Adds findings: empty split, class missing in a split, fewer than two or too many classes."""
        check_presence(self.records, self.label_counts, self.labels, problems)
        if self._is_class and self._target is not None and len(self.labels) < 2:
            message = f"the target {quoted(self._target.column)} has one class only"
            problems.add("", None, message, "A model learns to tell at least two apart.")


def _label(cell: Value) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell)
