"""One bucket as the broker uses it: few verbs, patient within bounds, and every failure in the words of the protocol.

Keys are relative to the store's prefix and made by us. No message repeats a key, an address or a credential.
"""

import base64
import errno
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from collabspace.broker.store import StoreUnavailableError

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 3, 10, 8
CONNECTIONS = 32
BODY_ATTEMPTS = 3
CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"})
BUCKET_GONE = frozenset({"NoSuchBucket", "InvalidBucketName"})
CONFLICTS = frozenset({"ConditionalRequestConflict", "ConcurrentModification", "OperationAborted"})


class PreconditionError(Exception):
    """The object is not, or no longer, what the request wanted it to be.

    `repeated`: the request was sent more than once, so an earlier try of ours may have been the change."""

    def __init__(self, repeated: bool) -> None:
        super().__init__("precondition failed")
        self.repeated = repeated


class ConflictError(Exception):
    """Another request on the same object was under way; nothing changed."""


class BrokenOffError(StoreUnavailableError):
    """The answer began, and ended before its end."""


class RangeIgnoredError(OSError):
    """The answer begins elsewhere than it was asked to."""


@dataclass(frozen=True)
class Address:
    """Where the bucket is and who we are there. Without keys boto3 looks for credentials in its own places."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    path_style: bool = False
    access_key_file: Path | None = None
    secret_key_file: Path | None = None


@dataclass(frozen=True)
class Listed:
    """An object in a list; `created` in nanoseconds since 1970, as exact as the store tells it."""

    key: str
    bytes: int
    created: int


class Bucket:
    """Calls block. All raise OSError, or StoreUnavailableError when the store is away or refuses us as a whole."""

    def __init__(self, address: Address, attempts: int = ATTEMPTS) -> None:
        self.name = address.bucket
        self.prefix = f"{address.prefix}/" if address.prefix else ""
        config = Config(
            signature_version="s3v4",
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=CONNECTIONS,
            s3={"addressing_style": "path" if address.path_style else "auto"},
            # Every body carries Content-MD5 instead, which all stores know; trailing checksums many do not.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            self.client = boto3.session.Session(
                region_name=address.region or "us-east-1", **_credentials(address)
            ).client("s3", endpoint_url=address.endpoint, config=config)
        except (BotoCoreError, ValueError) as error:
            raise StoreUnavailableError(errno.EINVAL, f"S3 cannot be set up ({type(error).__name__})") from error

    def close(self) -> None:
        self.client.close()

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """One operation on the bucket, repeated while that may help.

        Raises FileNotFoundError, PreconditionError, ConflictError and what the class says.
        """
        try:
            answer: dict[str, Any] = getattr(self.client, operation)(Bucket=self.name, **arguments)
        except ClientError as error:
            raise _translated(operation, error) from error
        except BotoCoreError as error:
            raise StoreUnavailableError(errno.EIO, f"{operation}: {type(error).__name__}") from error
        return answer

    def key(self, key: str) -> str:
        return self.prefix + key

    def head(self, key: str) -> dict[str, Any] | None:
        """Headers of the object; None when it is not there."""
        try:
            return self.call("head_object", Key=self.key(key))
        except FileNotFoundError:
            return None

    def put(self, key: str, content: bytes, **conditions: Any) -> str:
        """Writes it whole; the store checks what arrives. The new tag. Raises as `call` does."""
        answer = self.call("put_object", Key=self.key(key), Body=content, ContentMD5=content_md5(content), **conditions)
        return tag_of(answer)

    def read(self, key: str, limit: int) -> tuple[bytes, str] | None:
        """Content and tag of a small object, whole; None when it is not there."""
        for _ in range(BODY_ATTEMPTS - 1):
            try:
                return self._read_once(key, limit)
            except BrokenOffError:
                continue
        return self._read_once(key, limit)

    def _read_once(self, key: str, limit: int) -> tuple[bytes, str] | None:
        try:
            answer = self.call("get_object", Key=self.key(key))
        except FileNotFoundError:
            return None
        body, length = answer["Body"], answer["ContentLength"]
        try:
            content = body.read(limit + 1)
        except (BotoCoreError, OSError) as error:
            raise BrokenOffError(errno.EIO, f"get_object: {type(error).__name__}") from error
        finally:
            body.close()
        if len(content) > limit:
            raise OSError(errno.EFBIG, f"get_object: an object of {length} bytes where at most {limit} belong")
        if len(content) != length:
            raise BrokenOffError(errno.EIO, "get_object: the answer broke off")
        return content, tag_of(answer)

    def stream(self, key: str, start: int, tag: str) -> Any:
        """The object's bytes from `start` on, if it still has this tag. Raises as `call` does."""
        wanted = {"Range": f"bytes={start}-"} if start else {}
        answer = self.call("get_object", Key=self.key(key), IfMatch=f'"{tag}"', **wanted)
        if start and not str(answer.get("ContentRange", "")).startswith(f"bytes {start}-"):
            answer["Body"].close()
            raise RangeIgnoredError(errno.EIO, "get_object: the store sends another range than was asked for")
        return answer["Body"]

    def delete(self, key: str) -> None:
        """Silent when it is gone."""
        self.call("delete_object", Key=self.key(key))

    def list(self, folder: str) -> Iterator[Listed]:
        """All objects below `folder`, in the order of their keys."""
        for page in self._pages("list_objects_v2", Prefix=self.key(folder)):
            for item in page.get("Contents") or []:
                created = int(item["LastModified"].timestamp() * 1_000_000) * 1000
                yield Listed(item["Key"].removeprefix(self.prefix), item["Size"], created)

    def folders(self) -> Iterator[str]:
        """First parts of all keys."""
        for page in self._pages("list_objects_v2", Prefix=self.prefix, Delimiter="/"):
            for item in page.get("CommonPrefixes") or []:
                yield item["Prefix"].removeprefix(self.prefix).removesuffix("/")

    def multiparts(self) -> Iterator[tuple[str, str, float]]:
        """Uploads in parts that were begun and not ended: whole key, id, when they began in seconds since 1970."""
        for page in self._pages("list_multipart_uploads", Prefix=self.prefix):
            for item in page.get("Uploads") or []:
                yield item["Key"], item["UploadId"], item["Initiated"].timestamp()

    def _pages(self, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        try:
            yield from self.client.get_paginator(operation).paginate(Bucket=self.name, **arguments)
        except ClientError as error:
            raise _translated(operation, error) from error
        except BotoCoreError as error:
            raise StoreUnavailableError(errno.EIO, f"{operation}: {type(error).__name__}") from error

    def read_url(self, key: str, seconds: int) -> str:
        """Opens this very object to whoever has it, for reading, for so long. Asks nobody."""
        try:
            return str(
                self.client.generate_presigned_url(
                    "get_object", Params={"Bucket": self.name, "Key": self.key(key)}, ExpiresIn=seconds
                )
            )
        except BotoCoreError as error:
            raise StoreUnavailableError(errno.EIO, f"presign: {type(error).__name__}") from error


def content_md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def tag_of(answer: dict[str, Any]) -> str:
    """The ETag without its quotes."""
    return str(answer["ETag"]).strip('"')


def _credentials(address: Address) -> dict[str, str]:
    if address.access_key_file is None or address.secret_key_file is None:
        return {}
    return {
        "aws_access_key_id": address.access_key_file.read_text().strip(),
        "aws_secret_access_key": address.secret_key_file.read_text().strip(),
    }


def _translated(operation: str, error: ClientError) -> Exception:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    named = str(error.response.get("Error", {}).get("Code") or "")
    code = named if CODE.fullmatch(named) else "unnamed"
    # An answer to HEAD has no room for a code.
    text = f"{operation}: {status}" if named == str(status) else f"{operation}: {status} {code}"
    if code in FULL or status == 507:
        return OSError(errno.ENOSPC, text)
    if code in CONFLICTS:
        return ConflictError(text)
    if code in BUCKET_GONE or status in (401, 403, 408, 429) or status >= 500:
        return StoreUnavailableError(errno.EACCES if status in (401, 403) else errno.EIO, text)
    if status == 404:
        return FileNotFoundError(errno.ENOENT, text)
    if status == 412:
        return PreconditionError(bool(error.response["ResponseMetadata"].get("RetryAttempts")))
    return OSError(errno.EIO, text)
