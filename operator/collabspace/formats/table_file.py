"""Canonical Parquet: one schema per list of columns, one way to write it, and the check that a file is of that kind."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collabspace.api.manifest import ColumnKind, ColumnSchema
from collabspace.formats.cells import Value
from collabspace.formats.limits import MAX_CELL_CHARACTERS
from collabspace.formats.problem import quoted

_TYPES = {
    ColumnKind.NUMBER: pa.float64(),
    ColumnKind.BOOLEAN: pa.bool_(),
    ColumnKind.TIME: pa.timestamp("us", tz="UTC"),
}
_CELLS_IN_GROUP = 1_000_000
_MOST_ROWS = 65_536
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{80}-\x{9f}]"


def table_schema(columns: Sequence[ColumnSchema]) -> pa.Schema:
    """Number: double; Boolean: bool; Time: timestamp in microseconds UTC; every other kind: string."""
    return pa.schema([(column.name, _TYPES.get(column.kind, pa.string())) for column in columns])


def rows_in_group(columns: int) -> int:
    """Rows of one row group: a bound on memory that follows from the schema alone, as equal digests need."""
    return max(100, min(_MOST_ROWS, _CELLS_IN_GROUP // max(1, columns)))


class TableWriter:
    """Writes rows to one Parquet file; at most one row group is held in memory."""

    def __init__(self, path: Path, columns: Sequence[ColumnSchema]) -> None:
        self._path = path
        self._schema = table_schema(columns)
        self._limit = rows_in_group(len(columns))
        self._rows: list[list[Value]] = []
        self._writer = pq.ParquetWriter(
            path, self._schema, version="2.6", compression="zstd", compression_level=3, write_statistics=False,
            store_schema=False,
        )  # fmt: skip
        self.records = 0

    def write(self, row: list[Value]) -> None:
        self._rows.append(row)
        self.records += 1
        if len(self._rows) >= self._limit:
            self._flush()

    def _flush(self) -> None:
        cells = zip(*self._rows, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(cells, self._schema, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._rows.clear()

    @property
    def sha256(self) -> str:
        """Of the file; only after the writer is closed."""
        with self._path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rows and error is None:
            self._flush()
        self._writer.close()


def faults(batch: pa.RecordBatch) -> list[str]:
    """What in a canonical batch could not have come from prepare(), by column."""
    found = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_floating(column.type) and pc.all(pc.is_finite(column)).as_py() is False:
            found.append(f"column {quoted(name)} holds a number that is not finite")
        if pa.types.is_string(column.type):
            if pc.any(pc.match_substring_regex(column, _CONTROL)).as_py():
                found.append(f"column {quoted(name)} holds control characters")
            if (pc.max(pc.utf8_length(column)).as_py() or 0) > MAX_CELL_CHARACTERS:
                found.append(f"column {quoted(name)} holds a cell of more than {MAX_CELL_CHARACTERS} characters")
            if pc.any(pc.equal(column, "")).as_py():
                found.append(f"column {quoted(name)} holds an empty text, which should be missing")
    return found
