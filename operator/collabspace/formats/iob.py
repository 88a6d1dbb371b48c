"""Tag schemes of entity spans: checks a sentence's tags and turns IOB1 and BIOES into IOB2, the canonical one."""

import re
from collections.abc import Callable, Sequence
from typing import Literal

from collabspace.formats.limits import MAX_LABELS, MAX_NAME_CHARACTERS
from collabspace.formats.problem import quoted

TagScheme = Literal["iob2", "iob1", "bioes"]
Report = Callable[[int, str, str | Callable[[], str]], None]
"""Called with the token's index, the message and the remedy."""

_TAG = re.compile(rf"([BIES])-([^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{MAX_NAME_CHARACTERS}}})")
_PREFIXES = {"iob2": "BI", "iob1": "BI", "bioes": "BIES"}
_OUTSIDE = ("O", "")


class TagReader:
    """Reads the tags of one dataset. It remembers whether all of them so far would be sound IOB1."""

    def __init__(self, scheme: TagScheme) -> None:
        self._scheme = scheme
        self._could_be_iob1 = True
        self._known: dict[str, tuple[str, str]] = {"O": _OUTSIDE}

    def read(self, tags: Sequence[str], report: Report) -> tuple[str, ...] | None:
        """The tags as IOB2; None after findings were reported. Never shows a tag that does not look like one."""
        pairs = [self._known.get(tag) or self._parse(index, tag, report) for index, tag in enumerate(tags)]
        sound = [pair for pair in pairs if pair is not None]
        if len(sound) < len(pairs):
            return None
        match self._scheme:
            case "iob2":
                return self._iob2(sound, tags, report)
            case "iob1":
                return _iob1(sound, report)
            case "bioes":
                return _bioes(sound, report)

    def _parse(self, index: int, tag: str, report: Report) -> tuple[str, str] | None:
        found = _TAG.fullmatch(tag)
        if found is None:
            remedy = "Write O, B-<type> or I-<type>; the tag is the last column."
            report(index, "the tag is neither O nor a prefix, a hyphen and a type", remedy)
            return None
        if found[1] not in _PREFIXES[self._scheme]:
            remedy = "Push with --tags bioes if that is the scheme; else write B- or I-."
            report(index, f"the tag {quoted(tag)} has a prefix that {self._scheme} does not know", remedy)
            return None
        if len(self._known) <= 4 * MAX_LABELS:
            self._known[tag] = (found[1], found[2])
        return found[1], found[2]

    def _iob2(self, pairs: list[tuple[str, str]], tags: Sequence[str], report: Report) -> tuple[str, ...] | None:
        clean = True
        before = ""
        for index, (prefix, type_) in enumerate(pairs):
            if prefix == "B" and type_ != before:
                self._could_be_iob1 = False
            elif prefix == "I" and type_ != before:
                message = f"{quoted(tags[index])} continues no entity of its type"
                report(index, message, self._orphan_remedy)
                clean = False
            before = type_
        return tuple(tags) if clean else None

    def _orphan_remedy(self) -> str:
        if self._could_be_iob1:
            return "Push with --tags iob1 if the data is IOB1, as it seems; else begin the entity with B-."
        return "Begin the entity with B-."


def _iob1(pairs: list[tuple[str, str]], report: Report) -> tuple[str, ...] | None:
    clean = True
    converted = []
    before = ""
    for index, (prefix, type_) in enumerate(pairs):
        if prefix == "B" and type_ != before:
            message = f"{quoted('B-' + type_)} follows no entity of its type, which IOB1 does not allow"
            report(index, message, "Push with --tags iob2 if that is the scheme; else write I-.")
            clean = False
        starts = prefix == "B" or type_ != before
        converted.append(_iob2_tag(type_, starts))
        before = type_
    return tuple(converted) if clean else None


def _bioes(pairs: list[tuple[str, str]], report: Report) -> tuple[str, ...] | None:
    clean = True
    open_type = ""  # of the entity that B began and E has not ended yet
    for index, (prefix, type_) in enumerate([*pairs, _OUTSIDE]):
        continues = prefix in "IE"
        if continues and type_ != open_type:
            message = f"{quoted(prefix + '-' + type_)} continues no entity of its type"
            report(index, message, "Begin the entity with B-, or write S- for one token.")
            clean = False
        elif not continues and open_type:
            message = f"the entity {quoted(open_type)} ends without E-"
            report(index - 1, message, "End it with E-, or write S- for one token.")
            clean = False
        open_type = type_ if prefix in "BI" else ""
    return tuple(_iob2_tag(type_, prefix in "BS") for prefix, type_ in pairs) if clean else None


def _iob2_tag(type_: str, starts: bool) -> str:
    if not type_:
        return "O"
    return ("B-" if starts else "I-") + type_
