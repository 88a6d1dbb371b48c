"""What a store must do before anything is entrusted to it, tried on the store itself at every start.

Stores that speak S3 differ most in what they do with conditional writes, and a store that takes no notice of one would
lose a version or a promotion in silence.
"""

import contextlib
import secrets
from concurrent.futures import ThreadPoolExecutor

from collabspace.broker.s3_bucket import Bucket, ConflictError, PreconditionError, RangeIgnoredError, content_md5
from collabspace.broker.s3_store import PROBES, S3Store
from collabspace.broker.store import StoreUnavailableError

OLD, NEW, OTHER = b"collabspace: one", b"collabspace: two", b"collabspace: three"
NO_TAG = "0" * 32
WRITERS = 4
REFUSED = (PreconditionError, ConflictError, FileNotFoundError)


class UnfitStoreError(Exception):
    """The store lets through what it must refuse, or loses what it must keep. The message says what and the remedy."""


def self_tested(bucket: Bucket) -> S3Store:
    """The store in this bucket, once it has done right what the broker relies on. Raises UnfitStoreError, OSError."""
    key = f"{PROBES}/{secrets.token_hex(8)}"
    try:
        _checks_what_arrives(bucket, key)
        _creates_once(bucket, key)
        store = _swapping(bucket, key)
        _one_writer_wins(store, key)
        _reads_ranges(bucket, key)
    finally:
        # What stays goes with the daily removal of leftovers; the finding matters more.
        with contextlib.suppress(OSError):
            bucket.delete(key)
    return store


def _checks_what_arrives(bucket: Bucket, key: str) -> None:
    try:
        bucket.call("put_object", Key=bucket.key(key), Body=OLD, ContentMD5=content_md5(NEW))
    except StoreUnavailableError:
        raise
    except OSError:
        return
    raise UnfitStoreError("it takes a body whose Content-MD5 is wrong, so bytes lost on the way would not be noticed")


def _creates_once(bucket: Bucket, key: str) -> None:
    first = bucket.call("put_object", Key=bucket.key(key), Body=OLD, ContentMD5=content_md5(OLD), IfNoneMatch="*")
    if not _refuses(bucket, key, NEW, IfNoneMatch="*") or _content(bucket, key) != OLD:
        remedy = "; use a bucket without versioning" if first.get("VersionId") else ""
        raise UnfitStoreError(f"it lets a write with If-None-Match overwrite what is there{remedy}")


def _swapping(bucket: Bucket, key: str) -> S3Store:
    """The store with the form of tags that this one understands."""
    _, tag = bucket.read(key, len(OLD)) or (b"", NO_TAG)
    for store in (S3Store(bucket), S3Store(bucket, bare_tags=True)):
        try:
            new = bucket.put(key, NEW, **store.condition(tag))
        except REFUSED:
            continue
        for late in (tag, NO_TAG):
            if not _refuses(bucket, key, OTHER, **store.condition(late)):
                raise UnfitStoreError("it lets a write with If-Match overwrite what another writer has changed")
        if new == tag or _content(bucket, key) != NEW:
            raise UnfitStoreError("it loses a write that it confirmed")
        return store
    raise UnfitStoreError("it refuses every write with If-Match, so a pointer could not be changed safely")


def _one_writer_wins(store: S3Store, key: str) -> None:
    _, tag = store.bucket.read(key, len(NEW)) or (b"", NO_TAG)
    contents = [OLD + str(number).encode() for number in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        lost = list(pool.map(lambda content: _refuses(store.bucket, key, content, **store.condition(tag)), contents))
    if lost.count(False) != 1 or _content(store.bucket, key) != contents[lost.index(False)]:
        raise UnfitStoreError(f"of {WRITERS} writers at once {lost.count(False)} changed the same object")


def _reads_ranges(bucket: Bucket, key: str) -> None:
    whole, tag = bucket.read(key, 2 * len(OLD)) or (b"", NO_TAG)
    try:
        body = bucket.stream(key, 3, tag)
    except RangeIgnoredError as error:
        raise UnfitStoreError("it sends a whole object where a range was asked for") from error
    with body:
        if body.read() != whole[3:]:
            raise UnfitStoreError("it sends other bytes than the range that was asked for")


def _refuses(bucket: Bucket, key: str, content: bytes, **conditions: str) -> bool:
    try:
        bucket.put(key, content, **conditions)
    except REFUSED:
        return True
    return False


def _content(bucket: Bucket, key: str) -> bytes | None:
    found = bucket.read(key, 1 << 10)
    return None if found is None else found[0]
