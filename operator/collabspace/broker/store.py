"""Where bytes are kept: blobs by their hash and manifests by their digest, under the uid of whoever owns them."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

OWNER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
HASH = re.compile(r"[0-9a-f]{64}")
BLOBS, VERSIONS, UPLOADS = "blobs", "versions", "uploads"
MARKER, PARTIAL = ".collabspace-store", ".partial"


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


class Store(Protocol):
    """Small on purpose; every back end passes tests/unit/broker/store_suite.py. All calls block.

    Owners are uids of our objects, hashes are 64 hexadecimal digits, digests `sha256:` and a hash; anything else raises
    BadKeyError. Bytes that were put are durable when the call returns, and never change; they can only be removed.
    Every call raises OSError when the store cannot be used; StoreUnavailableError when it is away as a whole.
    """

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

    def remove_manifest(self, owner: str, digest: str) -> None:
        """The version is no more when this returns; its blobs stay until they are removed. Silent when it is gone."""
        ...

    def remove_blob(self, owner: str, sha256: str) -> None:
        """Silent when it is gone."""
        ...

    def remove_owner(self, owner: str) -> None:
        """Everything of this owner, manifests first: broken off anywhere, nothing points to what is missing."""
        ...


class FilesystemStore:
    """A folder: `<owner>/blobs/<hash>` and `<owner>/versions/<hash>.json`; what is half there has another name.

    A marker in the root tells the store from the empty folder that is left when a volume is not mounted.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        (root / MARKER).touch()

    def discard_partial(self) -> None:
        """Removes what a process that was killed left half written. Only before the store is used."""
        for leftover in self.root.glob(f"*/{VERSIONS}/.*{PARTIAL}"):
            leftover.unlink()

    def owners(self) -> Iterator[str]:
        self._must_be_there()
        return (entry.name for entry in sorted(self.root.iterdir()) if OWNER.fullmatch(entry.name) and entry.is_dir())

    def versions(self, owner: str) -> list[StoredVersion]:
        folder = self._folder(owner, VERSIONS)
        if not folder.is_dir():
            self._must_be_there()
            return []
        found = [
            StoredVersion(f"sha256:{path.stem}", path.stat().st_mtime_ns)
            for path in folder.glob("*.json")
            if HASH.fullmatch(path.stem)
        ]
        return sorted(found, key=lambda version: (version.created, version.digest), reverse=True)

    def read_manifest(self, owner: str, digest: str) -> bytes | None:
        try:
            return self._manifest(owner, digest).read_bytes()
        except FileNotFoundError:
            self._must_be_there()
            return None

    def put_manifest(self, owner: str, digest: str, content: bytes) -> bool:
        target = self._manifest(owner, digest)
        self._must_be_there()
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", suffix=PARTIAL) as temporary:
            temporary.write(content)
            temporary.flush()
            os.fsync(temporary.fileno())
            try:
                # A link, unlike a rename, fails when the name is taken: of two writers exactly one creates it.
                os.link(temporary.name, target)
            except FileExistsError:
                return False
        _sync_folder(target.parent)
        return True

    def blob_size(self, owner: str, sha256: str) -> int | None:
        try:
            return self._blob(owner, sha256).stat().st_size
        except FileNotFoundError:
            self._must_be_there()
            return None

    def open_blob(self, owner: str, sha256: str) -> BinaryIO:
        try:
            return self._blob(owner, sha256).open("rb")
        except FileNotFoundError:
            self._must_be_there()
            raise

    def put_blob(self, owner: str, sha256: str, source: Path) -> None:
        target = self._blob(owner, sha256)
        self._must_be_there()
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as written:
            os.fsync(written.fileno())
        source.chmod(0o440)
        source.replace(target)
        _sync_folder(target.parent)

    def expose(self, owner: str, sha256: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(self._blob(owner, sha256), target)

    def blobs(self, owner: str) -> list[StoredBlob]:
        folder = self._folder(owner, BLOBS)
        if not folder.is_dir():
            self._must_be_there()
            return []
        found = ((path.name, path.stat()) for path in folder.iterdir() if HASH.fullmatch(path.name))
        return sorted((StoredBlob(name, at.st_size, at.st_mtime_ns) for name, at in found), key=lambda b: b.sha256)

    def remove_manifest(self, owner: str, digest: str) -> None:
        self._remove(self._manifest(owner, digest))

    def remove_blob(self, owner: str, sha256: str) -> None:
        self._remove(self._blob(owner, sha256))

    def remove_owner(self, owner: str) -> None:
        for kind in (VERSIONS, BLOBS, UPLOADS):
            folder = self._folder(owner, kind)
            if folder.is_dir():
                shutil.rmtree(folder)
                _sync_folder(folder.parent)
        folder = self.root / checked_owner(owner)
        if folder.is_dir():
            folder.rmdir()

    def _remove(self, path: Path) -> None:
        try:
            path.unlink()
        except FileNotFoundError:
            self._must_be_there()
            return
        _sync_folder(path.parent)

    def _must_be_there(self) -> None:
        if not (self.root / MARKER).exists():
            raise StoreUnavailableError(errno.ENODEV, "the store's volume is not there")

    def _folder(self, owner: str, kind: str) -> Path:
        return self.root / checked_owner(owner) / kind

    def _blob(self, owner: str, sha256: str) -> Path:
        return self._folder(owner, BLOBS) / checked_hash(sha256)

    def _manifest(self, owner: str, digest: str) -> Path:
        return self._folder(owner, VERSIONS) / f"{digest_hash(digest)}.json"


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


def _sync_folder(folder: Path) -> None:
    """Makes a new name in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
