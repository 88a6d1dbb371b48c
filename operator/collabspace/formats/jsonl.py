"""JSON lines with tagged tokens, or with a text and character spans; one record a line."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.limits import MAX_JSON_BYTES, MAX_LABELS
from collabspace.formats.problem import Problems, printable, quoted
from collabspace.formats.sentence import Draft
from collabspace.formats.spans import SpanProblem, tag_spans
from collabspace.formats.strict_json import JSONProblem, parse

EXTENSION = ".jsonl"
LABELS = "labels.json"
_TAG_FIELDS = ("tags", "ner_tags")
_KNOWN = {"tokens", "tags", "ner_tags", "text", "entities", "group", "id"}


class _Fault(Exception):
    """Message and remedy of a record that cannot be read."""


@dataclass
class JSONLines:
    """Reads the files of one dataset. `names` says what integer tags mean; `dropped` collects fields not kept."""

    names: list[str] | None
    group_by: str | None
    dropped: set[str] = field(default_factory=set)

    def read(self, file: DataFile, intake: Intake) -> Iterator[Draft]:
        """Records in file order; a record with a fault is a finding and is left out."""
        for number, text in intake.lines(file):
            try:
                yield self._draft(number, text)
            except JSONProblem as error:
                intake.problems.add(file.name, number, f"the line {error}", "Write one JSON object a line.")
            except _Fault as fault:
                message, remedy = fault.args
                intake.problems.add(file.name, number, message, remedy)

    def _draft(self, number: int, text: str) -> Draft:
        record = parse(text)
        if not isinstance(record, dict):
            raise _Fault("the line is no JSON object", "Write one JSON object a line.")
        present = [name for name in _TAG_FIELDS if name in record]
        if len(present) + ("entities" in record) > 1:
            raise _Fault("the record has several of tags, ner_tags and entities", "Keep one of them.")
        if "entities" in record:
            tokens, tags = _from_spans(record)
        elif present and "tokens" in record:
            tokens, tags = _strings(record, "tokens"), self._tags(record, present[0])
        else:
            remedy = "Give tokens and tags, tokens and ner_tags, or text and entities."
            raise _Fault("the record has no tagged tokens", remedy)
        if len(self.dropped) < 100:
            self.dropped.update(record.keys() - _KNOWN - {self.group_by})
        group = _key(record, self.group_by or "group")
        if self.group_by and group is None:
            raise _Fault(f"the field {quoted(self.group_by)} to group by is missing", "Give it to every record.")
        return Draft(number, tokens, tags, group=group, id=_key(record, "id"))

    def _tags(self, record: dict[str, object], name: str) -> list[str]:
        values = record[name]
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            return _strings(record, name)
        if values and self.names is None:
            remedy = f"Put {LABELS} beside it (a list of the tags in order of their integers) and push the folder."
            raise _Fault(f"{name} holds integers without names", remedy)
        names = self.names or []
        if values and not 0 <= min(values) <= max(values) < len(names):
            message = f"{name} holds an integer outside 0 to {len(names) - 1}"
            raise _Fault(message, f"Name every integer in {LABELS}.")
        return [names[value] for value in values]


def read_tag_names(file: DataFile, problems: Problems) -> list[str] | None:
    """The tags of `labels.json`: a list, where the place of a name is its integer. None after a finding."""
    remedy = 'Write a list such as ["O", "B-Disease", "I-Disease"].'
    if file.size > MAX_JSON_BYTES:
        problems.add(file.name, None, f"is larger than {MAX_JSON_BYTES} bytes", remedy)
        return None
    try:
        names = parse(file.path.read_bytes().decode("utf-8-sig"))
    except (JSONProblem, UnicodeDecodeError) as error:
        message = str(error) if isinstance(error, JSONProblem) else "is not UTF-8"
        problems.add(file.name, None, message, remedy)
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problems.add(file.name, None, "is no list of names", remedy)
        return None
    if not names or len(names) > 4 * MAX_LABELS + 1 or len(set(names)) < len(names):
        problems.add(file.name, None, "names no tag, too many, or one twice", remedy)
        return None
    return names


def _from_spans(record: dict[str, object]) -> tuple[list[str], list[str]]:
    text, entities = record.get("text"), record["entities"]
    if not isinstance(text, str) or not isinstance(entities, list):
        raise _Fault("text is no string, or entities no list", "Give both.")
    try:
        return tag_spans(text, entities)
    except SpanProblem as problem:
        raise _Fault(*problem.args) from problem


def _strings(record: dict[str, object], name: str) -> list[str]:
    values = record[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _Fault(f"{printable(name)} is no list of strings", "Write a list of strings.")
    return values


def _key(record: dict[str, object], name: str) -> str | None:
    value = record.get(name)
    if value is None or isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    raise _Fault(f"the field {quoted(name)} is neither a string nor an integer", "Write it as a string.")
