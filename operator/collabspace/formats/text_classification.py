"""TextClassification: texts with one class each. Canonical form: `<split>.jsonl.gz`, one record a line."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from collabspace.api.manifest import Manifest, Split
from collabspace.formats import csv_rows, parquet_rows
from collabspace.formats.folder import find_sources
from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.labelled_splits import check_labelled, read_labelled, split_writer
from collabspace.formats.labelled_text import LabelledText, TextProblem, TextReader
from collabspace.formats.request import Converted, Format, Request
from collabspace.formats.split import plan_splits
from collabspace.formats.strict_json import JSONProblem, parse
from collabspace.formats.table_columns import read_header

JSON_LINES = ".jsonl"
EXTENSIONS = (JSON_LINES, csv_rows.EXTENSION, parquet_rows.EXTENSION)
_FIELDS = {"text", "label", "group"}


def _convert(request: Request, intake: Intake) -> Converted:
    problems = intake.problems
    sources = find_sources(request.source, EXTENSIONS, (), problems)
    plan = plan_splits(request.split, sources.data, problems)
    problems.raise_if_any()
    intake.expect(sources.size)
    reader = TextReader(request.split.group_by)
    with split_writer(plan, request.destination) as target:
        for file in sources.data:
            for record in _records(file, reader, intake):
                target.add(file.name, record.split_key, record.json_line(), _labels(record))
    problems.raise_if_any()
    target.tally.check(problems)
    problems.raise_if_any()
    return target.converted(sources, reader.dropped)


def _labels(record: LabelledText) -> tuple[str]:
    return (record.label,)


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
    check_labelled(folder, manifest, lambda file: map(_labels, _canonical(file, intake)), intake)


def read_text_classification(folder: Path, manifest: Manifest, split: Split | None) -> list[LabelledText]:
    """As read_labelled. Raises FormatError."""
    return read_labelled(folder, manifest, split, _canonical)


TEXT_CLASSIFICATION = Format(convert=_convert, check=_check)
