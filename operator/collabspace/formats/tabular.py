"""Tabular: rows of plain columns with an optional target. Canonical form: `<split>.parquet`, kinds in the manifest."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from collabspace.api.manifest import ColumnSchema, FileEntry, Manifest, Split
from collabspace.formats import csv_rows, parquet_rows
from collabspace.formats.canonical import check_split_names, compare, entries_of, open_entry
from collabspace.formats.cells import CellProblem, Raw, Value, convert, key
from collabspace.formats.folder import find_sources
from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.limits import MAX_TOTAL_BYTES
from collabspace.formats.problem import quoted
from collabspace.formats.request import Converted, Format, Request
from collabspace.formats.split import SplitPlan, plan_splits
from collabspace.formats.table_columns import choose_columns, read_header
from collabspace.formats.table_file import TableWriter, faults, table_schema
from collabspace.formats.table_tally import TableTally

EXTENSIONS = (csv_rows.EXTENSION, parquet_rows.EXTENSION)
SUFFIX = ".parquet"


def rows(file: DataFile, intake: Intake) -> Iterator[tuple[int, list[Raw]]]:
    """The header, then the rows, each with its line (CSV) or number (Parquet)."""
    if file.extension == csv_rows.EXTENSION:
        return csv_rows.csv_rows(file, intake)
    return parquet_rows.parquet_rows(file, intake)


def _convert(request: Request, intake: Intake) -> Converted:
    problems = intake.problems
    sources = find_sources(request.source, EXTENSIONS, (), problems)
    plan = plan_splits(request.split, sources.data, problems)
    problems.raise_if_any()
    intake.expect(2 * sources.size)
    columns, warnings = choose_columns(request, sources.data, rows, intake)
    problems.raise_if_any()
    intake.start_again()
    tally = TableTally(plan.expected, columns, request.target)
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(TableWriter(request.destination / (split + SUFFIX), columns))
            for split in tally.records
        }
        conversion = _Conversion(columns, plan, tally, writers, intake)
        for file in sources.data:
            conversion.write(file)
    problems.raise_if_any()
    tally.check(problems)
    problems.raise_if_any()
    return Converted(
        files=[_entry(request.destination, split, writer) for split, writer in writers.items()],
        sources=sources.files,
        readme=sources.readme,
        split_mode=plan.mode,
        labels=tally.labels,
        label_counts=tally.label_counts,
        columns=columns,
        target=request.target,
        warnings=[*plan.warnings, *warnings],
    )


def _entry(folder: Path, split: Split, writer: TableWriter) -> FileEntry:
    path = split + SUFFIX
    size = (folder / path).stat().st_size
    return FileEntry(path=path, sha256=writer.sha256, bytes=size, records=writer.records, split=split)


class _Conversion:
    """The second pass: each row is checked against its columns' kinds and written to its split."""

    def __init__(
        self,
        columns: list[ColumnSchema],
        plan: SplitPlan,
        tally: TableTally,
        writers: dict[Split, TableWriter],
        intake: Intake,
    ) -> None:
        self._columns = columns
        self._names = [column.name for column in columns]
        group_by = plan.rule.group_by
        self._group = None if group_by is None else self._names.index(group_by)
        self._plan = plan
        self._tally = tally
        self._writers = writers
        self._intake = intake

    def write(self, file: DataFile) -> None:
        found = rows(file, self._intake)
        next(found)
        for line, cells in found:
            self._intake.count_record(file.name)
            row = self._converted(file, line, cells)
            split_key = self._key(file, line, cells)
            if row is not None and split_key is not None:
                split = self._plan.assign(file.name, split_key)
                self._writers[split].write(row)
                self._tally.add(split, row)

    def _converted(self, file: DataFile, line: int, cells: list[Raw]) -> list[Value] | None:
        before = self._intake.problems.count
        row: list[Value] = []
        for column, raw in zip(self._columns, cells, strict=True):
            try:
                row.append(convert(column.kind, raw))
            except CellProblem as problem:
                message, remedy = problem.args
                self._intake.problems.add(file.name, line, f"column {quoted(column.name)}: {message}", remedy)
        if self._intake.problems.count > before:
            return None
        if message := self._tally.fault(row):
            remedy = "Complete the cell or remove the row."
            self._intake.problems.add(file.name, line, message, remedy)
            return None
        return row

    def _key(self, file: DataFile, line: int, cells: list[Raw]) -> str | None:
        if self._group is None:
            if not self._plan.needs_key(file.name):
                return ""
            fields = {name: key(cell) for name, cell in zip(self._names, cells, strict=True)}
            return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        group = key(cells[self._group])
        if group is None:
            message = f"column {quoted(self._names[self._group])} to group by is missing"
            self._intake.problems.add(file.name, line, message, "Complete the cell or remove the row.")
        return group


def _check(folder: Path, manifest: Manifest, intake: Intake) -> None:
    problems = intake.problems
    check_split_names(manifest, SUFFIX, problems)
    names = [column.name for column in manifest.columns]
    read_header("", list(names), problems)
    if manifest.target is not None and manifest.target.column not in names:
        problems.add("", None, "the manifest's target is none of its columns", "Prepare the data again.")
    problems.raise_if_any()
    splits = {entry.split for entry in manifest.files if entry.split is not None}
    tally = TableTally(splits, manifest.columns, manifest.target)
    for entry in manifest.files:
        split = entry.split or Split.TRAIN
        for batch in _batches(DataFile(folder / entry.path, entry.path, entry.bytes), manifest, intake):
            _check_batch(entry.path, split, batch, tally, intake)
        said = f"the number of records in {entry.path}"
        compare(said, entry.records, tally.records[split], problems)
    problems.raise_if_any()
    compare("labels", manifest.labels, tally.labels, problems)
    compare("labelCounts", manifest.label_counts, tally.label_counts, problems)
    tally.check(problems)


def _check_batch(name: str, split: Split, batch: pa.RecordBatch, tally: TableTally, intake: Intake) -> None:
    for fault in faults(batch):
        intake.problems.add(name, None, fault, "Prepare the data again.")
    for row in tally.target_rows(batch):
        number = tally.records[split] + 1
        if message := tally.target_fault(row):
            intake.problems.add(name, number, message, "Complete the cell or remove the row.")
        tally.add_target(split, row)
        intake.count_record(name)


def _batches(file: DataFile, manifest: Manifest, intake: Intake) -> Iterator[pa.RecordBatch]:
    """The batches of a canonical file. Raises FormatError when it is not of the manifest's columns."""
    with parquet_rows.open_parquet(file, intake) as parquet:
        if not parquet.schema_arrow.equals(table_schema(manifest.columns)):
            message = "the columns are not those of the manifest"
            intake.problems.stop(file.name, None, message, "Prepare the data again.")
        for batch in parquet.iter_batches(batch_size=parquet_rows.BATCH, use_threads=False):
            intake.spend(file.name, batch.nbytes)
            batch.validate(full=True)
            yield batch


def read_table(folder: Path, manifest: Manifest, split: Split | None) -> pa.Table:
    """The rows of one split with the manifest's columns, in canonical order; None gives all splits.

    A split that is not there is a table without rows. Sizes and hashes are checked first. Raises FormatError.
    """
    intake = Intake(MAX_TOTAL_BYTES)
    batches: list[pa.RecordBatch] = []
    for entry in entries_of(manifest, split):
        batches += _batches(open_entry(folder, entry, intake), manifest, intake)
    return pa.Table.from_batches(batches, table_schema(manifest.columns))


TABULAR = Format(convert=_convert, check=_check)
