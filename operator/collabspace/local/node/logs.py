"""Reading container logs as `kubectl logs` asks for them, from the files that shims write."""

import asyncio
import datetime as dt
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from collabspace.kube import clock

FOLLOW_SECONDS = 0.1
BATCH_BYTES = 64 * 1024
MAX_TAIL_LINES = 1_000_000


class LogOptionError(Exception):
    """A log option has a value that cannot be."""


@dataclass(frozen=True)
class LogOptions:
    """As in the API's PodLogOptions; `since` is a moment, whichever way it was given."""

    follow: bool = False
    timestamps: bool = False
    previous: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: str | None = None

    @classmethod
    def parse(cls, query: dict[str, str], now: dt.datetime) -> "LogOptions":
        """From the query of a kubelet's log request. Raises LogOptionError."""
        since = None
        if "sinceTime" in query:
            since = _sortable(query["sinceTime"])
        elif "sinceSeconds" in query:
            since = _sortable((now - dt.timedelta(seconds=_count(query, "sinceSeconds") or 0)).isoformat())
        return cls(
            follow=query.get("follow") == "true",
            timestamps=query.get("timestamps") == "true",
            previous=query.get("previous") == "true",
            tail_lines=_count(query, "tailLines"),
            limit_bytes=_count(query, "limitBytes"),
            since=since,
        )


class LogReader:
    """Whole records of a log in order, across its rotation; keeps its place between calls."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._file: BinaryIO | None = None
        self._rest = b""

    def read(self) -> Iterator[bytes]:
        """Records that were not returned yet, each without its newline."""
        if self._file is None:
            self._file = _open(self._log.with_name(self._log.name + ".1")) or _open(self._log)
        while self._file is not None:
            while chunk := self._file.read(BATCH_BYTES):
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                yield from lines
            following = self._following()
            if following is None:
                return
            self._file.close()
            self._file, self._rest = following, b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _following(self) -> BinaryIO | None:
        """The newest file, when the one that was just read to its end has been rotated away."""
        newest = _open(self._log)
        if newest is None or self._file is None:
            return newest
        if os.fstat(newest.fileno()).st_ino == os.fstat(self._file.fileno()).st_ino:
            newest.close()
            return None
        return newest


class Formatter:
    """Turns records into what a person reads: pieces of one long line are joined, times shown or not."""

    def __init__(self, *, timestamps: bool) -> None:
        self._timestamps = timestamps
        self._inside: set[bytes] = set()

    def text(self, record: bytes) -> bytes:
        time, stream, tag, text = (record.split(b" ", 3) + [b""] * 4)[:4]
        prefix = time + b" " if self._timestamps and stream not in self._inside else b""
        if tag == b"P":
            self._inside.add(stream)
            return prefix + text
        self._inside.discard(stream)
        return prefix + text + b"\n"


async def stream(log: Path, options: LogOptions, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log as `options` want it, in batches. Following ends once `ended()` is true and all is read."""
    reader, formatter = LogReader(log), Formatter(timestamps=options.timestamps)
    left = options.limit_bytes
    first = True
    try:
        while True:
            over = ended()
            records: Iterator[bytes] = reader.read()
            if first:
                records = _selected(records, options)
                first = False
            while batch := await asyncio.to_thread(_batch, records, formatter):
                batch = batch if left is None else batch[:left]
                left = None if left is None else left - len(batch)
                yield batch
                if left == 0:
                    return
            if over or not options.follow:
                return
            await asyncio.sleep(FOLLOW_SECONDS)
    finally:
        reader.close()


def tail(log: Path, lines: int, max_bytes: int) -> str:
    """The last lines as text, at most `max_bytes`."""
    reader, formatter = LogReader(log), Formatter(timestamps=False)
    try:
        text = b"".join(map(formatter.text, deque(reader.read(), maxlen=lines)))
    finally:
        reader.close()
    return text[-max_bytes:].decode(errors="ignore")


def _selected(records: Iterator[bytes], options: LogOptions) -> Iterator[bytes]:
    if options.since is not None:
        since = options.since
        records = (record for record in records if _sortable(record.split(b" ", 1)[0].decode()) >= since)
    if options.tail_lines is None:
        return records
    return iter(_last_lines(records, min(options.tail_lines, MAX_TAIL_LINES)))


def _last_lines(records: Iterator[bytes], lines: int) -> list[bytes]:
    """Records of the last whole lines: pieces of a long line go together."""
    kept: deque[list[bytes]] = deque(maxlen=lines)
    line: list[bytes] = []
    for record in records:
        line.append(record)
        if record.split(b" ", 3)[2:3] != [b"P"]:
            kept.append(line)
            line = []
    if line:
        kept.append(line)
    return [record for pieces in kept for record in pieces]


def _batch(records: Iterator[bytes], formatter: Formatter) -> bytes:
    parts: list[bytes] = []
    size = 0
    for record in records:
        parts.append(formatter.text(record))
        size += len(parts[-1])
        if size >= BATCH_BYTES:
            break
    return b"".join(parts)


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _count(query: dict[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not text.isdigit():
        raise LogOptionError(f"{name} is {text!r}; give a whole number that is not negative")
    return int(text[:18])


def _sortable(text: str) -> str:
    """A time as text that sorts like time: UTC with nanoseconds."""
    try:
        moment = clock.parse(text)
    except ValueError as error:
        raise LogOptionError(f"time {text!r} is not RFC 3339; write for example 2026-12-31T00:00:00Z") from error
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
