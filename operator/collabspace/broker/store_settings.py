"""Where the broker keeps its bytes and how readers get them, as it is told from outside."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

SCHEME = "s3://"
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
PREFIX_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_PREFIX_PARTS = 8
S3_FIELDS = ("endpoint", "region", "path_style", "access_key_file", "secret_key_file")


class Reads(StrEnum):
    """Who sends the bytes: the broker itself, or the store by a link that opens one object for a minute."""

    GATEWAY = "Gateway"
    REDIRECT = "Redirect"


@dataclass(frozen=True)
class Place:
    """A bucket and the prefix of all keys in it."""

    bucket: str
    prefix: str


class StoreSettings(BaseSettings):
    """Part of the broker's settings."""

    broker_store: str = Field(min_length=1, description="A folder, or s3://bucket/prefix.")
    broker_staging: Path | None = Field(
        default=None, description="Folder for uploads under way and for checks; only of a store in S3."
    )
    broker_reads: Reads = Reads.GATEWAY
    broker_s3_endpoint: str | None = Field(default=None, description="None: AWS.")
    broker_s3_region: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,40}$", description="None: us-east-1.")
    broker_s3_path_style: bool | None = Field(default=None, description="None: yes with an endpoint of your own.")
    broker_s3_access_key_file: Path | None = Field(default=None, description="None: boto3 looks in its own places.")
    broker_s3_secret_key_file: Path | None = None

    @property
    def s3_place(self) -> Place | None:
        """None: the store is a folder."""
        if not self.broker_store.startswith(SCHEME):
            return None
        bucket, _, prefix = self.broker_store.removeprefix(SCHEME).partition("/")
        return Place(bucket, prefix.rstrip("/"))

    @property
    def staging_folder(self) -> Path:
        """The folder for what is on its way: a folder store's own, so that a whole blob only changes its name."""
        return Path(self.broker_store) if self.broker_staging is None else self.broker_staging

    @field_validator("broker_store")
    @classmethod
    def _is_place(cls, value: str) -> str:
        if not value.startswith(SCHEME):
            if "://" in value:
                raise ValueError("is neither a folder nor s3://bucket/prefix")
            return value
        bucket, _, prefix = value.removeprefix(SCHEME).partition("/")
        parts = prefix.rstrip("/").split("/") if prefix.rstrip("/") else []
        if not BUCKET.fullmatch(bucket):
            raise ValueError("names no bucket: s3://bucket/prefix, with a bucket of 3 to 63 of a-z 0-9 . -")
        if len(parts) > MAX_PREFIX_PARTS or not all(PREFIX_PART.fullmatch(part) for part in parts):
            raise ValueError("has a prefix that is not of a-z A-Z 0-9 . _ - between single slashes")
        return value

    @field_validator("broker_s3_endpoint")
    @classmethod
    def _is_endpoint(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            url = urlsplit(value)
            sound = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port)
        except ValueError:
            sound = False
        if not sound or url.username is not None or url.path not in ("", "/") or url.query or url.fragment:
            raise ValueError("is not https://host or http://host:port; keys do not belong into it")
        return value

    @model_validator(mode="after")
    def _fits_the_store(self) -> Self:
        named = "COLLABSPACE_BROKER_"
        if self.s3_place is None:
            given = [field for field in S3_FIELDS if getattr(self, f"broker_s3_{field}") is not None]
            if given:
                raise ValueError(f"{named}S3_{given[0].upper()}: is for a store in S3; unset it, or set {named}STORE")
            if self.broker_staging is not None:
                raise ValueError(f"{named}STAGING: is for a store in S3, a folder stages in itself; unset it")
            if self.broker_reads is Reads.REDIRECT:
                raise ValueError(f"{named}READS: Redirect needs a store in S3; set {named}STORE, or take Gateway")
            return self
        if self.broker_staging is None:
            raise ValueError(f"{named}STAGING: is not set; a store in S3 needs a folder for uploads under way")
        for field, other in (("access", "secret"), ("secret", "access")):
            file = getattr(self, f"broker_s3_{field}_key_file")
            variable = f"{named}S3_{field.upper()}_KEY_FILE"
            if file is None and getattr(self, f"broker_s3_{other}_key_file") is not None:
                raise ValueError(f"{variable}: is not set; give both files of keys, or none")
        return self
