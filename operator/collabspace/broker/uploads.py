"""Uploads in progress: what may come, how much of it is here, and the steps that turn it into a version."""

import asyncio
import errno
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import PurePosixPath

from collabspace.api.manifest import FileEntry, Manifest
from collabspace.broker import metrics
from collabspace.broker.gate import invalid
from collabspace.broker.ledger import Entry
from collabspace.broker.refusal import Refused, too_many
from collabspace.broker.staging import HashError, OffsetError, Staging
from collabspace.broker.store import Store
from collabspace.broker.tokens import Caller
from collabspace.client.paths import UnsafePathError, check_paths
from collabspace.client.protocol import UploadTarget

BLOCK_BYTES = 1 << 20
STALL_SECONDS = 60.0
IDLE_SECONDS = 3600.0
MAX_PER_NAMESPACE = 32
# From here on one list is quicker than a question for each.
MANY_BLOBS = 32
SPARE_DISK_BYTES = 256 << 20
# What a result consists of; nothing that could run or be unpickled where it is read.
RESULT_SUFFIXES = frozenset({".json", ".jsonl", ".txt", ".md", ".csv", ".parquet", ".safetensors", ".model", ".svg"})
RESULT_NAMES = frozenset({"DONE"})
CHECKPOINT_SUFFIXES = frozenset({".json", ".safetensors"})
CHECKPOINT_NAMES = frozenset({"COMPLETE"})
ALLOWED_FILES = {"Result": (RESULT_SUFFIXES, RESULT_NAMES), "Checkpoint": (CHECKPOINT_SUFFIXES, CHECKPOINT_NAMES)}
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass
class Upload:
    """`entry` says who sends it; `decided` is when leave to send was last confirmed, on the monotonic clock."""

    id: str
    caller: Caller
    target: UploadTarget
    manifest: Manifest
    digest: str
    entry: Entry
    decided: float
    used: float
    blobs: dict[str, FileEntry] = field(default_factory=dict)
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)


class Uploads:
    """Held in memory; the bytes are on disk, so a client that begins again goes on where it was."""

    def __init__(self, staging: Staging, store: Store) -> None:
        self._staging = staging
        self._store = store
        self._open: dict[str, Upload] = {}

    def begin(self, caller: Caller, target: UploadTarget, manifest: Manifest, entry: Entry) -> Upload:
        """The upload of this manifest by this caller, the same one each time it begins. Raises Refused."""
        digest = manifest.digest
        now = time.monotonic()
        for upload in self._open.values():
            if (upload.caller.key, upload.target, upload.digest) == (caller.key, target, digest):
                upload.used = upload.decided = now
                return upload
        if sum(upload.caller.namespace == caller.namespace for upload in self._open.values()) >= MAX_PER_NAMESPACE:
            raise too_many(f"this namespace has {MAX_PER_NAMESPACE} uploads under way; end one or wait")
        upload = Upload(secrets.token_urlsafe(24), caller, target, manifest, digest, entry, now, now)
        upload.blobs = {file.sha256: file for file in manifest.files}
        self._open[upload.id] = upload
        return upload

    def find(self, upload_id: str, caller: Caller) -> Upload:
        """Raises Refused when there is none of this caller: it begins again."""
        upload = self._open.get(upload_id)
        if upload is None or upload.caller.key != caller.key:
            raise Refused(HTTPStatus.NOT_FOUND, "UploadUnknown", "this upload is over; begin it again")
        upload.used = time.monotonic()
        return upload

    def wanted(self, storage: str) -> set[str]:
        """Hashes of the blobs that uploads under way count on."""
        return {sha256 for upload in self._open.values() if upload.target.uid == storage for sha256 in upload.blobs}

    def digests(self, storage: str) -> set[str]:
        """What the uploads under way will be."""
        return {upload.digest for upload in self._open.values() if upload.target.uid == storage}

    def drop(self, storage: str) -> None:
        """The object is gone: uploads for it end."""
        for upload in [upload for upload in self._open.values() if upload.target.uid == storage]:
            del self._open[upload.id]

    async def missing(self, upload: Upload) -> list[str]:
        """Hashes of the blobs that the store lacks, in the manifest's order."""

        def look() -> list[str]:
            owner = upload.target.uid
            if len(upload.blobs) > MANY_BLOBS:
                sizes = {blob.sha256: blob.bytes for blob in self._store.blobs(owner)}
                return [sha256 for sha256, file in upload.blobs.items() if sizes.get(sha256) != file.bytes]
            return [
                sha256 for sha256, file in upload.blobs.items() if self._store.blob_size(owner, sha256) != file.bytes
            ]

        return await asyncio.to_thread(look)

    async def check_room(self, upload: Upload, missing: list[str]) -> None:
        """Raises Refused (507) when what is to come cannot fit."""
        wanted = sum(upload.blobs[sha256].bytes for sha256 in missing)
        if self._staging.copies and upload.target.kind == "Dataset":
            wanted = upload.manifest.size
        if wanted and wanted + SPARE_DISK_BYTES > await asyncio.to_thread(self._staging.free_bytes):
            raise _full()

    async def offset(self, upload: Upload, sha256: str) -> int:
        _blob(upload, sha256)
        return await asyncio.to_thread(self._staging.offset, upload.target.uid, upload.digest, sha256)

    async def receive(self, upload: Upload, sha256: str, offset: int, body: AsyncIterator[bytes]) -> int:
        """Takes bytes from `offset` on and returns where the blob stands. Raises Refused."""
        blob = _blob(upload, sha256)
        owner, digest = upload.target.uid, upload.digest
        async with upload.locks.setdefault(sha256, asyncio.Lock()):
            try:
                offset = await self._append(upload, blob, offset, body)
                if offset == blob.bytes:
                    await asyncio.to_thread(self._staging.complete, owner, digest, sha256)
            except OffsetError as error:
                raise Refused(
                    HTTPStatus.CONFLICT,
                    "OffsetMismatch",
                    f"offset: the broker holds {error.offset} bytes; go on from there",
                ) from None
            except HashError:
                raise Refused(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    "HashMismatch",
                    f"sha256: the bytes of {blob.path} have another hash than the manifest says; send the blob again",
                ) from None
            except OSError as error:
                if error.errno in DISK_FULL:
                    raise _full() from error
                raise
        return offset

    async def _append(self, upload: Upload, blob: FileEntry, offset: int, body: AsyncIterator[bytes]) -> int:
        sink = await asyncio.to_thread(self._staging.open, upload.target.uid, upload.digest, blob.sha256, offset)
        try:
            async for block in _blocks(body):
                if offset + len(block) > blob.bytes:
                    raise Refused(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        "TooLarge",
                        f"{blob.path}: more than the {blob.bytes} bytes that its manifest says",
                    )
                await asyncio.to_thread(sink.write, block)
                offset += len(block)
                upload.used = time.monotonic()
                metrics.BYTES.labels(*metrics.pair(upload.entry), metrics.RECEIVED).inc(len(block))
        finally:
            await asyncio.to_thread(sink.close)
        return offset

    async def end(self, upload: Upload) -> None:
        """The version is there: what is left of the upload goes."""
        self._open.pop(upload.id, None)
        await asyncio.to_thread(self._staging.discard, upload.target.uid, upload.digest)

    def forget_idle(self) -> None:
        """Drops uploads that nobody touched for an hour from memory; their bytes stay for who begins again."""
        limit = time.monotonic() - IDLE_SECONDS
        for upload in [upload for upload in self._open.values() if upload.used < limit]:
            del self._open[upload.id]


def check_manifest(manifest: Manifest, target: UploadTarget, max_bytes: int) -> None:
    """What can be said of a manifest before any byte is here. Raises Refused."""
    if manifest.owner_uid != target.uid:
        raise invalid("manifest.ownerUid: must be the uid of the target; prepare the version for this object")
    if (manifest.format if manifest.format in ALLOWED_FILES else "Dataset") != target.kind:
        raise invalid(
            "manifest.format: a result has format Result, a checkpoint Checkpoint, and a dataset its own format"
        )
    if target.kind == "Checkpoint" and None in (target.attempt, target.identity, target.step):
        raise invalid("target: a checkpoint needs attempt, identity and step")
    if not manifest.files:
        raise invalid("manifest.files: a version has at least one file")
    try:
        check_paths(manifest.files)
    except UnsafePathError as error:
        raise invalid(f"manifest.{error}") from None
    if manifest.size > max_bytes:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "TooLarge",
            f"manifest.files: {manifest.size} bytes in all; this broker takes at most {max_bytes}. Send less, "
            "or an admin raises the limit",
        )
    sizes: dict[str, int] = {}
    for file in manifest.files:
        if sizes.setdefault(file.sha256, file.bytes) != file.bytes:
            raise invalid(f"manifest.files: {file.path} has the hash of another file but not its size")
        if target.kind in ALLOWED_FILES:
            _check_file(file.path, target.kind)


def _check_file(path: str, kind: str) -> None:
    suffixes, allowed = ALLOWED_FILES[kind]
    name = PurePosixPath(path)
    if name.suffix not in suffixes and name.name not in allowed:
        raise invalid(f"manifest.files: {path} is no kind of file that a {kind.lower()} may hold; leave it out")


async def _blocks(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body in larger pieces. Raises Refused when the sender falls silent."""
    gathered = bytearray()
    try:
        while True:
            async with asyncio.timeout(STALL_SECONDS):
                chunk = await anext(body, None)
            if chunk is None:
                break
            gathered += chunk
            if len(gathered) >= BLOCK_BYTES:
                yield bytes(gathered)
                gathered.clear()
    except TimeoutError:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "TooSlow", f"no byte came for {STALL_SECONDS:.0f} s") from None
    if gathered:
        yield bytes(gathered)


def _blob(upload: Upload, sha256: str) -> FileEntry:
    blob = upload.blobs.get(sha256)
    if blob is None:
        raise invalid("sha256: the manifest of this upload names no such blob")
    return blob


def _full() -> Refused:
    return Refused(
        HTTPStatus.INSUFFICIENT_STORAGE,
        "StorageFull",
        "the broker's store is full; an admin makes room, then push again",
    )
