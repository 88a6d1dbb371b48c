"""A text with its class: what every layout of TextClassification is read into, and the rules all of them share."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from collabspace.formats.intake import CONTROL
from collabspace.formats.limits import MAX_CELL_CHARACTERS, MAX_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from collabspace.formats.problem import quoted
from collabspace.formats.split import normalised

# Line ends of either kind belong to a text; intake drops those of the file itself.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_TEXT_FIELDS = ("text", "sentence")
_KNOWN = {*_TEXT_FIELDS, "label", "group"}


class TextProblem(ValueError):
    """Message and remedy of a record that cannot be kept, without its content."""


class LabelledText(NamedTuple):
    """A text and its one class. `group` is the document or person it comes from."""

    text: str
    label: str
    group: str | None = None

    def json_line(self) -> bytes:
        """The canonical record, line feed included."""
        record = {"text": self.text, "label": self.label}
        if self.group is not None:
            record["group"] = self.group
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @property
    def split_key(self) -> str:
        """What decides the split when nothing better is named: the group, else the text."""
        return self.group if self.group is not None else normalised(self.text)


@dataclass
class TextReader:
    """Turns the fields of records into labelled texts. `dropped` collects the fields that are not kept."""

    group_by: str | None = None
    dropped: set[str] = field(default_factory=set)

    def read(self, fields: Mapping[str, object]) -> LabelledText:
        """Raises TextProblem."""
        if len(self.dropped) < 100:
            self.dropped.update(fields.keys() - _KNOWN - {self.group_by})
        group = _group(fields, self.group_by or "group")
        if self.group_by and group is None:
            raise TextProblem(f"the field {quoted(self.group_by)} to group by is missing", "Give it to every record.")
        return LabelledText(_text(fields), _label(fields), group)


def _text(fields: Mapping[str, object]) -> str:
    present = [name for name in _TEXT_FIELDS if fields.get(name) is not None]
    if len(present) != 1:
        what = "the record has both text and sentence" if present else "the record has no text"
        raise TextProblem(what, "Give each record one field text (or sentence).")
    text = fields[present[0]]
    if not isinstance(text, str):
        raise TextProblem(f"{present[0]} is no string", "Write the text as a string.")
    if not text.strip():
        raise TextProblem("the text is empty", "Remove the record.")
    if len(text) > MAX_CELL_CHARACTERS:
        raise TextProblem(f"the text is longer than {MAX_CELL_CHARACTERS} characters", "Break it up.")
    if found := _FORBIDDEN.search(text):
        raise TextProblem(f"the text holds control character U+{ord(found[0]):04X}", "Remove it.")
    return text


def _label(fields: Mapping[str, object]) -> str:
    label = fields.get("label")
    if isinstance(label, list) or (label is None and "labels" in fields):
        raise TextProblem("the record has a list of labels", "Give each record one label.")
    if label is None:
        raise TextProblem("the record has no label", "Give each record a label, or remove it.")
    text = _plain(label)
    if text is None:
        raise TextProblem("the label is neither a string nor an integer", "Write it as a string.")
    if not text or text != text.strip() or len(text) > MAX_NAME_CHARACTERS or CONTROL.search(text) or "\n" in text:
        message = f"the label is empty, longer than {MAX_NAME_CHARACTERS} characters, or has blanks around it or "
        raise TextProblem(message + "control characters in it", "Give a short name.")
    return text


def _group(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    text = _plain(value)
    if not text or len(text) > MAX_KEY_CHARACTERS or CONTROL.search(text) or "\n" in text:
        message = f"the field {quoted(name)} is empty, longer than {MAX_KEY_CHARACTERS} characters, holds control "
        raise TextProblem(message + "characters or is neither a string nor an integer", "Give a short identifier.")
    return text


def _plain(value: object) -> str | None:
    """A name as text: integers as their digits, booleans as true and false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None
