"""The record of every decision about data: appended in one durable transaction before anything is given out."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, create_engine, event, func, or_, select, union
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from collabspace.broker import chain as chains_of_hashes
from collabspace.broker.chain import GENESIS, Sealed, seal
from collabspace.broker.tables import access, attempts, chains, metadata, usage
from collabspace.client.protocol import ChainVerdict, Decision, LedgerPage, LedgerRecord

DECISIONS = "decisions"
OPENED, DENIED, CLOSED, PUBLISHED = "Opened", "Denied", "Closed", "Published"
REMOVED, REBOUND = "Removed", "Rebound"
MAX_PAGE = 1_000
BUSY_MILLISECONDS = 5_000


class LedgerUnavailableError(Exception):
    """The ledger cannot be read or written: no data is given out until it can."""


@dataclass(frozen=True)
class Entry:
    """What is to be recorded. `dataset_uid` names the chain; without it the record goes to the chain of decisions."""

    event: str
    decision: Decision
    reason: str
    namespace: str = ""
    account: str = ""
    claimed_by: str | None = None
    pod: str | None = None
    pod_uid: str | None = None
    node: str | None = None
    token_id: str | None = None
    task: str | None = None
    task_uid: str | None = None
    attempt: int | None = None
    on_behalf_of: str | None = None
    owner: str | None = None
    dataset: str | None = None
    dataset_uid: str | None = None
    version: str | None = None
    use: str | None = None
    purpose: str | None = None
    profile: str | None = None
    grant: str | None = None
    generation: int | None = None
    bytes: int | None = None
    repeats: int = 1

    @property
    def chain(self) -> str:
        return self.dataset_uid or DECISIONS

    def but(self, **changes: Any) -> "Entry":
        """The same with some fields changed."""
        return replace(self, **changes)


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


SEALED_FIELDS = ("time", *(field.name for field in fields(Entry)))


class Ledger:
    """Blocking calls on one database; callers run them in threads. Every method may raise LedgerUnavailableError."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)
        if self._engine.dialect.name == "sqlite":
            _tune_sqlite(self._engine)
        # What this process wrote last: a chain cut behind our back is found even if the table of chains was cut too.
        self._heads: dict[str, str] = {}
        with self._connection(write=True) as connection:
            metadata.create_all(connection)

    def close(self) -> None:
        self._engine.dispose()

    def ping(self) -> None:
        """Begins a transaction that could write, and writes nothing."""
        with self._connection(write=True):
            return

    def append(self, entries: Sequence[Entry], now: dt.datetime) -> list[str]:
        """All entries in order, in one transaction that is on disk when this returns: the hash of each."""
        hashes: list[str] = []
        heads: dict[str, str] = {}
        with self._connection(write=True) as connection:
            for entry in entries:
                head = self._append_one(connection, entry, now)
                heads[entry.chain] = head
                hashes.append(head)
        self._heads.update(heads)
        return hashes

    def _append_one(self, connection: Connection, entry: Entry, now: dt.datetime) -> str:
        place = connection.execute(
            select(chains.c.records, chains.c.head).where(chains.c.chain == entry.chain).with_for_update()
        ).one_or_none()
        count, previous = (place.records, place.head) if place is not None else (0, GENESIS)
        values: dict[str, str | int | None] = {"time": time_text(now)}
        values |= {field.name: getattr(entry, field.name) for field in fields(Entry)}
        values["decision"] = entry.decision.value
        head = seal(count + 1, values, previous)
        if place is None:
            connection.execute(
                chains.insert().values(
                    chain=entry.chain,
                    namespace=entry.owner or "",
                    dataset=entry.dataset or "",
                    records=count + 1,
                    head=head,
                )
            )
        else:
            connection.execute(
                chains.update().where(chains.c.chain == entry.chain).values(records=count + 1, head=head)
            )
        connection.execute(
            access.insert().values(chain=entry.chain, position=count + 1, previous=previous, hash=head, **values)
        )
        return head

    def page(self, namespace: str, before: int | None, limit: int, dataset: str | None) -> LedgerPage:
        """What `namespace` did and what was done with its datasets, newest first; `dataset`: only one of its own."""
        query = select(access).order_by(access.c.sequence.desc()).limit(min(max(limit, 1), MAX_PAGE))
        if dataset is not None:
            query = query.where(access.c.owner == namespace, access.c.dataset == dataset)
        else:
            query = query.where(or_(access.c.namespace == namespace, access.c.owner == namespace))
        if before is not None:
            query = query.where(access.c.sequence < before)
        with self._connection() as connection:
            records = [_record(row._mapping) for row in connection.execute(query)]
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
            records = (_sealed(row._mapping) for row in rows)
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

    def keep_usage(self, **values: str | int) -> None:
        """Stores what an attempt used, once: the same again replaces it. Columns as in the table, `time` apart."""
        self._upsert(
            usage, values, {name: value for name, value in values.items() if name not in ("task_uid", "attempt")}
        )

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


def time_text(now: dt.datetime) -> str:
    """As the ledger writes times: RFC 3339, UTC, milliseconds."""
    return now.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _sealed(row: RowMapping) -> Sealed:
    return Sealed(row["position"], {name: row[name] for name in SEALED_FIELDS}, row["previous"], row["hash"])


def _record(row: RowMapping) -> LedgerRecord:
    names = LedgerRecord.model_fields.keys() - {"dataset", "task"}
    dataset = f"{row['owner']}/{row['dataset']}" if row["dataset"] else None
    task = f"{row['namespace']}/{row['task']}" if row["task"] else None
    return LedgerRecord(dataset=dataset, task=task, **{name: row[name] for name in names})
