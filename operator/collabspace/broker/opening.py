"""The store that the settings name, opened once it has shown to be fit, and to be the one that the ledger knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from collabspace.broker.filesystem_store import MARKER, FilesystemStore
from collabspace.broker.settings import BrokerSettings, SettingsError
from collabspace.broker.store import Store
from collabspace.broker.store_settings import Place, Reads

if TYPE_CHECKING:
    # S3 needs a package that a broker with a folder does without.
    from collabspace.broker.enforcement import Enforcement
    from collabspace.broker.s3_store import S3Store

VARIABLE = "COLLABSPACE_BROKER_STORE"


@dataclass(frozen=True)
class Opened:
    """`enforcement` is None for a folder: it has no door but the broker."""

    store: Store
    enforcement: "Enforcement | None" = None


def open_store(settings: BrokerSettings, owners: int) -> Opened:
    """`owners` is how many the ledger says have stored something. Blocks. Raises SettingsError."""
    if settings.broker_staging is not None:
        _make(settings.broker_staging, "COLLABSPACE_BROKER_STAGING")
    place = settings.s3_place
    return _folder(Path(settings.broker_store), owners) if place is None else _bucket(settings, place, owners)


def _folder(folder: Path, owners: int) -> Opened:
    if owners and not (folder / MARKER).exists():
        raise SettingsError(
            f"{VARIABLE}: the folder is no store, but the ledger knows of {owners} owners of stored "
            "data; mount the store's volume and start again"
        )
    _make(folder, VARIABLE)
    return Opened(FilesystemStore(folder))


def _make(folder: Path, variable: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{variable}: the folder cannot be made ({error.strerror})") from error


def _bucket(settings: BrokerSettings, place: Place, owners: int) -> Opened:
    try:
        from collabspace.broker.enforcement import Enforcement
    except ImportError as error:
        raise SettingsError(f"{VARIABLE}: s3:// needs the package boto3; install collabspace[s3]") from error
    try:
        store = _fit(settings, place)
        if not store.is_claimed():
            if owners:
                raise SettingsError(
                    f"{VARIABLE}: there is no store under this prefix of the bucket, but the ledger knows of {owners} "
                    "owners of stored data; name the bucket and prefix that hold it"
                )
            store.claim()
    except OSError as error:
        raise SettingsError(f"{VARIABLE}: the store cannot be used ({error}); see to it and start again") from error
    enforcement = Enforcement(store)
    enforcement.probe()
    if settings.broker_reads is Reads.REDIRECT and not enforcement.proven:
        raise SettingsError(
            "COLLABSPACE_BROKER_READS: Redirect needs a store that refuses what nobody was given, and this one is not "
            f"proven to ({enforcement.detail}); close the bucket to the public, or take Gateway"
        )
    return Opened(store, enforcement)


def _fit(settings: BrokerSettings, place: Place) -> "S3Store":
    from collabspace.broker.s3_bucket import Address, Bucket
    from collabspace.broker.s3_selftest import UnfitStoreError, self_tested

    style = settings.broker_s3_path_style
    bucket = Bucket(
        Address(
            place.bucket,
            place.prefix,
            settings.broker_s3_endpoint,
            settings.broker_s3_region,
            settings.broker_s3_endpoint is not None if style is None else style,
            settings.broker_s3_access_key_file,
            settings.broker_s3_secret_key_file,
        )
    )
    try:
        return self_tested(bucket)
    except UnfitStoreError as error:
        raise SettingsError(f"{VARIABLE}: this store cannot be trusted with data: {error}") from error
