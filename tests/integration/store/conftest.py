"""Stores in buckets of a real S3 server. The suite of all stores lies with the unit tests."""

import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from radosgw_server import RadosGateway

from collabspace.broker.s3_bucket import Address, Bucket

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "broker"))


@pytest.fixture(scope="session")
def keys(radosgw: RadosGateway, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The files that hold the owner's two keys."""
    folder = tmp_path_factory.mktemp("keys")
    for name, value in (("access", radosgw.access_key), ("secret", radosgw.secret_key)):
        (folder / name).write_text(f"{value}\n")
    return folder / "access", folder / "secret"


@pytest.fixture(scope="session")
def open_bucket(radosgw: RadosGateway, keys: tuple[Path, Path]) -> Iterator[Bucket]:
    """A way into one bucket that many tests share, each below a prefix of its own."""
    bucket = Bucket(Address(radosgw.bucket(), "", radosgw.endpoint, None, True, *keys), attempts=2)
    yield bucket
    bucket.close()


@pytest.fixture(scope="session")
def public_bucket(radosgw: RadosGateway) -> str:
    """Anybody reads and lists it: the store ignores what a broker relies on."""
    return radosgw.bucket(public=True)


@pytest.fixture(scope="session")
def at(open_bucket: Bucket) -> Callable[..., Bucket]:
    """Another bucket or prefix by the same client: to make one takes longer than most tests."""

    def go(prefix: str, name: str | None = None) -> Bucket:
        other = copy.copy(open_bucket)
        other.name, other.prefix = name or open_bucket.name, f"{prefix}/"
        return other

    return go
