"""One run's intake: every byte that enters is counted against its bound here, and progress is told from here."""

import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from collabspace.formats.limits import MAX_LINE_BYTES, MAX_RECORDS, MAX_TOTAL_BYTES
from collabspace.formats.problem import Problems

Progress = Callable[[int, int], None]

# Everything of Unicode's class Cc but tab and line feed, and lone surrogates, which no UTF-8 can hold.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"
_STEP = 1 << 20


@dataclass(frozen=True)
class DataFile:
    """A regular file: `path` to open, `name` to show (relative to the folder, `/` between parts), its bytes."""

    path: Path
    name: str
    size: int

    @property
    def compressed(self) -> bool:
        return self.name.lower().endswith(".gz")

    @property
    def extension(self) -> str:
        """The extension that tells the layout, lower case, `.gz` left out: `.tsv` of `notes.tsv.gz`."""
        return PurePosixPath(self.name.lower().removesuffix(".gz")).suffix


class Intake:
    """Counts bytes and records of one run. Progress is told in bytes as stored: (done, expected in all)."""

    def __init__(self, max_bytes: int = MAX_TOTAL_BYTES, progress: Progress | None = None) -> None:
        self.problems = Problems()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._records = 0
        self._progress = progress
        self._total = 0
        self._done = 0

    def spend(self, name: str, amount: int) -> None:
        """Takes `amount` decompressed bytes off the bound; raises FormatError when it is used up."""
        self._bytes += amount
        self.check_size(name, self._bytes)

    def check_size(self, name: str, size: int) -> None:
        """Raises FormatError when `size`, as a file declares it, is beyond the bound."""
        if size > self._max_bytes:
            self.problems.stop(
                name,
                None,
                f"the data is larger than {self._max_bytes} bytes when decompressed",
                "Push it as several datasets.",
            )

    def start_again(self) -> None:
        """Begins a second pass over the same files: bytes and records are counted anew."""
        self._bytes = 0
        self._records = 0

    def count_record(self, name: str) -> None:
        self._records += 1
        if self._records > MAX_RECORDS:
            self.problems.stop(name, None, f"more than {MAX_RECORDS} records", "Push it as several datasets.")

    def expect(self, total: int) -> None:
        """Sets what progress runs up to; a file that is read twice counts twice."""
        self._total = total

    def advance(self, amount: int) -> None:
        """Tells the listener that `amount` more stored bytes are done."""
        self._done += amount
        if self._progress is not None and amount:
            self._progress(min(self._done, self._total), self._total)

    @contextmanager
    def reading(self, file: DataFile) -> Iterator[BinaryIO]:
        """The file's bytes, decompressed when its name ends in .gz. A damaged one is FormatError, not a traceback."""
        descriptor = os.open(file.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "rb") as raw:
            told = 0
            try:
                if file.compressed:
                    with gzip.GzipFile(fileobj=raw, mode="rb") as plain:
                        yield cast(BinaryIO, io.BufferedReader(plain, _STEP))
                else:
                    yield raw
                told = file.size
            except (gzip.BadGzipFile, EOFError, zlib.error):
                self.problems.stop(file.name, None, "is not a whole gzip file", "Compress it again with gzip.")
            finally:
                self.advance(told)

    def lines(self, file: DataFile) -> Iterator[tuple[int, str]]:
        """(number from 1, text) of every line. Lines end at LF; one CR before it and a BOM at the start are dropped.

        A line with a finding comes with `?` in place of what is wrong, so that later line-spanning rules still hold.
        """
        with self.reading(file) as stream:
            number = 0
            while raw := stream.readline(MAX_LINE_BYTES + 2):
                number += 1
                self.spend(file.name, len(raw))
                if number == 1:
                    raw = raw.removeprefix(_BOM)
                raw = raw.removesuffix(b"\n").removesuffix(b"\r")
                if len(raw) > MAX_LINE_BYTES:
                    message = f"the line is longer than {MAX_LINE_BYTES} bytes"
                    self.problems.add(file.name, number, message, "Break it into several records.")
                    return
                yield number, self._decoded(file.name, number, raw)

    def _decoded(self, name: str, number: int, raw: bytes) -> str:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"byte {error.start + 1} of the line is not UTF-8"
            self.problems.add(name, number, message, "Save the file as UTF-8.")
            text = raw.decode("utf-8", "replace")
        if found := CONTROL.search(text):
            message = f"control character U+{ord(found[0]):04X} at position {found.start() + 1}"
            self.problems.add(name, number, message, "Remove it.")
            text = CONTROL.sub("?", text)
        return text
