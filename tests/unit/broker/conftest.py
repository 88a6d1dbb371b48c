"""Every test of the ledger runs on both databases."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ledger_backends import Backend, Postgres, Sqlite

KINDS = ("sqlite", "postgresql")


@contextmanager
def _backend(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Backend]:
    if kind == "sqlite":
        yield Sqlite(folder / "ledger.db")
        return
    schema = request.getfixturevalue("postgres").schema()
    with schema.connect() as connection:
        yield Postgres(schema, connection)


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """An empty database of the test's own."""
    with _backend(request.param, tmp_path, request) as made:
        yield made


@pytest.fixture(params=KINDS, scope="module")
def shared_backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """One for a whole module."""
    with _backend(request.param, tmp_path_factory.mktemp("ledger"), request) as made:
        yield made
