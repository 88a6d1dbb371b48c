"""The hash chain: each record is sealed together with the seal of the one before, so that no record can be changed,
taken out, moved or cut off without the check naming the first one that is wrong."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

GENESIS = "0" * 64
Value = str | int | None
Fields = Mapping[str, Value]


@dataclass(frozen=True)
class Sealed:
    """A record at its place in a chain. `position` counts from 1; `fields` is everything else that the seal covers."""

    position: int
    fields: Fields
    previous: str
    hash: str


@dataclass(frozen=True)
class Verdict:
    """`problem` names the first bad record, or is None. `head` is the hash of the last record that was read."""

    records: int
    head: str
    problem: str | None


def seal(position: int, fields: Fields, previous: str) -> str:
    """sha256, hexadecimal, of the canonical JSON of place, content and the seal before.

    Fields without a value are left out, so that a field that comes later breaks no old seal.
    """
    said = {name: value for name, value in fields.items() if value is not None}
    text = json.dumps([position, previous, said], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check(records: Iterable[Sealed], count: int, heads: Collection[str]) -> Verdict:
    """Reads a chain in order of position. `count` records are known to exist; each of `heads`, known from elsewhere
    (the table of chains, this process's memory, the owner's object), must be the hash of a record that is there."""
    read, head = 0, GENESIS
    missing = set(heads) - {GENESIS}
    for record in records:
        problem = _fault(record, read + 1, head)
        if problem is not None:
            return Verdict(read, head, problem)
        read, head = read + 1, record.hash
        missing.discard(head)
    if read < count:
        return Verdict(
            read, head, f"record {read + 1}: removed from the end; {count} records are known, {read} are left"
        )
    if read > count:
        return Verdict(read, head, f"record {count + 1}: not written by the ledger, which counts {count} records")
    if missing:
        return Verdict(
            read, head, f"record {read + 1}: a head known from elsewhere is not in the chain: cut off or rewritten"
        )
    return Verdict(read, head, None)


def _fault(record: Sealed, place: int, head: str) -> str | None:
    if record.position > place:
        return f"record {place}: removed"
    if record.position < place:
        return f"record {record.position}: there twice"
    if seal(record.position, record.fields, record.previous) != record.hash:
        return f"record {place}: edited or moved; its content does not fit its hash"
    if record.previous != head:
        return f"record {place}: does not follow the record before it; one of the two was replaced"
    return None
