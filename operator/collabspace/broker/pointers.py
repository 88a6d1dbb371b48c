"""What is stored for a pointer: its content, a mark of this one write, and the mark of the write that it replaced.

The mark tells two writes of equal content apart. With the mark before it, a writer whose answer was lost can see
whether its own write took place. A hash over all of it tells a pointer from half of one.
"""

import errno
import hashlib
import secrets
from dataclasses import dataclass
from typing import Self

from collabspace.broker.store import Pointer

MAX_CONTENT_BYTES = 64 << 10
MARK = 32
HASH = 64
NOTHING = "0" * MARK
MAX_STORED_BYTES = 2 * MARK + HASH + MAX_CONTENT_BYTES


@dataclass(frozen=True)
class WrittenPointer:
    """`previous` is the mark of what it replaced, NOTHING when there was none."""

    mark: str
    previous: str
    content: bytes

    @classmethod
    def new(cls, content: bytes, expected: str | None) -> Self:
        """A write that replaces the one of tag `expected`. Raises ValueError when the content is too long."""
        if len(content) > MAX_CONTENT_BYTES:
            raise ValueError(
                f"pointer: {len(content)} bytes, but at most {MAX_CONTENT_BYTES} fit; store a blob instead"
            )
        return cls(secrets.token_hex(MARK // 2), expected or NOTHING, content)

    @classmethod
    def parse(cls, stored: bytes) -> Self:
        """Raises OSError when these are not the bytes that were written."""
        marks, found, content = stored[: 2 * MARK], stored[2 * MARK : 2 * MARK + HASH], stored[2 * MARK + HASH :]
        if _hash(marks, content) != found:
            raise OSError(errno.EIO, "the store gives other bytes for a pointer than were put there")
        text = marks.decode("ascii")
        return cls(text[:MARK], text[MARK:], content)

    def stored(self) -> bytes:
        marks = (self.mark + self.previous).encode()
        return marks + _hash(marks, self.content) + self.content

    @property
    def pointer(self) -> Pointer:
        return Pointer(self.content, self.mark)


def _hash(marks: bytes, content: bytes) -> bytes:
    return hashlib.sha256(marks + content).hexdigest().encode()
