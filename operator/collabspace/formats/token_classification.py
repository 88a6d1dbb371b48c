"""TokenClassification: sentences with IOB2 tags. Canonical form: `<split>.jsonl.gz`, one record a line."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from collabspace.api.manifest import FileEntry, Manifest, Split
from collabspace.formats import conll
from collabspace.formats.canonical import check_split_names, compare, entries_of, open_entry
from collabspace.formats.conll import read_conll
from collabspace.formats.folder import Sources, find_sources
from collabspace.formats.gzip_lines import GzipLines
from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.iob import TagReader
from collabspace.formats.jsonl import EXTENSION, LABELS, JSONLines, read_tag_names
from collabspace.formats.limits import MAX_TOTAL_BYTES
from collabspace.formats.problem import listed
from collabspace.formats.request import Converted, Format, Request
from collabspace.formats.sentence import Draft, SentenceReader, TaggedSentence
from collabspace.formats.split import SplitPlan, check_presence, plan_splits
from collabspace.formats.strict_json import JSONProblem, parse

EXTENSIONS = (*conll.EXTENSIONS, EXTENSION)
SUFFIX = ".jsonl.gz"
_FIELDS = {"tokens", "tags", "group", "id"}


class _Tally:
    """Records and entities per split."""

    def __init__(self, splits: set[Split]) -> None:
        self.records = {split: 0 for split in Split if split in splits}
        self._entities: dict[Split, Counter[str]] = {split: Counter() for split in self.records}

    def add(self, split: Split, sentence: TaggedSentence) -> None:
        self.records[split] += 1
        self._entities[split].update(tag[2:] for tag in sentence.tags if tag.startswith("B-"))

    @property
    def labels(self) -> list[str]:
        return sorted(set().union(*self._entities.values()))

    @property
    def label_counts(self) -> dict[Split, dict[str, int]]:
        return {split: dict(sorted(counts.items())) for split, counts in self._entities.items()}

    def check(self, intake: Intake) -> None:
        check_presence(self.records, self.label_counts, self.labels, intake.problems)
        if not self.labels:
            remedy = "Push records that hold entities; every tag is O."
            intake.problems.add("", None, "no entity in the data", remedy)


def _convert(request: Request, intake: Intake) -> Converted:
    problems = intake.problems
    sources = find_sources(request.source, EXTENSIONS, (LABELS,), problems)
    plan = plan_splits(request.split, sources.data, problems)
    json_lines = _json_lines(request, sources, intake)
    problems.raise_if_any()
    intake.expect(sources.size)
    tally = _Tally(plan.expected)
    tags = TagReader(request.tags)
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(GzipLines(request.destination / (split + SUFFIX))) for split in tally.records
        }
        for file in sources.data:
            drafts = json_lines.read(file, intake) if file.extension == EXTENSION else read_conll(file, intake)
            _write(file, drafts, SentenceReader(file.name, tags, problems), _Target(plan, tally, writers), intake)
    problems.raise_if_any()
    tally.check(intake)
    problems.raise_if_any()
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
        warnings=[*plan.warnings, *_dropped(json_lines)],
    )


class _Target:
    """Where sentences go: their split's writer and its count."""

    def __init__(self, plan: SplitPlan, tally: _Tally, writers: dict[Split, GzipLines]) -> None:
        self._plan = plan
        self._tally = tally
        self._writers = writers

    def add(self, file: str, sentence: TaggedSentence) -> None:
        split = self._plan.assign(file, sentence.split_key)
        self._writers[split].write(sentence.json_line())
        self._tally.add(split, sentence)


def _write(file: DataFile, drafts: Iterator[Draft], reader: SentenceReader, target: _Target, intake: Intake) -> None:
    before = intake.problems.count
    empty = True
    for draft in drafts:
        empty = False
        intake.count_record(file.name)
        sentence = reader.read(draft)
        if sentence is not None:
            target.add(file.name, sentence)
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


def _dropped(json_lines: JSONLines) -> list[str]:
    names = sorted(json_lines.dropped)
    return [f"fields that are not kept: {listed(names)}"] if names else []


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
    check_split_names(manifest, SUFFIX, intake.problems)
    intake.problems.raise_if_any()
    tally = _Tally({entry.split for entry in manifest.files if entry.split is not None})
    for entry in manifest.files:
        file = DataFile(folder / entry.path, entry.path, entry.bytes)
        for sentence in _records(file, intake):
            tally.add(entry.split or Split.TRAIN, sentence)
    intake.problems.raise_if_any()
    for entry in manifest.files:
        found = tally.records[entry.split or Split.TRAIN]
        compare(f"the number of records in {entry.path}", entry.records, found, intake.problems)
    compare("labels", manifest.labels, tally.labels, intake.problems)
    compare("labelCounts", manifest.label_counts, tally.label_counts, intake.problems)
    compare("columns", manifest.columns, [], intake.problems)
    compare("target", manifest.target, None, intake.problems)
    tally.check(intake)


def read_token_classification(folder: Path, manifest: Manifest, split: Split | None) -> list[TaggedSentence]:
    """The sentences of one split in canonical order; None gives all splits. A split that is not there is empty.

    Sizes and hashes are checked first. Raises FormatError.
    """
    intake = Intake(MAX_TOTAL_BYTES)
    sentences: list[TaggedSentence] = []
    for entry in entries_of(manifest, split):
        sentences += _records(open_entry(folder, entry, intake), intake)
    intake.problems.raise_if_any()
    return sentences


TOKEN_CLASSIFICATION = Format(convert=_convert, check=_check)
