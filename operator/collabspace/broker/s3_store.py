"""The store in a bucket of S3, or of anything that speaks like it and stands its self-test."""

import errno
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

from collabspace.broker.pointers import MAX_STORED_BYTES, WrittenPointer
from collabspace.broker.s3_blob import BlobReader, abort, write_blob
from collabspace.broker.s3_bucket import Bucket, ConflictError, PreconditionError, tag_of
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

MARKER, PROBES = ".collabspace-store", ".probes"
MANIFEST_SUFFIX = ".json"
MAX_MANIFEST_BYTES = 64 << 20
PARTS_AT_ONCE = 4
CONFLICTS_BORNE = 8
LEFTOVER_SECONDS = 24 * 3600.0
MARKER_SECONDS = 5.0
COPY_BYTES = 1 << 20
WRITER, CREATED = "writer", "created"


class S3Store:
    """`<prefix>/<owner>/blobs/<hash>`, `.../versions/<hash>.json` and `.../aliases/<hash>`, as in a folder.

    `bare_tags`: this store compares If-Match with the tag without its quotes (the self-test finds out).
    """

    def __init__(self, bucket: Bucket, *, bare_tags: bool = False) -> None:
        self.bucket = bucket
        self._bare_tags = bare_tags
        self._workers = ThreadPoolExecutor(PARTS_AT_ONCE, "s3-parts")
        self._seen = float("-inf")

    def close(self) -> None:
        self._workers.shutdown()
        self.bucket.close()

    def claim(self) -> None:
        """Marks the place as a store, so that an empty bucket is not taken for it later."""
        self.bucket.put(MARKER, b"")

    def is_claimed(self) -> bool:
        return self.bucket.head(MARKER) is not None

    def discard_partial(self) -> None:
        """Removes what was left half sent a day ago: other brokers of the same store may be sending right now."""
        before = time.time() - LEFTOVER_SECONDS
        for place, upload, begun in self.bucket.multiparts():
            if begun < before:
                abort(self.bucket, place, upload)
        for probe in self.bucket.list(f"{PROBES}/"):
            if probe.created / 1e9 < before:
                self.bucket.delete(probe.key)

    def owners(self) -> Iterator[str]:
        self._must_be_there()
        return iter([name for name in self.bucket.folders() if OWNER.fullmatch(name)])

    def versions(self, owner: str) -> list[StoredVersion]:
        folder = f"{checked_owner(owner)}/{VERSIONS}/"
        found = []
        for item in self.bucket.list(folder):
            name = item.key.removeprefix(folder)
            if HASH.fullmatch(name.removesuffix(MANIFEST_SUFFIX)) and name.endswith(MANIFEST_SUFFIX):
                found.append(StoredVersion(f"sha256:{name.removesuffix(MANIFEST_SUFFIX)}", item.created))
        if not found:
            self._must_be_there()
        return self._newest_first(owner, found)

    def _newest_first(self, owner: str, found: list[StoredVersion]) -> list[StoredVersion]:
        """Many stores tell whole seconds only: within one the time that the writer noted decides."""
        times = Counter(version.created for version in found)

        def order(version: StoredVersion) -> tuple[int, int, str]:
            noted = self._noted(owner, version.digest) if times[version.created] > 1 else 0
            return version.created, noted, version.digest

        return sorted(found, key=order, reverse=True)

    def _noted(self, owner: str, digest: str) -> int:
        head = self.bucket.head(_manifest(owner, digest))
        noted = "" if head is None else str(head["Metadata"].get(CREATED, ""))
        return int(noted) if noted.isascii() and noted.isdecimal() else 0

    def read_manifest(self, owner: str, digest: str) -> bytes | None:
        found = self.bucket.read(_manifest(owner, digest), MAX_MANIFEST_BYTES)
        if found is None:
            self._must_be_there()
            return None
        return found[0]

    def put_manifest(self, owner: str, digest: str, content: bytes) -> bool:
        key, writer = _manifest(owner, digest), secrets.token_hex(16)
        self._must_be_there()
        noted = {WRITER: writer, CREATED: str(time.time_ns())}
        for _ in range(CONFLICTS_BORNE):
            try:
                self.bucket.put(key, content, IfNoneMatch="*", Metadata=noted)
                return True
            except ConflictError:
                continue
            except PreconditionError:
                # It is there; by ourselves when the answer to an earlier try was lost.
                head = self.bucket.head(key)
                if head is not None:
                    return bool(head["Metadata"].get(WRITER) == writer)
        raise OSError(errno.EAGAIN, "put_object: others write and remove the same manifest all the time")

    def blob_size(self, owner: str, sha256: str) -> int | None:
        head = self.bucket.head(_blob(owner, sha256))
        if head is None:
            self._must_be_there()
            return None
        return int(head["ContentLength"])

    def open_blob(self, owner: str, sha256: str) -> BinaryIO:
        key = _blob(owner, sha256)
        head = self.bucket.head(key)
        if head is None:
            self._must_be_there()
            raise FileNotFoundError(errno.ENOENT, "no such blob")
        return cast(BinaryIO, BlobReader(self.bucket, key, int(head["ContentLength"]), tag_of(head)))

    def put_blob(self, owner: str, sha256: str, source: Path) -> None:
        key = _blob(owner, sha256)
        self._must_be_there()
        write_blob(self.bucket, key, source, self._workers)
        source.unlink()

    def expose(self, owner: str, sha256: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        found = hashlib.sha256()
        with self.open_blob(owner, sha256) as blob, target.open("xb") as sink:
            try:
                while chunk := blob.read(COPY_BYTES):
                    found.update(chunk)
                    sink.write(chunk)
                if found.hexdigest() != sha256:
                    raise OSError(errno.EIO, "the store gives other bytes for a blob than were put there")
            except BaseException:
                target.unlink()
                raise

    def blobs(self, owner: str) -> list[StoredBlob]:
        folder = f"{checked_owner(owner)}/{BLOBS}/"
        listed = ((item.key.removeprefix(folder), item) for item in self.bucket.list(folder))
        found = [StoredBlob(name, item.bytes, item.created) for name, item in listed if HASH.fullmatch(name)]
        if not found:
            self._must_be_there()
        return found

    def pointers(self, owner: str) -> list[str]:
        folder = f"{checked_owner(owner)}/{POINTERS}/"
        found = [item.key.removeprefix(folder) for item in self.bucket.list(folder)]
        if not found:
            self._must_be_there()
        return sorted(name for name in found if HASH.fullmatch(name))

    def read_pointer(self, owner: str, name: str) -> Pointer | None:
        found = self._read_pointer(_pointer(owner, name))
        return None if found is None else found[0].pointer

    def _read_pointer(self, key: str) -> tuple[WrittenPointer, str] | None:
        """With the store's own tag."""
        found = self.bucket.read(key, MAX_STORED_BYTES)
        if found is None:
            self._must_be_there()
            return None
        return WrittenPointer.parse(found[0]), found[1]

    def swap_pointer(self, owner: str, name: str, content: bytes, expected: str | None) -> str | None:
        key, written = _pointer(owner, name), WrittenPointer.new(content, expected)
        for _ in range(CONFLICTS_BORNE):
            found = self._read_pointer(key)
            if (None if found is None else found[0].mark) != expected:
                return None
            try:
                self.bucket.put(key, written.stored(), **self.condition(None if found is None else found[1]))
            except ConflictError:
                continue
            except FileNotFoundError:
                return None
            except PreconditionError as lost:
                return self._ours(key, written) if lost.repeated else None
            return written.mark
        raise OSError(errno.EAGAIN, "put_object: others write the same pointer all the time")

    def condition(self, expected: str | None) -> dict[str, str]:
        """What makes a write take place only while the object has this tag (None: is not there)."""
        if expected is None:
            return {"IfNoneMatch": "*"}
        return {"IfMatch": expected if self._bare_tags else f'"{expected}"'}

    def _ours(self, key: str, written: WrittenPointer) -> str | None:
        """Who was faster may be ourselves, when the answer to an earlier try was lost."""
        found = self._read_pointer(key)
        if found is not None and found[0].mark == written.mark:
            return written.mark
        if found is not None and found[0].previous == written.previous:
            return None
        raise OSError(errno.EIO, "put_object: an answer was lost and the pointer changed twice since; read and compare")

    def remove_manifest(self, owner: str, digest: str) -> None:
        self.bucket.delete(_manifest(owner, digest))

    def remove_blob(self, owner: str, sha256: str) -> None:
        self.bucket.delete(_blob(owner, sha256))

    def remove_owner(self, owner: str) -> None:
        for kind in (POINTERS, VERSIONS, BLOBS):
            for item in self.bucket.list(f"{checked_owner(owner)}/{kind}/"):
                self.bucket.delete(item.key)

    def read_url(self, owner: str, sha256: str, seconds: int) -> str:
        """Opens this one blob to whoever has it, for so long."""
        return self.bucket.read_url(_blob(owner, sha256), seconds)

    def _must_be_there(self) -> None:
        """An emptied bucket is no store; what was seen a moment ago is believed."""
        if time.monotonic() - self._seen <= MARKER_SECONDS:
            return
        if not self.is_claimed():
            raise StoreUnavailableError(errno.ENODEV, "the bucket or the store in it is not there")
        self._seen = time.monotonic()


def _blob(owner: str, sha256: str) -> str:
    return f"{checked_owner(owner)}/{BLOBS}/{checked_hash(sha256)}"


def _manifest(owner: str, digest: str) -> str:
    return f"{checked_owner(owner)}/{VERSIONS}/{digest_hash(digest)}{MANIFEST_SUFFIX}"


def _pointer(owner: str, name: str) -> str:
    return f"{checked_owner(owner)}/{POINTERS}/{checked_hash(name)}"
