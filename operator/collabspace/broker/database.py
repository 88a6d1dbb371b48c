"""How the ledger's database is opened and used: one transaction per piece of work, tried again when the database says
that trying again is the cure, and one kind of error for all that fails.

SQLite has one broker; PostgreSQL may have several. What their transactions must agree on is locked by the work itself.
"""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

T = TypeVar("T")
BUSY_MILLISECONDS = 5_000
TRIES = 4
# serialization_failure, deadlock_detected: the database undid the one so that the other could go on.
AGAIN = frozenset({"40001", "40P01"})
POOL = {"pool_size": 4, "max_overflow": 4, "pool_timeout": 5, "pool_recycle": 1_800, "pool_pre_ping": True}
CONNECT = {
    "connect_timeout": 5,
    "application_name": "collabspace-broker",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
# No broker waits on another one for ever: one that stands still in a transaction loses it, and its locks.
PATIENCE = {
    "lock_timeout": "5s",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "30s",
}


class LedgerUnavailableError(Exception):
    """The ledger cannot be read or written: no data is given out until it can.

    `unsure`: the connection broke on the way, so that what was to be written may have been written all the same.
    """

    def __init__(self, message: str, *, unsure: bool = False) -> None:
        super().__init__(message)
        self.unsure = unsure


class Database:
    """Blocking; callers run it in threads. `shared`: other brokers may write to it at the same time."""

    def __init__(self, url: str, password_file: Path | None = None) -> None:
        """`password_file` is read at each connecting, so that a password may change. Raises LedgerUnavailableError."""
        self._engine = _open(checked(url), password_file)
        self.shared = self._engine.dialect.name == "postgresql"

    def close(self) -> None:
        self._engine.dispose()

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` finds; all of it is of one moment. Raises LedgerUnavailableError."""
        return self._run(work, write=False)

    def write(self, work: Callable[[Connection], T]) -> T:
        """One transaction, on disk when this returns. `work` may run several times, the last one counts; what an
        earlier one did may only be there if the connection broke. Raises LedgerUnavailableError."""
        return self._run(work, write=True)

    def insert(self, table: Table) -> Any:
        """An INSERT that can say ON CONFLICT."""
        return postgresql.insert(table) if self.shared else sqlite.insert(table)

    def _run(self, work: Callable[[Connection], T], *, write: bool) -> T:
        lost, tries = False, 0
        while True:
            tries += 1
            try:
                with self._transaction(write=write) as connection:
                    return work(connection)
            except DBAPIError as error:
                lost = lost or error.connection_invalidated
                again = error.connection_invalidated or getattr(error.orig, "sqlstate", None) in AGAIN
                if not again or tries == TRIES:
                    raise LedgerUnavailableError(_why(error), unsure=lost) from error
            except SQLAlchemyError as error:
                raise LedgerUnavailableError(type(error).__name__, unsure=lost) from error

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Connection]:
        options: dict[str, Any] = {"ledger_writes": write}
        if self.shared and not write:
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._engine.connect() as connection:
            connection = connection.execution_options(**options)
            with connection.begin():
                yield connection


def hold(connection: Connection, key: int, *, shared: bool = False) -> None:
    """Waits for a lock that brokers on PostgreSQL agree on, held until the end of the transaction.

    On SQLite a transaction that writes is alone already.
    """
    if connection.dialect.name == "postgresql":
        kind = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        connection.execute(text(f"SELECT {kind}(:key)"), {"key": key})


def checked(url: str) -> URL:
    """Raises LedgerUnavailableError for a database that nobody here can speak to."""
    made = make_url(url)
    if made.drivername == "postgresql":
        made = made.set(drivername="postgresql+psycopg")
    if made.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise LedgerUnavailableError(
            f"{made.drivername}: no such ledger; give sqlite:////folder/ledger.db or postgresql+psycopg://host/name"
        )
    if made.drivername == "postgresql+psycopg" and importlib.util.find_spec("psycopg") is None:
        raise LedgerUnavailableError("PostgreSQL needs psycopg: pip install 'collabspace[postgresql]'")
    return made


def _open(url: URL, password_file: Path | None) -> Engine:
    # Values never get into the text of an error: they may be anybody's words.
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, hide_parameters=True)
        _tune_sqlite(engine)
        return engine
    engine = create_engine(
        url, hide_parameters=True, isolation_level="READ COMMITTED", connect_args=_unless_said(url, CONNECT), **POOL
    )
    _tune_postgresql(engine, password_file)
    return engine


def _unless_said(url: URL, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What the URL says itself goes before what we would say."""
    return {name: value for name, value in defaults.items() if name not in url.query}


def _tune_postgresql(engine: Engine, password_file: Path | None) -> None:
    """Every commit is on disk when it returns, whatever the server's default is; a stricter default stays."""

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        before, connection.autocommit = connection.autocommit, True
        with connection.cursor() as cursor:
            for name, value in PATIENCE.items():
                cursor.execute(f"SET {name} = '{value}'")
            (durability,) = cursor.execute("SHOW synchronous_commit").fetchone()
            if durability in ("off", "local"):
                cursor.execute("SET synchronous_commit = 'on'")
        connection.autocommit = before

    if password_file is not None:

        @event.listens_for(engine, "do_connect")
        def give_password(_: Any, __: Any, ___: Any, parameters: dict[str, Any]) -> None:
            try:
                parameters["password"] = password_file.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise LedgerUnavailableError(f"the password file cannot be read ({type(error).__name__})") from None


def _tune_sqlite(engine: Engine) -> None:
    """WAL with a sync on every commit; writers queue at BEGIN, so that two of them can never read the same head."""

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_MILLISECONDS}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("ledger_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _why(error: DBAPIError) -> str:
    """The kind of error; of a connection that was not to be had also libpq's words, which never hold a password."""
    name = type(error.orig).__name__ if error.orig is not None else type(error).__name__
    if error.statement is None and error.orig is not None and name in ("OperationalError", "ConnectionTimeout"):
        return f"{name}: {' '.join(str(error.orig).split())[:300]}"
    return name
