"""The ledger's tables, and how their database is opened. History lives here, outlives every object, and is only ever
added to.

`checkpoints` and `owners` are no history: they say what the store holds, and change with it. Nor is `open_sessions`:
it says which sessions a broker that died has left open.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
)

BUSY_MILLISECONDS = 5_000
metadata = MetaData()
# SQLite gives row numbers only to a plain INTEGER key.
Number = BigInteger().with_variant(Integer, "sqlite")

chains = Table(
    "chains",
    metadata,
    Column("chain", String(64), primary_key=True),
    Column("namespace", String(63), nullable=False, default="", comment="Owner's namespace; empty: no dataset."),
    Column("dataset", String(253), nullable=False, default=""),
    Column("records", BigInteger, nullable=False),
    Column("head", String(64), nullable=False),
)

access = Table(
    "access",
    metadata,
    Column("sequence", Number, primary_key=True, autoincrement=True),
    Column("chain", String(64), ForeignKey("chains.chain"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("time", String(32), nullable=False),
    Column("event", String(16), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("namespace", String(63), nullable=False, comment="Proven by the token."),
    Column("account", String(253), nullable=False),
    Column("claimed_by", String(256), comment="Said by the caller, not proven."),
    Column("pod", String(253)),
    Column("pod_uid", String(64)),
    Column("node", String(253)),
    Column("token_id", String(128)),
    Column("task", String(253)),
    Column("task_uid", String(64)),
    Column("attempt", Integer),
    Column("on_behalf_of", String(63)),
    Column("owner", String(63), comment="Namespace of the dataset."),
    Column("dataset", String(253)),
    Column("dataset_uid", String(64)),
    Column("version", String(71)),
    Column("use", String(16)),
    Column("purpose", String(500)),
    Column("profile", String(63)),
    Column("grant", String(63)),
    Column("generation", BigInteger, comment="Of the dataset, when the grant was read."),
    Column("bytes", BigInteger, comment="Observed by the broker."),
    Column("gpu_seconds", BigInteger, comment="Of an attempt, as the operator reports it."),
    Column("cpu_seconds", BigInteger, comment="Of an attempt, as the operator reports it."),
    Column("session", String(32), comment="The same in the record that opens a session and in the one that closes it."),
    Column("repeats", BigInteger, nullable=False, comment="How many equal decisions this record stands for."),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    UniqueConstraint("chain", "position"),
    Index("access_namespace", "namespace", "sequence"),
    Index("access_owner", "owner", "sequence"),
    Index("access_attempt", "task_uid", "attempt", "event"),
)

open_sessions = Table(
    "open_sessions",
    metadata,
    Column("session", String(32), primary_key=True),
    Column("sequence", Number, ForeignKey("access.sequence"), nullable=False, comment="Of the record that opened it."),
)

attempts = Table(
    "attempts",
    metadata,
    Column("task_uid", String(64), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("task", String(253), nullable=False),
    Column("end", Text, comment="End record as JSON, the first one said."),
    Column("result", Text, comment="What was committed, as JSON."),
    PrimaryKeyConstraint("task_uid", "attempt"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("sequence", Number, primary_key=True, autoincrement=True, comment="Order of commits, whatever clocks say."),
    Column("task_uid", String(64), nullable=False),
    Column("digest", String(71), nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("task", String(253), nullable=False),
    Column("identity", String(64), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("created", String(32), nullable=False),
    UniqueConstraint("task_uid", "digest"),
)

owners = Table(
    "owners",
    metadata,
    Column("storage", String(64), primary_key=True, comment="uid under which the bytes lie, part of their digests."),
    Column("uid", String(64), nullable=False, comment="Object that they belong to now; another one after a rebind."),
    Column("kind", String(32), nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("name", String(253), nullable=False),
    Column("deletion_policy", String(16), comment="As last seen on the object; empty: never seen."),
)


def open_database(url: str) -> Engine:
    """The database at an SQLAlchemy URL; transactions that write say so by the option `ledger_writes`."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        _tune_sqlite(engine)
    return engine


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
