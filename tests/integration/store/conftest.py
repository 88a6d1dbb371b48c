"""Stores in buckets of a real S3 server. The suite of all stores lies with the unit tests."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from radosgw_server import RadosGateway

from collabspace.broker.s3_bucket import Address, Bucket

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "broker"))


@pytest.fixture
def make_bucket(radosgw: RadosGateway, tmp_path: Path) -> Iterator[Callable[..., Bucket]]:
    """Ways to a bucket, by default to a new one at the server itself; closed at the end."""
    made: list[Bucket] = []
    for name, value in (("access", radosgw.access_key), ("secret", radosgw.secret_key)):
        (tmp_path / name).write_text(f"{value}\n")

    def make(name: str | None = None, endpoint: str | None = None, prefix: str = "", attempts: int = 2) -> Bucket:
        keys = tmp_path / "access", tmp_path / "secret"
        address = Address(name or radosgw.bucket(), prefix, endpoint or radosgw.endpoint, None, True, *keys)
        made.append(Bucket(address, attempts))
        return made[-1]

    yield make
    for bucket in made:
        bucket.close()
