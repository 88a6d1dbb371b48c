"""TokenClassification: sentences with IOB2 tags. Canonical form: `<split>.jsonl.gz`, one record a line."""

from collections.abc import Iterator
from pathlib import Path

from collabspace.api.manifest import Manifest, Split
from collabspace.formats import conll
from collabspace.formats.conll import read_conll
from collabspace.formats.folder import Sources, find_sources
from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.iob import TagReader
from collabspace.formats.jsonl import EXTENSION, LABELS, JSONLines, read_tag_names
from collabspace.formats.labelled_splits import SplitWriter, check_labelled, read_labelled, split_writer
from collabspace.formats.problem import listed
from collabspace.formats.request import Converted, Format, Request
from collabspace.formats.sentence import Draft, SentenceReader, TaggedSentence
from collabspace.formats.split import plan_splits
from collabspace.formats.strict_json import JSONProblem, parse

EXTENSIONS = (*conll.EXTENSIONS, EXTENSION)
NO_ENTITY = ("no entity in the data", "Push records that hold entities; every tag is O.")
_FIELDS = {"tokens", "tags", "group", "id"}


def _convert(request: Request, intake: Intake) -> Converted:
    problems = intake.problems
    sources = find_sources(request.source, EXTENSIONS, (LABELS,), problems)
    plan = plan_splits(request.split, sources.data, problems)
    json_lines = _json_lines(request, sources, intake)
    problems.raise_if_any()
    intake.expect(sources.size)
    tags = TagReader(request.tags)
    with split_writer(plan, request.destination) as target:
        for file in sources.data:
            drafts = json_lines.read(file, intake) if file.extension == EXTENSION else read_conll(file, intake)
            _write(file, drafts, SentenceReader(file.name, tags, problems), target, intake)
    problems.raise_if_any()
    target.tally.check(problems)
    if not target.tally.labels:
        problems.add("", None, *NO_ENTITY)
    problems.raise_if_any()
    return target.converted(sources, json_lines.dropped)


def _types(sentence: TaggedSentence) -> list[str]:
    """The type of each entity."""
    return [tag[2:] for tag in sentence.tags if tag.startswith("B-")]


def _write(
    file: DataFile, drafts: Iterator[Draft], reader: SentenceReader, target: SplitWriter, intake: Intake
) -> None:
    before = intake.problems.count
    empty = True
    for draft in drafts:
        empty = False
        intake.count_record(file.name)
        sentence = reader.read(draft)
        if sentence is not None:
            target.add(file.name, sentence.split_key, sentence.json_line(), _types(sentence))
    if empty and intake.problems.count == before:
        intake.problems.add(file.name, None, "the file holds no record", "Remove it or fill it.")


def _json_lines(request: Request, sources: Sources, intake: Intake) -> JSONLines:
    names = None
    if LABELS in sources.companions:
        names = read_tag_names(sources.companions[LABELS], intake.problems)
    group_by = request.split.group_by
    columns = [file for file in sources.data if file.extension != EXTENSION]
    if columns and group_by not in (None, "group", "document"):
        message = f"a file of columns has no field to group by, {listed([group_by or ''])} is asked for"
        remedy = "Mark documents with '# doc = X' lines and group by document, or push JSON lines."
        intake.problems.add(columns[0].name, None, message, remedy)
    return JSONLines(names, group_by)


def _records(file: DataFile, intake: Intake) -> Iterator[TaggedSentence]:
    """The sentences of a canonical file; anything that this module would not have written is a finding."""
    reader = SentenceReader(file.name, TagReader("iob2"), intake.problems)
    for number, text in intake.lines(file):
        intake.count_record(file.name)
        draft = _canonical_draft(number, text)
        if draft is None:
            message = "the line is no canonical record"
            intake.problems.add(file.name, number, message, "Prepare the data again.")
            continue
        sentence = reader.read(draft)
        if sentence is None:
            continue
        if sentence.json_line() != text.encode() + b"\n":
            message = "the record is not written in canonical form"
            intake.problems.add(file.name, number, message, "Prepare the data again.")
        yield sentence


def _canonical_draft(number: int, text: str) -> Draft | None:
    try:
        record = parse(text)
    except JSONProblem:
        return None
    if not isinstance(record, dict) or not record.keys() <= _FIELDS:
        return None
    tokens, tags = record.get("tokens"), record.get("tags")
    for values in (tokens, tags):
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            return None
    group, key = record.get("group"), record.get("id")
    if not isinstance(group, str | None) or not isinstance(key, str | None):
        return None
    return Draft(number, tokens or [], tags or [], group=group, id=key)


def _check(folder: Path, manifest: Manifest, intake: Intake) -> None:
    check_labelled(folder, manifest, lambda file: map(_types, _records(file, intake)), intake)
    if not manifest.labels:
        intake.problems.add("", None, *NO_ENTITY)


def read_token_classification(folder: Path, manifest: Manifest, split: Split | None) -> list[TaggedSentence]:
    """As read_labelled. Raises FormatError."""
    return read_labelled(folder, manifest, split, _records)


TOKEN_CLASSIFICATION = Format(convert=_convert, check=_check)
