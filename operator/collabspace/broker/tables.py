"""The ledger's tables. History lives here, outlives every object, and is only ever added to.

`checkpoints` and `owners` are no history: they say what the store holds, and change with it. Nor is `open_sessions`:
it says which sessions are open at which broker. `replicas`, `news` and `turns` are what brokers on one ledger tell each
other. A change of anything here is a step in schema.py.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

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

schema = Table("schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

replicas = Table(
    "replicas",
    metadata,
    Column("replica", String(32), primary_key=True),
    Column("beat", BigInteger, nullable=False, comment="Grows while the broker lives; the others watch it."),
    Column("heard", BigInteger, nullable=False, comment="Of the news: the last one that it has taken in."),
)

news = Table(
    "news",
    metadata,
    Column("sequence", Number, primary_key=True, autoincrement=True),
    Column("replica", String(32), nullable=False, comment="Which did it, and need not hear of it."),
    Column("uid", String(64), nullable=False, comment="Task or storage of which something changed."),
    Column("progress", Text, comment="What an attempt reported, as JSON; it is kept nowhere else."),
    sqlite_autoincrement=True,
)

turns = Table(
    "turns",
    metadata,
    Column("storage", String(64), primary_key=True, comment="What is stored under it is being changed."),
    Column("replica", String(32), ForeignKey("replicas.replica", ondelete="CASCADE"), nullable=False),
)

open_sessions = Table(
    "open_sessions",
    metadata,
    Column("session", String(32), primary_key=True),
    Column("sequence", Number, ForeignKey("access.sequence"), nullable=False, comment="Of the record that opened it."),
    Column("replica", String(32), ForeignKey("replicas.replica", ondelete="SET NULL"), comment="Empty: it is gone."),
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
