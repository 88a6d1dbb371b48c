"""The record of every decision about data: appended in one durable transaction before anything is given out."""

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, Row, func, or_, select, union

from collabspace.broker import appending, replicas, schema
from collabspace.broker import chain as chains_of_hashes
from collabspace.broker.appending import Batch, lock_ends
from collabspace.broker.database import Database, LedgerUnavailableError, hold
from collabspace.broker.entries import (
    BROKER_RESTARTED,
    CLOSED,
    DECISIONS,
    DENIED,
    DERIVED,
    OPENED,
    PROMOTED,
    PUBLISHED,
    REBOUND,
    REMOVED,
    USED,
    Entry,
    entry_of_row,
    record_of_row,
    sealed_of_row,
    time_text,
)
from collabspace.broker.tables import access, attempts, chains, open_sessions
from collabspace.client.protocol import ChainVerdict, LedgerPage

T = TypeVar("T")
MAX_PAGE = 1_000
__all__ = [
    "BROKER_RESTARTED",
    "CLOSED",
    "DECISIONS",
    "DENIED",
    "DERIVED",
    "MAX_PAGE",
    "OPENED",
    "PROMOTED",
    "PUBLISHED",
    "REBOUND",
    "REMOVED",
    "USED",
    "AttemptRow",
    "Counters",
    "Entry",
    "Ledger",
    "LedgerUnavailableError",
    "time_text",
]


@dataclass(frozen=True)
class Counters:
    """What the ledger adds up to for one dataset. `records`: how many of its chain are in it."""

    reads: int = 0
    denials: int = 0
    bytes_read: int = 0
    last_read: str | None = None
    head: str | None = None
    records: int = 0


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

    def __init__(self, url: str, *, create: bool = True, password_file: Path | None = None) -> None:
        """`create` off: the database is only read, and refused when it is no ledger."""
        self._database = Database(url, password_file)
        self.shared = self._database.shared
        self.replica = uuid.uuid4().hex
        # What this process wrote last: a chain cut behind our back is found even if the table of chains was cut too.
        self._heads: dict[str, str] = {}
        self._joined = create
        try:
            self._enter(create)
        except LedgerUnavailableError:
            self._database.close()
            raise

    def _enter(self, create: bool) -> None:
        if not create:
            self._database.read(schema.check_readable)
            return
        self._database.write(schema.prepare)
        self._database.write(lambda connection: replicas.join(self._database, connection, self.replica))

    def close(self) -> None:
        """What this broker left open others close on record."""
        if self._joined and self.shared:
            with suppress(LedgerUnavailableError):  # then the others find out by its silence
                self._database.write(lambda connection: replicas.leave(connection, self.replica))
        self._database.close()

    def ping(self) -> None:
        """Begins a transaction that could write, and writes nothing."""
        self._database.write(lambda connection: connection.execute(select(1)))

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` finds in the tables beside the records; all of it is of one moment."""
        return self._database.read(work)

    def write(self, work: Callable[[Connection], T]) -> T:
        """One durable transaction on the tables beside the records; `work` may run again, and must not mind."""
        return self._database.write(work)

    def tell(self, connection: Connection, *uids: str, progress: str | None = None) -> None:
        """Other brokers on this ledger, if there may be any, hear that something of these changed."""
        if self.shared:
            replicas.tell(connection, self.replica, uids, progress)

    def take_turn(self, storage: str) -> bool:
        """Whether this broker may change what is stored under that uid; the turn is its own until it is given back."""
        return self._database.write(lambda c: replicas.take_turn(self._database, c, storage, self.replica))

    def append(self, entries: Sequence[Entry], now: dt.datetime) -> list[str | None]:
        """All entries in order, in one transaction that is on disk when this returns: the hash of each.

        None for a Closed whose session is not open: it is on record already, and said again changes nothing.
        """
        hashes = self._database.write(self._batch(entries, now).write)
        self._remember(zip(entries, hashes, strict=True))
        return hashes

    def close_interrupted(self, now: dt.datetime) -> list[tuple[Entry, str]]:
        """Closes, on record, every session that a broker left open which is gone: why, and that nobody knows the bytes.

        All or none, so a death in here changes nothing.
        """
        opened = select(access).join(open_sessions, open_sessions.c.sequence == access.c.sequence)
        left = opened.where(open_sessions.c.replica.is_(None)).order_by(access.c.sequence)
        rows = self._database.read(lambda connection: connection.execute(left).mappings().all())
        closing = [entry_of_row(row).but(event=CLOSED, reason=BROKER_RESTARTED, bytes=None) for row in rows]
        # Of several brokers that find the same ones, the others write nothing.
        hashes = self.append(closing, now) if closing else []
        return [(entry, head) for entry, head in zip(closing, hashes, strict=True) if head is not None]

    def _batch(self, entries: Sequence[Entry], now: dt.datetime) -> Batch:
        return Batch(self._database, self.replica, entries, now)

    def _remember(self, written: Iterable[tuple[Entry, str | None]]) -> None:
        self._heads.update({entry.chain: head for entry, head in written if head})

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
        wanted = seen_by & (access.c.sequence > after) & (access.c.time >= since)
        if self.shared:
            wanted &= access.c.sequence <= self._database.write(_settled)
        return self._page(wanted, limit, newest=False)

    def _page(self, condition: ColumnElement[bool], limit: int, *, newest: bool) -> LedgerPage:
        order = access.c.sequence.desc() if newest else access.c.sequence
        query = select(access).where(condition).order_by(order).limit(min(max(limit, 1), MAX_PAGE))
        rows = self._database.read(lambda connection: connection.execute(query).mappings().all())
        records = [record_of_row(row) for row in rows]
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
        rows = self._database.read(lambda connection: connection.execute(union(recorded, counted)).all())
        return {row.chain: row.dataset or "" for row in rows}

    def every_chain(self) -> list[str]:
        """All chains that there are or were, for whoever holds the whole database."""
        both = union(select(chains.c.chain), select(access.c.chain))
        return sorted(self._database.read(lambda connection: connection.execute(both).scalars().all()))

    def verify(self, chain: str, heads: Sequence[str] = ()) -> ChainVerdict:
        """Reads one chain from its first record on. `heads` are hashes that others have seen at its end."""
        query = select(access).where(access.c.chain == chain).order_by(access.c.position)
        # Read before the records: a record added meanwhile makes the chain longer, never shorter than this.
        remembered = self._heads.get(chain)

        def check(connection: Connection) -> chains_of_hashes.Verdict:
            place = connection.execute(select(chains).where(chains.c.chain == chain)).one_or_none()
            known = [*heads, *([remembered] if remembered else []), *([place.head] if place is not None else [])]
            with connection.execution_options(yield_per=1_000).execute(query) as rows:
                records = (sealed_of_row(row._mapping) for row in rows)
                return chains_of_hashes.check(records, place.records if place is not None else 0, known)

        verdict = self._database.read(check)
        return ChainVerdict(
            chain=chain, records=verdict.records, ok=verdict.problem is None, head=verdict.head, problem=verdict.problem
        )

    def counters(self, known: Mapping[str, Counters] = MappingProxyType({})) -> dict[str, Counters]:
        """Reads, denials and bytes of every dataset, by uid: those of which there is more on record than is `known`."""

        def count(connection: Connection) -> dict[str, Counters]:
            ends = select(chains.c.chain, chains.c.records, chains.c.head).where(chains.c.chain != DECISIONS)
            grown = [end for end in connection.execute(ends) if end.records > _of(known, end.chain).records]
            return {end.chain: _counted(connection, _of(known, end.chain), end) for end in grown}

        return self._database.read(count)

    def attempts(self) -> list[AttemptRow]:
        """Every attempt that has an end or a result on record."""
        rows = self._database.read(lambda connection: connection.execute(select(attempts)).mappings().all())
        return [AttemptRow(**row) for row in rows]

    def keep_attempt(self, row: AttemptRow) -> AttemptRow:
        """Stores an end or a result beside what is there; what is there afterwards.

        A field that is None leaves the stored one, and the first end that was said stays.
        """
        values = {field.name: getattr(row, field.name) for field in fields(AttemptRow)}
        put = self._database.insert(attempts).values(**values)
        said = {
            "end": func.coalesce(attempts.c.end, put.excluded.end),
            "result": func.coalesce(put.excluded.result, attempts.c.result),
        }
        put = put.on_conflict_do_update(index_elements=["task_uid", "attempt"], set_=said).returning(attempts)

        def keep(connection: Connection) -> AttemptRow:
            kept = AttemptRow(**connection.execute(put).mappings().one())
            self.tell(connection, row.task_uid)
            return kept

        return self._database.write(keep)

    def keep_usage(self, entry: Entry, now: dt.datetime) -> str | None:
        """Records what an attempt used, named by its task's uid and its number; None when just that is on record.

        Other figures for the same attempt are a correction: a record of their own, and the newest one counts.
        """
        figures = (access.c.gpu_seconds, access.c.cpu_seconds, access.c.reason)
        of_attempt = (access.c.task_uid == entry.task_uid) & (access.c.attempt == entry.attempt)
        newest = select(*figures).where(of_attempt, access.c.event == USED).order_by(access.c.sequence.desc()).limit(1)

        def is_known(connection: Connection) -> bool:
            known = connection.execute(newest).one_or_none()
            return known is not None and tuple(known) == (entry.gpu_seconds, entry.cpu_seconds, entry.reason)

        return self._append_unless(is_known, entry, now)

    def keep_promotion(self, entry: Entry, now: dt.datetime) -> str | None:
        """Records that an alias (`reason`) was set under a key (`purpose`); None when just that is on record."""
        of_task = (access.c.task_uid == entry.task_uid) & (access.c.event == PROMOTED)
        same = of_task & (access.c.reason == entry.reason) & (access.c.purpose == entry.purpose)
        query = select(access.c.sequence).where(same).limit(1)

        def is_known(connection: Connection) -> bool:
            return connection.execute(query).one_or_none() is not None

        return self._append_unless(is_known, entry, now)

    def _append_unless(self, is_known: Callable[[Connection], bool], entry: Entry, now: dt.datetime) -> str | None:
        batch = self._batch([entry], now)

        def keep(connection: Connection) -> str | None:
            # Looked up behind the lock: of two that say the same at once, the second one finds the first one's record.
            lock_ends(self._database, connection, [entry])
            return None if is_known(connection) else batch.write(connection)[0]

        head = self._database.write(keep)
        self._remember([(entry, head)])
        return head


def _settled(connection: Connection) -> int:
    """All records up to this number are there or will never be: numbers are given out before they are committed."""
    hold(connection, appending.LOCK)
    return int(connection.execute(select(func.coalesce(func.max(access.c.sequence), 0))).scalar_one())


def _of(known: Mapping[str, Counters], chain: str) -> Counters:
    return known.get(chain, Counters())


def _counted(connection: Connection, known: Counters, end: Row[str, int, str]) -> Counters:
    """What is known and what the chain has had since."""
    chain, records, head = end
    row = connection.execute(
        select(
            func.sum(access.c.repeats).filter(access.c.event == OPENED),
            func.sum(access.c.repeats).filter(access.c.event == DENIED),
            func.sum(access.c.bytes).filter(access.c.event == CLOSED),
            func.max(access.c.time).filter(access.c.event == OPENED),
        ).where(access.c.chain == chain, access.c.position > known.records)
    ).one()
    reads, denials, bytes_read, last_read = row
    return Counters(
        known.reads + int(reads or 0),
        known.denials + int(denials or 0),
        known.bytes_read + int(bytes_read or 0),
        last_read or known.last_read,
        head,
        records,
    )
