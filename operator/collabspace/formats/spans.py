"""Character spans to tagged tokens: a text is cut at white space and around punctuation, entities must fit the cuts."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from collabspace.formats.limits import MAX_NAME_CHARACTERS
from collabspace.formats.problem import quoted

_PIECE = re.compile(r"\w+|[^\w\s]")
_LABEL = re.compile(rf"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{MAX_NAME_CHARACTERS}}}")
_TEXT_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class SpanProblem(ValueError):
    """Message and remedy."""


def tokenise(text: str) -> list[tuple[int, int]]:
    """Start and end (characters, end excluded) of each run of letters, digits and marks, and of each other sign."""
    pieces = [piece.span() for piece in _PIECE.finditer(text)]
    return pieces if text.isascii() else _join_marks(text, pieces)


def _join_marks(text: str, pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    # A combining mark is no word character to `re`, yet it stands inside words (decomposed accents, Indic vowels).
    joined: list[tuple[int, int]] = []
    after_mark = False
    for start, end in pieces:
        is_mark = unicodedata.category(text[start]).startswith("M")
        adjacent = bool(joined) and joined[-1][1] == start
        if adjacent and (is_mark or (after_mark and text[start].isalnum())):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
        after_mark = is_mark
    return joined


def tag_spans(text: str, entities: Sequence[object]) -> tuple[list[str], list[str]]:
    """Tokens of the text and their IOB2 tags. Raises SpanProblem for a span that is broken or off token borders."""
    if found := _TEXT_CONTROL.search(text):
        raise SpanProblem(f"the text holds control character U+{ord(found[0]):04X}", "Remove it.")
    pieces = tokenise(text)
    first = {start: index for index, (start, _) in enumerate(pieces)}
    last = {end: index for index, (_, end) in enumerate(pieces)}
    spans = sorted(_span(index, entity, len(text)) for index, entity in enumerate(entities))
    for (_, end, _, _), (start, _, _, place) in pairwise(spans):
        if start < end:
            raise SpanProblem(f"entity {place} overlaps another", "Keep one of them; spans cannot be nested.")
    tags = ["O"] * len(pieces)
    for start, end, label, place in spans:
        if start not in first or end not in last:
            remedy = "Move start and end (characters, end excluded) to the borders of whole words."
            raise SpanProblem(f"entity {place} ({quoted(label)}) is off token borders", remedy)
        tags[first[start]] = "B-" + label
        for index in range(first[start] + 1, last[end] + 1):
            tags[index] = "I-" + label
    return [text[start:end] for start, end in pieces], tags


def _span(index: int, entity: object, length: int) -> tuple[int, int, str, int]:
    place = index + 1
    fields = entity if isinstance(entity, dict) else {}
    start, end, label = fields.get("start"), fields.get("end"), fields.get("label")
    if type(start) is not int or type(end) is not int or not isinstance(label, str):
        remedy = 'Write {"start": 0, "end": 4, "label": "Disease"}.'
        raise SpanProblem(f"entity {place} lacks start, end (integers) or label (string)", remedy)
    if not 0 <= start < end <= length:
        raise SpanProblem(f"entity {place} lies outside the text or is empty", "Correct start and end.")
    if not _LABEL.fullmatch(label):
        remedy = "Use one word."
        raise SpanProblem(f"entity {place} has a label that is empty, too long or holds white space", remedy)
    return start, end, label, place
