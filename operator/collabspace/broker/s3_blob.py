"""Blobs in a bucket: read in parts that go on where an answer broke off, written in parts that are all or nothing."""

import errno
import io
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError

from collabspace.broker.s3_bucket import Bucket, PreconditionError, content_md5, tag_of
from collabspace.broker.store import StoreUnavailableError

PART_BYTES = 16 << 20
MAX_PARTS = 9000
RESUMPTIONS = 8
FORGIVEN_AFTER_BYTES = 8 << 20


class BlobReader(io.RawIOBase):
    """An object of `size` bytes as a file. Nothing is asked of the store before the first read.

    An answer that breaks off is continued from there; one that never comes to its end raises OSError: what was read is
    the object's beginning, and never passes for all of it.
    """

    def __init__(self, bucket: Bucket, key: str, size: int, tag: str) -> None:
        self._bucket = bucket
        self._key = key
        self._size = size
        self._tag = tag
        self._position = 0
        self._body: Any = None
        self._broken = 0
        self._whole = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence] + offset
        if start < 0:
            raise OSError(errno.EINVAL, "seek: before the beginning")
        if start != self._position:
            self._let_go()
            self._position = start
        return start

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._position)
        if wanted <= 0:
            return 0
        while True:
            if self._body is None:
                self._body = self._begin()
            try:
                chunk = self._body.read(wanted)
            except (BotoCoreError, OSError, ValueError) as error:
                # A body that another thread has closed raises ValueError.
                self._count(error)
                continue
            if not chunk:
                self._count(EOFError())
                continue
            buffer[: len(chunk)] = chunk
            self._position += len(chunk)
            self._forgive(len(chunk))
            return len(chunk)

    def _begin(self) -> Any:
        if self.closed:
            raise OSError(errno.EBADF, "read: the blob was closed")
        try:
            return self._bucket.stream(self._key, self._position, self._tag)
        except PreconditionError as error:
            raise OSError(errno.EIO, "get_object: the object was replaced while it was read") from error

    def close(self) -> None:
        self._let_go()
        super().close()

    def _count(self, error: Exception) -> None:
        self._let_go()
        self._broken += 1
        if self._broken > RESUMPTIONS:
            raise StoreUnavailableError(
                errno.EIO, f"get_object: {self._broken} answers in a row broke off ({type(error).__name__})"
            ) from error

    def _forgive(self, count: int) -> None:
        self._whole += count
        if self._whole >= FORGIVEN_AFTER_BYTES:
            self._broken = self._whole = 0

    def _let_go(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()


def write_blob(bucket: Bucket, key: str, source: Path, workers: ThreadPoolExecutor) -> None:
    """The file as the object `key`, whole or not at all. `workers` bound the parts that are in memory.

    Raises OSError, also when the store does not hold what it was sent.
    """
    size = source.stat().st_size
    if size <= PART_BYTES:
        bucket.put(key, source.read_bytes())
    else:
        _write_parts(bucket, key, source, size, workers)
    found = bucket.head(key)
    if found is None or found["ContentLength"] != size:
        bucket.delete(key)
        raise OSError(errno.EIO, "the store holds another number of bytes than it was sent, and said nothing")


def _write_parts(bucket: Bucket, key: str, source: Path, size: int, workers: ThreadPoolExecutor) -> None:
    place = bucket.key(key)
    upload = bucket.call("create_multipart_upload", Key=place)["UploadId"]
    length = max(PART_BYTES, math.ceil(size / MAX_PARTS))

    def send(number: int) -> dict[str, Any]:
        with source.open("rb") as file:
            file.seek((number - 1) * length)
            part = file.read(length)
        answer = bucket.call(
            "upload_part", Key=place, UploadId=upload, PartNumber=number, Body=part, ContentMD5=content_md5(part)
        )
        return {"PartNumber": number, "ETag": f'"{tag_of(answer)}"'}

    futures = [workers.submit(send, number) for number in range(1, math.ceil(size / length) + 1)]
    try:
        parts = [future.result() for future in futures]
        _complete(bucket, key, upload, parts)
    except BaseException:
        for future in futures:
            future.cancel()
        # Parts still on their way would outlive the abort.
        for future in futures:
            if not future.cancelled():
                future.exception()
        abort(bucket, place, upload)
        raise


def _complete(bucket: Bucket, key: str, upload: str, parts: list[dict[str, Any]]) -> None:
    try:
        bucket.call("complete_multipart_upload", Key=bucket.key(key), UploadId=upload, MultipartUpload={"Parts": parts})
    except FileNotFoundError:
        # An earlier try may have ended the upload while its answer was lost; the caller looks what is there.
        if bucket.head(key) is None:
            raise


def abort(bucket: Bucket, place: str, upload: str) -> None:
    """Throws the parts away; when the store is away they wait for the daily removal of leftovers."""
    try:
        bucket.call("abort_multipart_upload", Key=place, UploadId=upload)
    except (FileNotFoundError, StoreUnavailableError):
        return
