"""CoNLL-like columns: a token a line, a blank line between sentences, optional marks between documents."""

import hashlib
import re
from collections.abc import Iterator

from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.sentence import Draft
from collabspace.formats.split import normalised

EXTENSIONS = (".conll", ".bio", ".txt", ".tsv")

_DOCSTART = re.compile(r"-DOCSTART-(?=[ \t]|$)")
_DOCUMENT = re.compile(r"# ?doc ?= ?(\S.*)")
_UNNAMED = ""


def read_conll(file: DataFile, intake: Intake) -> Iterator[Draft]:
    """Sentences in file order. Columns are parted by tabs if the first line of data has one, else by blanks.

    First column = token, last = tag, as many columns in each line as in the first. `# doc = X` names a group;
    `-DOCSTART-` starts one that is named by a hash of its own text, so that it keeps its split wherever it stands.
    """
    group: str | None = None
    document: list[Draft] = []
    for draft, mark in _sentences(file, intake):
        if mark is not None:
            yield from _close(document, group)
            document, group = [], mark
        elif group == _UNNAMED:
            document.append(draft)
        else:
            draft.group = group
            yield draft
    yield from _close(document, group)


def _close(document: list[Draft], group: str | None) -> Iterator[Draft]:
    if group == _UNNAMED:
        text = normalised("\n".join(" ".join(draft.tokens) for draft in document))
        name = "document-" + hashlib.sha256(text.encode()).hexdigest()[:16]
        for draft in document:
            draft.group = name
            yield draft


def _sentences(file: DataFile, intake: Intake) -> Iterator[tuple[Draft, str | None]]:
    """Each sentence with None, and each document mark with an empty draft."""
    columns: _Columns | None = None
    tokens: list[str] = []
    tags: list[str] = []
    lines: list[int] = []
    for number, text in intake.lines(file):
        mark = _mark(text)
        if mark is None and text.strip(" "):
            if columns is None:
                columns = _Columns(file.name, text, number)
            row = columns.read(text, number, intake)
            if row is not None:
                tokens.append(row[0])
                tags.append(row[1])
                lines.append(number)
            continue
        if tokens:
            yield Draft(lines[0], tokens, tags, lines), None
            tokens, tags, lines = [], [], []
        if mark is not None:
            yield Draft(number, (), ()), mark
    if tokens:
        yield Draft(lines[0], tokens, tags, lines), None


def _mark(text: str) -> str | None:
    if not text.startswith(("-", "#")):
        return None
    if _DOCSTART.match(text):
        return _UNNAMED
    found = _DOCUMENT.fullmatch(text)
    return found[1].strip() if found else None


class _Columns:
    """The column rule of one file, settled by its first line of data."""

    def __init__(self, name: str, text: str, number: int) -> None:
        self._name = name
        self._tab = "\t" in text
        self._count = len(self._parts(text))
        self._first = number

    def _parts(self, text: str) -> list[str]:
        return text.split("\t") if self._tab else [part for part in text.split(" ") if part]

    def read(self, text: str, number: int, intake: Intake) -> tuple[str, str] | None:
        parts = self._parts(text)
        separator = "a tab" if self._tab else "blanks"
        if len(parts) < 2:
            message = f"one column, while token and tag are parted by {separator}"
            intake.problems.add(self._name, number, message, "Write token and tag; a sentence ends at a blank line.")
            return None
        if len(parts) != self._count:
            message = f"{len(parts)} columns, while line {self._first} has {self._count} (parted by {separator})"
            intake.problems.add(self._name, number, message, "Give every line the same columns.")
            return None
        return parts[0], parts[-1]
