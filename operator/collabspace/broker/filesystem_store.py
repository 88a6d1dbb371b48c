"""The store in a folder: the embedded cluster's, and a volume's."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from collabspace.broker.pointers import WrittenPointer
from collabspace.broker.staging import UPLOADS
from collabspace.broker.store import (
    BLOBS,
    HASH,
    OWNER,
    POINTERS,
    VERSIONS,
    Pointer,
    StoredBlob,
    StoredVersion,
    StoreUnavailableError,
    checked_hash,
    checked_owner,
    digest_hash,
)

MARKER, PARTIAL = ".collabspace-store", ".partial"


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
        for kind in (VERSIONS, POINTERS):
            for leftover in self.root.glob(f"*/{kind}/.*{PARTIAL}"):
                leftover.unlink()

    def close(self) -> None:
        """Nothing is held open."""

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
        self._make(target.parent)
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
        self._make(target.parent)
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

    def pointers(self, owner: str) -> list[str]:
        folder = self._folder(owner, POINTERS)
        if not folder.is_dir():
            self._must_be_there()
            return []
        return sorted(path.name for path in folder.iterdir() if HASH.fullmatch(path.name))

    def read_pointer(self, owner: str, name: str) -> Pointer | None:
        try:
            stored = self._pointer(owner, name).read_bytes()
        except FileNotFoundError:
            self._must_be_there()
            return None
        return WrittenPointer.parse(stored).pointer

    def swap_pointer(self, owner: str, name: str, content: bytes, expected: str | None) -> str | None:
        target = self._pointer(owner, name)
        written = WrittenPointer.new(content, expected)
        with self._alone():
            found = self.read_pointer(owner, name)
            if (None if found is None else found.tag) != expected:
                return None
            self._make(target.parent)
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", suffix=PARTIAL, delete=False) as temporary:
                temporary.write(written.stored())
                temporary.flush()
                os.fsync(temporary.fileno())
                Path(temporary.name).replace(target)
            _sync_folder(target.parent)
        return written.mark

    def remove_manifest(self, owner: str, digest: str) -> None:
        self._remove(self._manifest(owner, digest))

    def remove_blob(self, owner: str, sha256: str) -> None:
        self._remove(self._blob(owner, sha256))

    def remove_owner(self, owner: str) -> None:
        for kind in (POINTERS, VERSIONS, BLOBS, UPLOADS):
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

    def _make(self, folder: Path) -> None:
        """The folder `<owner>/<kind>`, durable with the owner's own."""
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _sync_folder(folder.parent)
            _sync_folder(self.root)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While this lasts no other thread, process or machine swaps a pointer of this store."""
        try:
            marker = (self.root / MARKER).open("rb+")
        except FileNotFoundError:
            raise StoreUnavailableError(errno.ENODEV, "the store's volume is not there") from None
        with marker:
            fcntl.flock(marker, fcntl.LOCK_EX)
            yield

    def _folder(self, owner: str, kind: str) -> Path:
        return self.root / checked_owner(owner) / kind

    def _blob(self, owner: str, sha256: str) -> Path:
        return self._folder(owner, BLOBS) / checked_hash(sha256)

    def _pointer(self, owner: str, name: str) -> Path:
        return self._folder(owner, POINTERS) / checked_hash(name)

    def _manifest(self, owner: str, digest: str) -> Path:
        return self._folder(owner, VERSIONS) / f"{digest_hash(digest)}.json"


def _sync_folder(folder: Path) -> None:
    """Makes a new name in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
