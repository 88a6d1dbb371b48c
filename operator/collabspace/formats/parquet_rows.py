"""Parquet as pushed: flat columns of plain types, read in small batches so that a forged file cannot fill memory."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from collabspace.formats.cells import Raw
from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.limits import MAX_COLUMNS, MAX_RECORDS
from collabspace.formats.problem import quoted

EXTENSION = ".parquet"
BATCH = 1_000
_COPY = 1 << 20
_THRIFT = 64 * 2**20
_BROKEN = "is no sound Parquet file"


@contextmanager
def open_parquet(file: DataFile, intake: Intake) -> Iterator[pq.ParquetFile]:
    """The file, its declared sizes within the bounds. Arrow's errors become findings without its message,

    which may quote the data. Raises FormatError.
    """
    try:
        with intake.reading(file) as stream, _seekable(file, stream, intake) as plain:
            parquet = pq.ParquetFile(plain, thrift_string_size_limit=_THRIFT, thrift_container_size_limit=_THRIFT)
            _check_size(file, parquet.metadata, intake)
            yield parquet
    except (pa.ArrowException, OSError, ValueError, OverflowError):
        intake.problems.stop(file.name, None, _BROKEN, "Write it again with pyarrow, pandas, DuckDB or Spark.")


@contextmanager
def _seekable(file: DataFile, stream: BinaryIO, intake: Intake) -> Iterator[BinaryIO]:
    if not file.compressed:
        yield stream
        return
    size = 0
    with tempfile.TemporaryFile() as copy:
        while block := stream.read(_COPY):
            size += len(block)
            intake.check_size(file.name, size)
            copy.write(block)
        copy.seek(0)
        yield cast(BinaryIO, copy)


def _check_size(file: DataFile, metadata: pq.FileMetaData, intake: Intake) -> None:
    if metadata.num_rows > MAX_RECORDS:
        intake.problems.stop(file.name, None, f"more than {MAX_RECORDS} rows", "Push several datasets.")
    if metadata.num_columns > MAX_COLUMNS:
        intake.problems.stop(file.name, None, f"more than {MAX_COLUMNS} columns", "Leave some out.")
    sizes = [metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups)]
    intake.check_size(file.name, sum(max(size, 0) for size in sizes))


def parquet_rows(file: DataFile, intake: Intake) -> Iterator[tuple[int, list[Raw]]]:
    """(0, column names), then (row from 1, cells). Columns of a nested or opaque type are findings."""
    with open_parquet(file, intake) as parquet:
        schema = parquet.schema_arrow
        before = intake.problems.count
        for column in schema:
            if not _is_plain(column.type):
                remedy = "Store numbers, booleans, strings, dates or timestamps."
                message = f"column {quoted(column.name)} has the type {_type_name(column.type)}"
                intake.problems.add(file.name, None, message, remedy)
        yield 0, list(schema.names)
        if intake.problems.count > before:
            return
        number = 0
        for batch in parquet.iter_batches(batch_size=BATCH, use_threads=False):
            intake.spend(file.name, batch.nbytes)
            batch.validate(full=True)
            for row in zip(*(_cells(column) for column in batch.columns), strict=True):
                number += 1
                yield number, list(row)


def _cells(column: pa.Array) -> list[Raw]:
    if pa.types.is_timestamp(column.type):
        # Finer than Python's datetime would be an error, and so would a zone that this machine does not know.
        zone = None if column.type.tz is None else "UTC"
        column = column.cast(pa.timestamp("us", zone), safe=False)
    cells: list[Raw] = column.to_pylist()
    return [cell if cell != "" else None for cell in cells]


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return bool(_is_text(kind.value_type))
    plain = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)
    other = (types.is_timestamp, types.is_date, types.is_null)
    return bool(_is_text(kind) or any(holds(kind) for holds in (*plain, *other)))


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _type_name(kind: pa.DataType) -> str:
    # A nested type prints its fields' names, which nobody checked.
    return "nested" if pa.types.is_nested(kind) else str(kind)[:40]
