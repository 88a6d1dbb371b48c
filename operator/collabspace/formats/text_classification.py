"""TextClassification: texts with one class each. Canonical form: `<split>.jsonl.gz`, one record a line."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from collabspace.api.manifest import FileEntry, Manifest, Split
from collabspace.formats import csv_rows, parquet_rows
from collabspace.formats.canonical import check_split_names, compare, entries_of, open_entry
from collabspace.formats.folder import find_sources
from collabspace.formats.gzip_lines import GzipLines
from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.labelled_text import LabelledText, TextProblem, TextReader
from collabspace.formats.limits import MAX_LABELS, MAX_TOTAL_BYTES
from collabspace.formats.problem import Problems, listed
from collabspace.formats.request import Converted, Format, Request
from collabspace.formats.split import check_presence, plan_splits
from collabspace.formats.strict_json import JSONProblem, parse
from collabspace.formats.table_columns import read_header

JSON_LINES = ".jsonl"
EXTENSIONS = (JSON_LINES, csv_rows.EXTENSION, parquet_rows.EXTENSION)
SUFFIX = ".jsonl.gz"
_FIELDS = {"text", "label", "group"}


class _Tally:
    """Records and classes per split."""

    def __init__(self, splits: set[Split]) -> None:
        self.records = {split: 0 for split in Split if split in splits}
        self._classes: dict[Split, Counter[str]] = {split: Counter() for split in self.records}

    def add(self, split: Split, record: LabelledText) -> None:
        self.records[split] += 1
        counts = self._classes[split]
        # One more than allowed is remembered, so that free text in place of labels neither fills memory nor passes.
        if len(counts) <= MAX_LABELS or record.label in counts:
            counts[record.label] += 1

    @property
    def labels(self) -> list[str]:
        return sorted(set().union(*self._classes.values()))

    @property
    def label_counts(self) -> dict[Split, dict[str, int]]:
        return {split: dict(sorted(counts.items())) for split, counts in self._classes.items()}

    def check(self, problems: Problems) -> None:
        check_presence(self.records, self.label_counts, self.labels, problems)


def _convert(request: Request, intake: Intake) -> Converted:
    problems = intake.problems
    sources = find_sources(request.source, EXTENSIONS, (), problems)
    plan = plan_splits(request.split, sources.data, problems)
    problems.raise_if_any()
    intake.expect(sources.size)
    tally = _Tally(plan.expected)
    reader = TextReader(request.split.group_by)
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(GzipLines(request.destination / (split + SUFFIX))) for split in tally.records
        }
        for file in sources.data:
            for record in _records(file, reader, intake):
                split = plan.assign(file.name, record.split_key)
                writers[split].write(record.json_line())
                tally.add(split, record)
    problems.raise_if_any()
    tally.check(problems)
    problems.raise_if_any()
    dropped = [f"fields that are not kept: {listed(sorted(reader.dropped))}"] if reader.dropped else []
    return Converted(
        files=[
            FileEntry(
                path=split + SUFFIX, sha256=writer.sha256, bytes=writer.bytes, records=writer.records, split=split
            )
            for split, writer in writers.items()
        ],
        sources=sources.files,
        readme=sources.readme,
        split_mode=plan.mode,
        labels=tally.labels,
        label_counts=tally.label_counts,
        warnings=[*plan.warnings, *dropped],
    )


def _records(file: DataFile, reader: TextReader, intake: Intake) -> Iterator[LabelledText]:
    """The sound records of a pushed file; the others are findings."""
    before = intake.problems.count
    empty = True
    for line, fields in _fields(file, intake):
        empty = False
        intake.count_record(file.name)
        try:
            yield reader.read(fields)
        except TextProblem as problem:
            message, remedy = problem.args
            intake.problems.add(file.name, line, message, remedy)
    if empty and intake.problems.count == before:
        intake.problems.add(file.name, None, "the file holds no record", "Remove it or fill it.")


def _fields(file: DataFile, intake: Intake) -> Iterator[tuple[int, Mapping[str, object]]]:
    """(line or row, fields by name) of each record, in whatever layout it comes."""
    if file.extension == JSON_LINES:
        yield from _json_fields(file, intake)
        return
    read = csv_rows.csv_rows if file.extension == csv_rows.EXTENSION else parquet_rows.parquet_rows
    rows = read(file, intake)
    header = read_header(file.name, next(rows, (1, []))[1], intake.problems)
    for line, cells in rows if header else ():
        yield line, dict(zip(header, cells, strict=True))


def _json_fields(file: DataFile, intake: Intake) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, text in intake.lines(file):
        remedy = "Write one JSON object a line."
        try:
            record = parse(text)
        except JSONProblem as error:
            intake.problems.add(file.name, number, f"the line {error}", remedy)
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            intake.problems.add(file.name, number, "the line is no JSON object", remedy)


def _canonical(file: DataFile, intake: Intake) -> Iterator[LabelledText]:
    """The records of a canonical file; anything that this module would not have written is a finding."""
    reader = TextReader()
    for number, text in intake.lines(file):
        intake.count_record(file.name)
        try:
            fields = parse(text)
            if not isinstance(fields, dict) or not fields.keys() <= _FIELDS:
                raise TextProblem("the line is no canonical record", "Prepare the data again.")
            record = reader.read(fields)
        except JSONProblem:
            intake.problems.add(file.name, number, "the line is no canonical record", "Prepare the data again.")
        except TextProblem as problem:
            message, remedy = problem.args
            intake.problems.add(file.name, number, message, remedy)
        else:
            if record.json_line() != text.encode() + b"\n":
                message = "the record is not written in canonical form"
                intake.problems.add(file.name, number, message, "Prepare the data again.")
            yield record


def _check(folder: Path, manifest: Manifest, intake: Intake) -> None:
    problems = intake.problems
    check_split_names(manifest, SUFFIX, problems)
    problems.raise_if_any()
    tally = _Tally({entry.split for entry in manifest.files if entry.split is not None})
    for entry in manifest.files:
        for record in _canonical(DataFile(folder / entry.path, entry.path, entry.bytes), intake):
            tally.add(entry.split or Split.TRAIN, record)
    problems.raise_if_any()
    for entry in manifest.files:
        found = tally.records[entry.split or Split.TRAIN]
        compare(f"the number of records in {entry.path}", entry.records, found, problems)
    compare("labels", manifest.labels, tally.labels, problems)
    compare("labelCounts", manifest.label_counts, tally.label_counts, problems)
    compare("columns", manifest.columns, [], problems)
    compare("target", manifest.target, None, problems)
    tally.check(problems)


def read_text_classification(folder: Path, manifest: Manifest, split: Split | None) -> list[LabelledText]:
    """The texts of one split in canonical order; None gives all splits. A split that is not there is empty.

    Sizes and hashes are checked first. Raises FormatError.
    """
    intake = Intake(MAX_TOTAL_BYTES)
    records: list[LabelledText] = []
    for entry in entries_of(manifest, split):
        records += _canonical(open_entry(folder, entry, intake), intake)
    intake.problems.raise_if_any()
    return records


TEXT_CLASSIFICATION = Format(convert=_convert, check=_check)
