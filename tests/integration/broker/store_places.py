"""Where a broker under test keeps its bytes: a folder, or a prefix of a bucket at a real S3 server.

`COLLABSPACE_TEST_STORE` says which of them all brokers of a run get: `folder` (unless set), `s3`, or `s3-redirect`,
where readers are sent on to the store. Tests look into a store, and spoil it, behind the broker's back: through here.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from radosgw_server import RadosGateway

FOLDER, S3, REDIRECT = "folder", "s3", "s3-redirect"
STORE = os.environ.get("COLLABSPACE_TEST_STORE", FOLDER)
assert STORE in (FOLDER, S3, REDIRECT), f"COLLABSPACE_TEST_STORE: {STORE!r} is none of {FOLDER}, {S3}, {REDIRECT}"

folder_only = pytest.mark.skipif(STORE != FOLDER, reason="is about how a folder is laid out on disk")
times_set = pytest.mark.skipif(STORE != FOLDER, reason="S3 itself says when an object was made")
broker_sends = pytest.mark.skipif(STORE == REDIRECT, reason="is about bytes that the broker sends, here the store does")


def counted(sent: int) -> int | None:
    """What the ledger says of so many bytes that readers fetched: of those that the store sends, nothing."""
    return None if STORE == REDIRECT else sent


class Place(Protocol):
    """One store. `folder` is a broker's own."""

    def settings(self, folder: Path) -> dict[str, str]:
        """That make it a broker's store."""
        ...

    def elsewhere(self) -> dict[str, str]:
        """Settings that name an empty place of the same kind instead."""
        ...

    def keys(self, below: str) -> list[str]:
        """Of all that is stored below, relative to it."""
        ...

    def read(self, key: str) -> bytes: ...

    def write(self, key: str, content: bytes) -> None:
        """Over what is there."""
        ...

    def remove(self, key: str) -> None: ...

    def take_away(self) -> None:
        """As a volume that is not mounted, or a bucket that refuses its owner."""
        ...

    def give_back(self) -> None:
        """Fails when something was written meanwhile."""
        ...


@dataclass(frozen=True)
class Folder:
    root: Path

    def settings(self, folder: Path) -> dict[str, str]:
        return {"COLLABSPACE_BROKER_STORE": str(self.root)}

    def elsewhere(self) -> dict[str, str]:
        return {"COLLABSPACE_BROKER_STORE": f"{self.root}-elsewhere"}

    def keys(self, below: str) -> list[str]:
        folder = self.root / below
        # What goes meanwhile is gone.
        found = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
        return sorted(str(path.relative_to(folder)) for path in found)

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        (self.root / key).unlink()
        (self.root / key).write_bytes(content)

    def remove(self, key: str) -> None:
        (self.root / key).unlink()

    def take_away(self) -> None:
        self.root.rename(self._away)
        self.root.mkdir()

    def give_back(self) -> None:
        self.root.rmdir()
        self._away.rename(self.root)

    @property
    def _away(self) -> Path:
        return self.root.with_name(f"{self.root.name}-away")


class Prefix:
    """In a bucket of its own, where nobody sees what others store."""

    def __init__(self, gateway: "RadosGateway", keyring: Path) -> None:
        self._gateway, self._keyring = gateway, keyring
        self._bucket, self._prefix = gateway.bucket(), "team"
        self._client = gateway.client()
        for name, value in (("access", gateway.access_key), ("secret", gateway.secret_key)):
            (keyring / name).write_text(value)

    def settings(self, folder: Path) -> dict[str, str]:
        return {
            "COLLABSPACE_BROKER_STORE": f"s3://{self._bucket}/{self._prefix}",
            "COLLABSPACE_BROKER_STAGING": str(folder / "staging"),
            "COLLABSPACE_BROKER_S3_ENDPOINT": self._gateway.endpoint,
            "COLLABSPACE_BROKER_S3_ACCESS_KEY_FILE": str(self._keyring / "access"),
            "COLLABSPACE_BROKER_S3_SECRET_KEY_FILE": str(self._keyring / "secret"),
        }

    def elsewhere(self) -> dict[str, str]:
        return {"COLLABSPACE_BROKER_STORE": f"s3://{self._bucket}/{self._prefix}-elsewhere"}

    def keys(self, below: str) -> list[str]:
        folder = self._key(below) + "/"
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=folder)
        return [item["Key"].removeprefix(folder) for page in pages for item in page.get("Contents") or []]

    def read(self, key: str) -> bytes:
        answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
        with answer["Body"] as body:
            return bytes(body.read())

    def write(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=content)

    def remove(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def take_away(self) -> None:
        every = [f"s3:{verb}" for verb in ("GetObject", "PutObject", "DeleteObject", "ListBucket")]
        arn = f"arn:aws:s3:::{self._bucket}"
        statement = {"Effect": "Deny", "Principal": "*", "Action": every, "Resource": [arn, f"{arn}/*"]}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self._client.put_bucket_policy(Bucket=self._bucket, Policy=json.dumps(policy))

    def give_back(self) -> None:
        self._client.delete_bucket_policy(Bucket=self._bucket)

    def close(self) -> None:
        self._client.close()

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}"
