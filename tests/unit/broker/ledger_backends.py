"""The databases that a ledger may live in, as whoever tampers with them sees them: one way to speak to both."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg

from postgres_server import PostgresSchema

Statement = tuple[str, tuple[object, ...]]
Row = tuple[Any, ...]


class Backend(Protocol):
    @property
    def url(self) -> str: ...

    def change(self, *statements: Statement) -> None:
        """`?` stands for a value."""

    def ask(self, query: str, *values: object) -> list[Row]: ...

    def columns(self, table: str) -> list[str]:
        """Their names, quoted."""


@dataclass(frozen=True)
class Sqlite:
    file: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.file}"

    def change(self, *statements: Statement) -> None:
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys=ON")
            for statement, values in statements:
                connection.execute(statement, values)

    def ask(self, query: str, *values: object) -> list[Row]:
        with closing(sqlite3.connect(self.file)) as connection:
            return connection.execute(query, values).fetchall()

    def columns(self, table: str) -> list[str]:
        return [f'"{row[1]}"' for row in self.ask(f"PRAGMA table_info({table})")]


@dataclass(frozen=True)
class Postgres:
    schema: PostgresSchema
    connection: "psycopg.Connection[Any]"

    @property
    def url(self) -> str:
        return self.schema.url

    def change(self, *statements: Statement) -> None:
        with self._cursor() as cursor:
            for statement, values in statements:
                cursor.execute(statement.replace("?", "%s"), values)

    def ask(self, query: str, *values: object) -> list[Row]:
        with self._cursor() as cursor:
            found: list[Row] = cursor.execute(query.replace("?", "%s"), values).fetchall()
            return found

    def columns(self, table: str) -> list[str]:
        with self._cursor() as cursor:
            return [f'"{column.name}"' for column in cursor.execute(f"SELECT * FROM {table} LIMIT 0").description]

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with self.connection.cursor() as cursor:
            yield cursor


def saved(backend: Backend) -> None:
    """Keeps the records as they are, for `restored`."""
    backend.change(*((f"CREATE TABLE kept_{table} AS SELECT * FROM {table}", ()) for table in ("chains", "access")))


def restored(backend: Backend) -> None:
    backend.change(
        ("DELETE FROM access", ()),
        ("DELETE FROM chains", ()),
        ("INSERT INTO chains SELECT * FROM kept_chains", ()),
        ("INSERT INTO access SELECT * FROM kept_access", ()),
    )
