"""Where bytes are kept: blobs by their hash and manifests by their digest, under the uid of whoever owns them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

OWNER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
HASH = re.compile(r"[0-9a-f]{64}")
BLOBS, VERSIONS, POINTERS = "blobs", "versions", "aliases"


class StoreUnavailableError(OSError):
    """The store is not there: what it lacks now may well exist. Nothing is decided on its silence."""


class BadKeyError(ValueError):
    """A part of a key that the broker did not make: no path is built from it."""


@dataclass(frozen=True)
class StoredVersion:
    """`created` is in nanoseconds since 1970."""

    digest: str
    created: int


@dataclass(frozen=True)
class StoredBlob:
    """`created` as above."""

    sha256: str
    bytes: int
    created: int


@dataclass(frozen=True)
class Pointer:
    """A name that may come to mean something else. `tag` stands for one write of it, and is only ever compared."""

    content: bytes
    tag: str


class Store(Protocol):
    """Small on purpose; every back end passes tests/unit/broker/store_suite.py. All calls block.

    Owners are uids of our objects, hashes and pointers' names 64 hexadecimal digits, digests `sha256:` and a hash;
    anything else raises BadKeyError. What was put is durable when the call returns. Blobs and manifests never change,
    they can only be removed; pointers change, each time from a content that the writer has seen.
    Every call raises OSError when the store cannot be used; StoreUnavailableError when it is away as a whole.
    """

    def discard_partial(self) -> None:
        """Removes what nobody will ever make whole. Before the store is used, and where a store allows it, later."""
        ...

    def close(self) -> None: ...

    def owners(self) -> Iterator[str]: ...

    def versions(self, owner: str) -> list[StoredVersion]:
        """Newest first."""
        ...

    def read_manifest(self, owner: str, digest: str) -> bytes | None: ...

    def put_manifest(self, owner: str, digest: str, content: bytes) -> bool:
        """Creates it; False when it is there already (and stays as it is)."""
        ...

    def blob_size(self, owner: str, sha256: str) -> int | None: ...

    def open_blob(self, owner: str, sha256: str) -> BinaryIO:
        """Raises FileNotFoundError."""
        ...

    def put_blob(self, owner: str, sha256: str, source: Path) -> None:
        """Takes the file over; the caller has checked its hash. `source` is gone afterwards."""
        ...

    def expose(self, owner: str, sha256: str, target: Path) -> None:
        """Makes the blob readable as a local file, by link where that is possible. The file must not be written to."""
        ...

    def blobs(self, owner: str) -> list[StoredBlob]: ...

    def pointers(self, owner: str) -> list[str]:
        """Names of all that there are."""
        ...

    def read_pointer(self, owner: str, name: str) -> Pointer | None:
        """None when there is none of that name."""
        ...

    def swap_pointer(self, owner: str, name: str, content: bytes, expected: str | None) -> str | None:
        """Makes `content` (at most 64 KiB, else ValueError) the pointer's if its tag is still `expected`
        (None: if there is none of that name). The new tag; None when another writer was faster, and nothing changed.

        Whoever gets an OSError does not know whether the swap took place: it reads, and compares."""
        ...

    def remove_manifest(self, owner: str, digest: str) -> None:
        """The version is no more when this returns; its blobs stay until they are removed. Silent when it is gone."""
        ...

    def remove_blob(self, owner: str, sha256: str) -> None:
        """Silent when it is gone."""
        ...

    def remove_owner(self, owner: str) -> None:
        """Everything of this owner, blobs last: broken off anywhere, nothing points to what is missing."""
        ...


def checked_owner(owner: str) -> str:
    """The uid itself. Raises BadKeyError."""
    if not OWNER.fullmatch(owner):
        raise BadKeyError(f"owner uid: {owner[:80]!r} is not a uid of an object")
    return owner


def checked_hash(sha256: str) -> str:
    """The hash itself. Raises BadKeyError."""
    if not HASH.fullmatch(sha256):
        raise BadKeyError(f"sha256: {sha256[:80]!r} is not 64 lower-case hexadecimal digits")
    return sha256


def digest_hash(digest: str) -> str:
    """The hexadecimal part of a digest. Raises BadKeyError."""
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256":
        raise BadKeyError(f"digest: {digest[:80]!r} does not start with sha256:")
    return checked_hash(value)
