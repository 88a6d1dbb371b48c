"""The record of every decision about data: appended in one durable transaction before anything is given out."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, inspect, or_, select, union
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from collabspace.broker import chain as chains_of_hashes
from collabspace.broker.chain import GENESIS, seal
from collabspace.broker.entries import (
    BROKER_RESTARTED,
    CLOSED,
    DECISIONS,
    DENIED,
    OPENED,
    PUBLISHED,
    USED,
    Entry,
    entry_of_row,
    record_of_row,
    sealed_of_row,
    time_text,
    values_of,
)
from collabspace.broker.tables import access, attempts, chains, metadata, open_database, open_sessions
from collabspace.client.protocol import ChainVerdict, LedgerPage

REMOVED, REBOUND = "Removed", "Rebound"
MAX_PAGE = 1_000
__all__ = [
    "BROKER_RESTARTED",
    "CLOSED",
    "DECISIONS",
    "DENIED",
    "MAX_PAGE",
    "OPENED",
    "PUBLISHED",
    "USED",
    "AttemptRow",
    "Counters",
    "Entry",
    "Ledger",
    "LedgerUnavailableError",
    "time_text",
]


class LedgerUnavailableError(Exception):
    """The ledger cannot be read or written: no data is given out until it can."""


@dataclass(frozen=True)
class Counters:
    """What the ledger adds up to for one dataset."""

    reads: int = 0
    denials: int = 0
    bytes_read: int = 0
    last_read: str | None = None
    head: str | None = None


@dataclass(frozen=True)
class AttemptRow:
    """The durable part of an attempt: JSON texts as they were accepted."""

    task_uid: str
    attempt: int
    namespace: str
    task: str
    end: str | None = None
    result: str | None = None


class Ledger:
    """Blocking calls on one database; callers run them in threads. Every method may raise LedgerUnavailableError."""

    def __init__(self, url: str, *, create: bool = True) -> None:
        """`create` off: a database without the ledger's tables is refused instead of being given them."""
        self._engine = open_database(url)
        # What this process wrote last: a chain cut behind our back is found even if the table of chains was cut too.
        self._heads: dict[str, str] = {}
        with self._connection(write=create) as connection:
            if create:
                metadata.create_all(connection)
            _check_tables(connection)

    def close(self) -> None:
        self._engine.dispose()

    def ping(self) -> None:
        """Begins a transaction that could write, and writes nothing."""
        with self._connection(write=True):
            return

    def append(self, entries: Sequence[Entry], now: dt.datetime) -> list[str | None]:
        """All entries in order, in one transaction that is on disk when this returns: the hash of each.

        None for a Closed whose session is not open: it is on record already, and said again changes nothing.
        """
        with self._connection(write=True) as connection:
            hashes = [self._append_one(connection, entry, now) for entry in entries]
        self._remember(zip(entries, hashes, strict=True))
        return hashes

    def close_interrupted(self, now: dt.datetime) -> list[tuple[Entry, str]]:
        """Closes, on record, every session that a broker left open when it died: why, and that nobody knows the bytes.

        All or none, so a death in here changes nothing. For the start, when this process has opened no session yet.
        """
        opened = select(access).join(open_sessions, open_sessions.c.sequence == access.c.sequence)
        with self._connection(write=True) as connection:
            left = [entry_of_row(row._mapping) for row in connection.execute(opened.order_by(access.c.sequence))]
            closing = [entry.but(event=CLOSED, reason=BROKER_RESTARTED, bytes=None) for entry in left]
            done = [(entry, self._append_one(connection, entry, now) or "") for entry in closing]
        self._remember(done)
        return done

    def _remember(self, written: Iterable[tuple[Entry, str | None]]) -> None:
        self._heads.update({entry.chain: head for entry, head in written if head})

    def _append_one(self, connection: Connection, entry: Entry, now: dt.datetime) -> str | None:
        if entry.event == CLOSED:
            gone = connection.execute(open_sessions.delete().where(open_sessions.c.session == entry.session))
            if gone.rowcount == 0:
                return None
        place = connection.execute(
            select(chains.c.records, chains.c.head).where(chains.c.chain == entry.chain).with_for_update()
        ).one_or_none()
        count, previous = (place.records, place.head) if place is not None else (0, GENESIS)
        values = values_of(entry, now)
        head = seal(count + 1, values, previous)
        if place is None:
            names = {"namespace": entry.owner or "", "dataset": entry.dataset or ""}
            connection.execute(chains.insert().values(chain=entry.chain, records=count + 1, head=head, **names))
        else:
            connection.execute(
                chains.update().where(chains.c.chain == entry.chain).values(records=count + 1, head=head)
            )
        row = {"chain": entry.chain, "position": count + 1, "previous": previous, "hash": head, **values}
        sequence = connection.execute(access.insert().values(**row).returning(access.c.sequence)).scalar_one()
        if entry.event == OPENED:
            connection.execute(open_sessions.insert().values(session=entry.session, sequence=sequence))
        return head

    def page(self, namespace: str, before: int | None, limit: int, dataset: str | None) -> LedgerPage:
        """What `namespace` did and what was done with its datasets, newest first; `dataset`: only one of its own."""
        seen_by = (
            or_(access.c.namespace == namespace, access.c.owner == namespace)
            if dataset is None
            else (access.c.owner == namespace) & (access.c.dataset == dataset)
        )
        return self._page(seen_by & (access.c.sequence < before) if before is not None else seen_by, limit, newest=True)

    def onward(self, namespace: str, after: int, limit: int, since: str) -> LedgerPage:
        """The same, oldest first: records behind the one of that number, from the time `since` on (empty: all)."""
        seen_by = or_(access.c.namespace == namespace, access.c.owner == namespace)
        return self._page(seen_by & (access.c.sequence > after) & (access.c.time >= since), limit, newest=False)

    def _page(self, condition: ColumnElement[bool], limit: int, *, newest: bool) -> LedgerPage:
        order = access.c.sequence.desc() if newest else access.c.sequence
        query = select(access).where(condition).order_by(order).limit(min(max(limit, 1), MAX_PAGE))
        with self._connection() as connection:
            records = [record_of_row(row._mapping) for row in connection.execute(query)]
        return LedgerPage(records=records, next=records[-1].sequence if len(records) >= limit else None)

    def chains_of(self, namespace: str) -> dict[str, str]:
        """The chains that a namespace may have checked, with the dataset's name: its own, and that of decisions.

        Records without an entry in the table of chains count too: they are what tampering leaves behind.
        """
        counted = select(chains.c.chain, chains.c.dataset).where(
            or_(chains.c.namespace == namespace, chains.c.chain == DECISIONS)
        )
        recorded = select(access.c.chain, access.c.dataset).where(
            access.c.owner == namespace, access.c.dataset_uid.is_not(None)
        )
        with self._connection() as connection:
            return {row.chain: row.dataset or "" for row in connection.execute(union(recorded, counted))}

    def every_chain(self) -> list[str]:
        """All chains that there are or were, for whoever holds the whole database."""
        with self._connection() as connection:
            rows = connection.execute(union(select(chains.c.chain), select(access.c.chain)))
            return sorted(row.chain for row in rows)

    def verify(self, chain: str, heads: Sequence[str] = ()) -> ChainVerdict:
        """Reads one chain from its first record on. `heads` are hashes that others have seen at its end."""
        query = select(access).where(access.c.chain == chain).order_by(access.c.position)
        # Read before the records: a record added meanwhile makes the chain longer, never shorter than this.
        remembered = self._heads.get(chain)
        with self._connection() as connection:
            place = connection.execute(select(chains).where(chains.c.chain == chain)).one_or_none()
            known = [*heads, *([remembered] if remembered else []), *([place.head] if place is not None else [])]
            rows = connection.execution_options(yield_per=1_000).execute(query)
            records = (sealed_of_row(row._mapping) for row in rows)
            verdict = chains_of_hashes.check(records, place.records if place is not None else 0, known)
        return ChainVerdict(
            chain=chain, records=verdict.records, ok=verdict.problem is None, head=verdict.head, problem=verdict.problem
        )

    def counters(self) -> dict[str, Counters]:
        """Reads, denials and bytes of every dataset, by uid."""
        query = select(
            access.c.dataset_uid,
            func.sum(access.c.repeats).filter(access.c.event == OPENED).label("reads"),
            func.sum(access.c.repeats).filter(access.c.event == DENIED).label("denials"),
            func.sum(access.c.bytes).filter(access.c.event == CLOSED).label("bytes_read"),
            func.max(access.c.time).filter(access.c.event == OPENED).label("last_read"),
        ).where(access.c.dataset_uid.is_not(None))
        with self._connection() as connection:
            heads = {row.chain: row.head for row in connection.execute(select(chains.c.chain, chains.c.head))}
            return {
                row.dataset_uid: Counters(
                    int(row.reads or 0),
                    int(row.denials or 0),
                    int(row.bytes_read or 0),
                    row.last_read,
                    heads[row.dataset_uid],
                )
                for row in connection.execute(query.group_by(access.c.dataset_uid))
            }

    def attempts(self) -> list[AttemptRow]:
        """Every attempt that has an end or a result on record."""
        with self._connection() as connection:
            return [AttemptRow(**row._mapping) for row in connection.execute(select(attempts))]

    def keep_attempt(self, row: AttemptRow) -> None:
        """Stores an end or a result beside what is there; a field that is None leaves the stored one."""
        values = {field.name: getattr(row, field.name) for field in fields(AttemptRow)}
        said = {name: values[name] for name in ("end", "result") if values[name] is not None}
        self._upsert(attempts, values, said)

    def keep_usage(self, entry: Entry, now: dt.datetime) -> str | None:
        """Records what an attempt used, named by its task's uid and its number; None when just that is on record.

        Other figures for the same attempt are a correction: a record of their own, and the newest one counts.
        """
        figures = (access.c.gpu_seconds, access.c.cpu_seconds, access.c.reason)
        of_attempt = (access.c.task_uid == entry.task_uid) & (access.c.attempt == entry.attempt)
        newest = select(*figures).where(of_attempt, access.c.event == USED).order_by(access.c.sequence.desc()).limit(1)
        with self._connection(write=True) as connection:
            known = connection.execute(newest).one_or_none()
            if known is not None and tuple(known) == (entry.gpu_seconds, entry.cpu_seconds, entry.reason):
                return None
            head = self._append_one(connection, entry, now)
        self._remember([(entry, head)])
        return head

    def _upsert(self, table: Any, values: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        with self._connection(write=True) as connection:
            statement = dialect.insert(table).values(**values)
            connection.execute(
                statement.on_conflict_do_update(index_elements=["task_uid", "attempt"], set_=dict(changed))
                if changed
                else statement.on_conflict_do_nothing()
            )

    def transaction(self) -> AbstractContextManager[Connection]:
        """One durable transaction on the tables beside the records. Raises LedgerUnavailableError on leaving too."""
        return self._connection(write=True)

    @contextmanager
    def _connection(self, *, write: bool = False) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                connection = connection.execution_options(ledger_writes=write)
                with connection.begin():
                    yield connection
        except SQLAlchemyError as error:
            raise LedgerUnavailableError(type(error).__name__) from error


def _check_tables(connection: Connection) -> None:
    """Raises LedgerUnavailableError for a database of another release, instead of failing at the first record."""
    look = inspect(connection)
    for table in metadata.sorted_tables:
        there = {column["name"] for column in look.get_columns(table.name)} if look.has_table(table.name) else set()
        missing = sorted({column.name for column in table.columns} - there)
        if missing:
            raise LedgerUnavailableError(f"table {table.name} has no column {missing[0]}: not a ledger of this release")
