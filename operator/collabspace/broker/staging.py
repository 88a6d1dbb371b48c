"""Blobs on their way in: appended at the true offset only, checked against their hash, then handed to the store."""

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from collabspace.broker.store import OWNER, Store, checked_hash, checked_owner, digest_hash

UPLOADS = "uploads"


class OffsetError(Exception):
    """The bytes do not begin where the blob stands; `offset` is where that is."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the blob stands at {offset}")
        self.offset = offset


class HashError(Exception):
    """The bytes that came are not the ones that were promised; they were thrown away."""


class Staging:
    """Partial blobs under `<root>/<owner>/uploads/<manifest hash>/<blob hash>`; they outlive a restart. Calls block.

    The folder lies on the store's own disk where that is a folder, so that a whole blob only changes its name; for a
    store elsewhere it is any disk with room for what is on its way.
    """

    def __init__(self, root: Path, store: Store, *, copies: bool = False) -> None:
        """`copies`: the store is elsewhere, so that a version that is checked is copied to this disk."""
        self._root = root
        self._store = store
        self.copies = copies

    def offset(self, owner: str, digest: str, sha256: str) -> int:
        """Bytes of the blob that are here, whole blobs in the store included."""
        whole = self._store.blob_size(owner, sha256)
        if whole is not None:
            return whole
        partial = self._partial(owner, digest, sha256)
        try:
            found = partial.lstat()
        except FileNotFoundError:
            return 0
        if stat.S_ISREG(found.st_mode):
            return found.st_size
        # We make plain files only; whatever else lies here is not followed.
        partial.unlink()
        return 0

    def open(self, owner: str, digest: str, sha256: str, offset: int) -> BinaryIO:
        """A file to write on from `offset`. What was written stays, however the writing ends. Raises OffsetError."""
        there = self.offset(owner, digest, sha256)
        if offset != there:
            raise OffsetError(there)
        partial = self._partial(owner, digest, sha256)
        partial.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(partial, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640), "ab")

    def complete(self, owner: str, digest: str, sha256: str) -> None:
        """Puts a whole blob into the store. Raises HashError, and then the blob starts again from nothing."""
        if self._store.blob_size(owner, sha256) is not None:
            return
        partial = self._partial(owner, digest, sha256)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
            found = hashlib.file_digest(written, "sha256").hexdigest()
        if found != sha256:
            partial.unlink()
            raise HashError
        self._store.put_blob(owner, sha256, partial)

    def discard(self, owner: str, digest: str) -> None:
        """Forgets what is left of an upload."""
        shutil.rmtree(self._folder(owner, digest), ignore_errors=True)

    def discard_stale(self, owner: str, under_way: set[str], before: float) -> int:
        """Forgets uploads outside `under_way` (digests) that nothing was added to since `before`: bytes that freed."""
        folder = self._root / checked_owner(owner) / UPLOADS
        freed = 0
        for upload in list(folder.iterdir()) if folder.is_dir() else []:
            found = [path.lstat() for path in (upload, *upload.iterdir())] if upload.is_dir() else [upload.lstat()]
            if f"sha256:{upload.name}" in under_way or max(at.st_mtime for at in found) >= before:
                continue
            freed += sum(at.st_size for at in found if stat.S_ISREG(at.st_mode))
            shutil.rmtree(upload, ignore_errors=True)
        return freed

    def owners(self) -> set[str]:
        """Whoever has parts of uploads here."""
        return {folder.parent.name for folder in self._root.glob(f"*/{UPLOADS}") if OWNER.fullmatch(folder.parent.name)}

    def forget(self, owner: str) -> None:
        """Everything of this owner goes."""
        shutil.rmtree(self._root / checked_owner(owner) / UPLOADS, ignore_errors=True)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._root).free

    def _folder(self, owner: str, digest: str) -> Path:
        return self._root / checked_owner(owner) / UPLOADS / digest_hash(digest)

    def _partial(self, owner: str, digest: str, sha256: str) -> Path:
        return self._folder(owner, digest) / checked_hash(sha256)
