"""Gzip files whose bytes depend on their content alone, so that equal data has an equal digest on every machine."""

import hashlib
from pathlib import Path
from types import TracebackType

import pyarrow as pa

_BLOCK = 1 << 20
_OS_BYTE = 9  # of the gzip header: zlib writes the system it runs on
_UNKNOWN_SYSTEM = 255


class GzipLines:
    """Writes lines into gzip members of about 1 MiB each: no name, no time, no system in the header.

    Arrow's codec and not the interpreter's zlib, which is zlib-ng in some builds and compresses to other bytes.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._codec = pa.Codec("gzip", compression_level=6)
        self._block = bytearray()
        self._hash = hashlib.sha256()
        self.records = 0
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Of the file's bytes; final after the writer is closed."""
        return self._hash.hexdigest()

    def write(self, line: bytes) -> None:
        self._block += line
        self.records += 1
        if len(self._block) >= _BLOCK:
            self._flush()

    def _flush(self) -> None:
        member = bytearray(self._codec.compress(bytes(self._block), asbytes=True))
        member[_OS_BYTE] = _UNKNOWN_SYSTEM
        self._file.write(member)
        self._hash.update(member)
        self.bytes += len(member)
        self._block.clear()

    def __enter__(self) -> "GzipLines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._block or not self.bytes:
            self._flush()
        self._file.close()
