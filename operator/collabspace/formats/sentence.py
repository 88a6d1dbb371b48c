"""A tagged sentence: what every layout of TokenClassification is read into, and the rules all of them share."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from collabspace.formats.intake import CONTROL
from collabspace.formats.iob import TagReader
from collabspace.formats.limits import (
    MAX_KEY_CHARACTERS,
    MAX_LINE_BYTES,
    MAX_TOKEN_CHARACTERS,
    MAX_TOKENS,
)
from collabspace.formats.problem import Problems
from collabspace.formats.split import normalised

_FORBIDDEN = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class TaggedSentence(NamedTuple):
    """Tokens and their IOB2 tags, as many of one as of the other. `group` is the document or patient."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    group: str | None = None
    id: str | None = None

    def json_line(self) -> bytes:
        """The canonical record, line feed included."""
        record: dict[str, object] = {"tokens": self.tokens, "tags": self.tags}
        if self.group is not None:
            record["group"] = self.group
        if self.id is not None:
            record["id"] = self.id
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @property
    def split_key(self) -> str:
        """What decides the split when nothing better is named: the document, else the text."""
        return self.group if self.group is not None else normalised(" ".join(self.tokens))


@dataclass
class Draft:
    """A sentence as it stands in a file, before any check. `lines` has the line of each token, where they differ."""

    line: int
    tokens: Sequence[str]
    tags: Sequence[str]
    lines: Sequence[int] | None = None
    group: str | None = None
    id: str | None = None


class SentenceReader:
    """Turns drafts of one file into sentences, or into findings with file and line."""

    def __init__(self, name: str, tags: TagReader, problems: Problems) -> None:
        self._name = name
        self._tags = tags
        self._problems = problems

    def read(self, draft: Draft) -> TaggedSentence | None:
        """The sentence, or None after a finding."""
        before = self._problems.count

        def report(index: int, message: str, remedy: str | Callable[[], str]) -> None:
            if draft.lines is None:
                self._problems.add(self._name, draft.line, f"token {index + 1}: {message}", remedy)
            else:
                self._problems.add(self._name, draft.lines[index], message, remedy)

        self._check_shape(draft)
        self._check_keys(draft)
        if self._problems.count > before:
            return None
        if not _are_sound(draft.tokens):
            for index, token in enumerate(draft.tokens):
                if message := _fault(token):
                    report(index, message, "Correct the token, or remove it with its tag.")
        tags = self._tags.read(draft.tags, report)
        if tags is None or self._problems.count > before:
            return None
        sentence = TaggedSentence(tuple(draft.tokens), tags, draft.group, draft.id)
        if len(sentence.json_line()) > MAX_LINE_BYTES:
            self._add(draft, f"the sentence is longer than {MAX_LINE_BYTES} bytes", "Break it up.")
            return None
        return sentence

    def _check_shape(self, draft: Draft) -> None:
        tokens, tags = len(draft.tokens), len(draft.tags)
        if not tokens:
            self._add(draft, "the record has no token", "Remove it.")
        if tokens > MAX_TOKENS:
            message = f"the sentence has {tokens} tokens, at most {MAX_TOKENS} are allowed"
            self._add(draft, message, "Break it up; sentences end at a blank line.")
        if tokens != tags:
            self._add(draft, f"{tokens} tokens but {tags} tags", "Give each token one tag.")

    def _check_keys(self, draft: Draft) -> None:
        for field, value in (("group", draft.group), ("id", draft.id)):
            if value is None:
                continue
            if not value or len(value) > MAX_KEY_CHARACTERS or CONTROL.search(value) or "\n" in value:
                message = f"{field} is empty, longer than {MAX_KEY_CHARACTERS} characters or holds control characters"
                self._add(draft, message, "Give a short identifier or leave it out.")

    def _add(self, draft: Draft, message: str, remedy: str) -> None:
        self._problems.add(self._name, draft.line, message, remedy)


def _are_sound(tokens: Sequence[str]) -> bool:
    """All at once: a file has millions of tokens and few faults."""
    return all(tokens) and len(max(tokens, key=len)) <= MAX_TOKEN_CHARACTERS and not _FORBIDDEN.search("".join(tokens))


def _fault(token: str) -> str | None:
    if not token:
        return "the token is empty"
    if len(token) > MAX_TOKEN_CHARACTERS:
        return f"the token is longer than {MAX_TOKEN_CHARACTERS} characters"
    if found := _FORBIDDEN.search(token):
        kind = "a control character" if CONTROL.search(token) else "white space"
        return f"the token holds {kind} (U+{ord(found[0]):04X})"
    return None
