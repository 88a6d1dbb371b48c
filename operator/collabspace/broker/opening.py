"""The store that the settings name, opened once it has shown to be fit, and to be the one that the ledger knows."""

import contextlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from collabspace.broker.filesystem_store import MARKER, FilesystemStore
from collabspace.broker.settings import PREFIX, BrokerSettings, NotYetError, SettingsError
from collabspace.broker.store import Store
from collabspace.broker.store_settings import Place, Reads

if TYPE_CHECKING:
    # S3 needs a package that a broker with a folder does without.
    from collabspace.broker.enforcement import Enforcement
    from collabspace.broker.s3_store import S3Store

VARIABLE = f"{PREFIX}BROKER_STORE"
# What the store's client or the store itself says -> the setting to look at, and what to do.
WRONG = (
    ("NoSuchBucket InvalidBucketName", "STORE", "there is no such bucket: make it, or name another"),
    (
        "InvalidAccessKeyId SignatureDoesNotMatch InvalidToken ExpiredToken NoCredentials",
        "S3_ACCESS_KEY_FILE",
        f"the store does not know these keys: correct them, or those of {PREFIX}BROKER_S3_SECRET_KEY_FILE",
    ),
    ("403 401", "S3_ACCESS_KEY_FILE", "these keys may not use the bucket: let them read, write, delete and list in it"),
    (
        "EndpointConnection ConnectTimeout ReadTimeout ConnectionClosed SSLError ProxyConnection HTTPClient",
        "S3_ENDPOINT",
        "the store does not answer there: correct the address, or see to the store",
    ),
)


@dataclass(frozen=True)
class Opened:
    """`enforcement` is None for a folder: it has no door but the broker."""

    store: Store
    enforcement: "Enforcement | None" = None


def check_installed(settings: BrokerSettings) -> None:
    """Raises SettingsError for a store that this installation can never open."""
    if settings.s3_place is not None and importlib.util.find_spec("boto3") is None:
        raise SettingsError(f"{VARIABLE}: s3:// needs the package boto3; install collabspace[s3]")


def open_store(settings: BrokerSettings, owners: int) -> Opened:
    """`owners` is how many the ledger says have stored something. Blocks. Raises NotYetError."""
    if settings.broker_staging is not None:
        _make(settings.broker_staging, "COLLABSPACE_BROKER_STAGING")
    place = settings.s3_place
    return _folder(Path(settings.broker_store), owners) if place is None else _bucket(settings, place, owners)


def _folder(folder: Path, owners: int) -> Opened:
    if owners and not (folder / MARKER).exists():
        raise NotYetError(
            f"{VARIABLE}: the folder is no store, but the ledger knows of {owners} owners of stored "
            "data; mount the store's volume there"
        )
    _make(folder, VARIABLE)
    try:
        return Opened(FilesystemStore(folder))
    except OSError as error:
        raise NotYetError(f"{VARIABLE}: {_not_writable(error)}") from error


def _make(folder: Path, variable: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotYetError(f"{variable}: {_not_writable(error)}") from error


def _not_writable(error: OSError) -> str:
    who = f"user {os.geteuid()}, whom the broker runs as"
    return f"the folder cannot be written ({error.strerror}); let {who}, make and write it, or name another"


def _bucket(settings: BrokerSettings, place: Place, owners: int) -> Opened:
    from collabspace.broker.enforcement import Enforcement

    try:
        store = _fit(settings, place)
        if not store.is_claimed():
            if owners:
                raise NotYetError(
                    f"{VARIABLE}: there is no store under this prefix of the bucket, but the ledger knows of {owners} "
                    "owners of stored data; name the bucket and prefix that hold it"
                )
            store.claim()
    except OSError as error:
        raise NotYetError(_what_is_wrong(error.strerror or str(error))) from error
    enforcement = Enforcement(store)
    enforcement.probe()
    if settings.broker_reads is Reads.REDIRECT and not enforcement.proven:
        store.close()
        raise NotYetError(
            "COLLABSPACE_BROKER_READS: Redirect needs a store that refuses what nobody was given, and this one is not "
            f"proven to ({enforcement.detail}); close the bucket to the public, or take Gateway"
        )
    return Opened(store, enforcement)


def _fit(settings: BrokerSettings, place: Place) -> "S3Store":
    from collabspace.broker.s3_bucket import Address, Bucket
    from collabspace.broker.s3_selftest import UnfitStoreError, self_tested

    style = settings.broker_s3_path_style
    _must_hold_a_key(settings.broker_s3_access_key_file, "S3_ACCESS_KEY_FILE")
    _must_hold_a_key(settings.broker_s3_secret_key_file, "S3_SECRET_KEY_FILE")
    address = Address(
        place.bucket,
        place.prefix,
        settings.broker_s3_endpoint,
        settings.broker_s3_region,
        settings.broker_s3_endpoint is not None if style is None else style,
        settings.broker_s3_access_key_file,
        settings.broker_s3_secret_key_file,
    )
    # Without patience: what is wrong is told at once.
    with contextlib.closing(Bucket(address, attempts=1)) as first:
        first.call("list_objects_v2", MaxKeys=1)
    bucket = Bucket(address)
    try:
        return self_tested(bucket)
    except UnfitStoreError as error:
        bucket.close()
        raise NotYetError(f"{VARIABLE}: this store cannot be trusted with data: {error}") from error
    except OSError:
        bucket.close()
        raise


def _must_hold_a_key(file: Path | None, name: str) -> None:
    if file is None:
        return
    try:
        held = file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        held = ""
    if not held:
        raise NotYetError(f"{PREFIX}BROKER_{name}: there is no file with a key in it; put one there, or give its path")


def _what_is_wrong(said: str) -> str:
    for words, name, remedy in WRONG:
        if any(word in said for word in words.split()):
            return f"{PREFIX}BROKER_{name}: {remedy} ({said})"
    return f"{VARIABLE}: the store cannot be used ({said}); see to it"
