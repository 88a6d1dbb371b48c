"""The layout of the ledger's tables has a number; a database of an older layout is brought up to date at the start, in
one transaction, and one of a newer layout is left alone."""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Table, inspect, select, text

from collabspace.broker.database import LedgerUnavailableError, hold
from collabspace.broker.tables import access, chains, metadata, news, replicas, schema, turns

LOCK = 0x6C656467_00000001
PATIENCE = "30min"


def _replicas(connection: Connection) -> None:
    """1: several brokers on one ledger. Sessions that are open belong to a broker of before, which is gone."""
    metadata.create_all(connection, tables=[schema, replicas, news, turns])
    kept = "VARCHAR(32) REFERENCES replicas (replica) ON DELETE SET NULL"
    connection.execute(text(f"ALTER TABLE open_sessions ADD COLUMN replica {kept}"))


# Each brings a database from the layout of its index to the next one; a step that was released never changes.
STEPS: tuple[Callable[[Connection], None], ...] = (_replicas,)
VERSION = len(STEPS)


def prepare(connection: Connection) -> None:
    """Makes the tables, or brings them up to date; several brokers that start at once take turns.

    Raises LedgerUnavailableError for a database that is newer, or no ledger.
    """
    if connection.dialect.name == "postgresql":
        # Whoever is before us may have much to upgrade, and so may we.
        for name in ("lock_timeout", "statement_timeout"):
            connection.execute(text(f"SET LOCAL {name} = '{PATIENCE}'"))
    hold(connection, LOCK)
    if not inspect(connection).has_table(chains.name):
        metadata.create_all(connection)
        connection.execute(schema.insert().values(version=VERSION))
        return
    found = _version(connection)
    for step in STEPS[found:]:
        step(connection)
    if found < VERSION:
        connection.execute(schema.delete())
        connection.execute(schema.insert().values(version=VERSION))
    _check(connection, metadata.sorted_tables)


def check_readable(connection: Connection) -> None:
    """For a copy that is only read: its records are there, in this layout or an older one. Raises as above."""
    _version(connection)
    _check(connection, (chains, access))


def _version(connection: Connection) -> int:
    """0: from before layouts had numbers."""
    if not inspect(connection).has_table(schema.name):
        return 0
    found = connection.execute(select(schema.c.version)).scalars().all()
    if len(found) != 1 or not 0 <= found[0] <= VERSION:
        said = ", ".join(map(str, found)) or "none"
        raise LedgerUnavailableError(
            f"the ledger's schema is {said}, this release knows up to {VERSION}; start the release that wrote it"
        )
    return int(found[0])


def _check(connection: Connection, tables: Sequence[Table]) -> None:
    """Raises LedgerUnavailableError for other tables of these names, instead of failing at the first record."""
    found = inspect(connection).get_multi_columns(filter_names=[table.name for table in tables])
    for table in tables:
        there = {column["name"] for column in found.get((None, table.name), ())}
        missing = sorted({column.name for column in table.columns} - there)
        if missing:
            raise LedgerUnavailableError(f"table {table.name} has no column {missing[0]}: not a ledger of this release")
