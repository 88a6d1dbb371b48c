"""A ledger of an older layout is brought up to date with all its records; one of a newer layout is left alone."""

import pytest
from ledger_backends import Backend, Sqlite

from collabspace.broker import schema
from collabspace.broker.chain import GENESIS, seal
from collabspace.broker.entries import values_of
from collabspace.broker.ledger import CLOSED, DECISIONS, OPENED, AttemptRow, Entry, Ledger, LedgerUnavailableError
from collabspace.broker.tables import metadata
from collabspace.client.protocol import Decision
from collabspace.kube import clock

# As release 0.1 wrote it, before layouts had numbers.
LAYOUT_0 = """
CREATE TABLE attempts (task_uid VARCHAR(64) NOT NULL, attempt INTEGER NOT NULL, namespace VARCHAR(63) NOT NULL,
    task VARCHAR(253) NOT NULL, "end" TEXT, result TEXT, PRIMARY KEY (task_uid, attempt));
CREATE TABLE chains (chain VARCHAR(64) NOT NULL, namespace VARCHAR(63) NOT NULL, dataset VARCHAR(253) NOT NULL,
    records BIGINT NOT NULL, head VARCHAR(64) NOT NULL, PRIMARY KEY (chain));
CREATE TABLE checkpoints (sequence SERIAL_KEY NOT NULL, task_uid VARCHAR(64) NOT NULL, digest VARCHAR(71) NOT NULL,
    namespace VARCHAR(63) NOT NULL, task VARCHAR(253) NOT NULL, identity VARCHAR(64) NOT NULL, step BIGINT NOT NULL,
    attempt INTEGER NOT NULL, created VARCHAR(32) NOT NULL, PRIMARY KEY (sequence), UNIQUE (task_uid, digest));
CREATE TABLE owners (storage VARCHAR(64) NOT NULL, uid VARCHAR(64) NOT NULL, kind VARCHAR(32) NOT NULL,
    namespace VARCHAR(63) NOT NULL, name VARCHAR(253) NOT NULL, deletion_policy VARCHAR(16), PRIMARY KEY (storage));
CREATE TABLE access (sequence SERIAL_KEY NOT NULL, chain VARCHAR(64) NOT NULL, position BIGINT NOT NULL,
    time VARCHAR(32) NOT NULL, event VARCHAR(16) NOT NULL, decision VARCHAR(16) NOT NULL, reason VARCHAR(64) NOT NULL,
    namespace VARCHAR(63) NOT NULL, account VARCHAR(253) NOT NULL, claimed_by VARCHAR(256), pod VARCHAR(253),
    pod_uid VARCHAR(64), node VARCHAR(253), token_id VARCHAR(128), task VARCHAR(253), task_uid VARCHAR(64),
    attempt INTEGER, on_behalf_of VARCHAR(63), owner VARCHAR(63), dataset VARCHAR(253), dataset_uid VARCHAR(64),
    version VARCHAR(71), "use" VARCHAR(16), purpose VARCHAR(500), profile VARCHAR(63), "grant" VARCHAR(63),
    generation BIGINT, bytes BIGINT, gpu_seconds BIGINT, cpu_seconds BIGINT, session VARCHAR(32),
    repeats BIGINT NOT NULL, previous VARCHAR(64) NOT NULL, hash VARCHAR(64) NOT NULL, PRIMARY KEY (sequence),
    UNIQUE (chain, position), FOREIGN KEY(chain) REFERENCES chains (chain));
CREATE INDEX access_owner ON access (owner, sequence);
CREATE INDEX access_attempt ON access (task_uid, attempt, event);
CREATE INDEX access_namespace ON access (namespace, sequence);
CREATE TABLE open_sessions (session VARCHAR(32) NOT NULL, sequence NUMBER NOT NULL, PRIMARY KEY (session),
    FOREIGN KEY(sequence) REFERENCES access (sequence));
"""
OPENING = Entry(
    OPENED, Decision.ALLOWED, "Granted", namespace="lab", account="reader", owner="hospital", dataset="notes",
    dataset_uid="uid-notes", session="left-open",
)  # fmt: skip
DECISION = Entry("Denied", Decision.DENIED, "TokenRefused")


def fill_layout_0(backend: Backend) -> None:
    """As the release before layouts had numbers left it when it was killed: with a session open."""
    number, key = ("INTEGER", "INTEGER") if isinstance(backend, Sqlite) else ("BIGINT", "BIGSERIAL")
    ddl = LAYOUT_0.replace("SERIAL_KEY", key).replace("NUMBER", number)
    backend.change(*((statement, ()) for statement in ddl.strip().split(";")[:-1]))
    for chain, entry in (("uid-notes", OPENING), (DECISIONS, DECISION)):
        head = GENESIS
        backend.change(("INSERT INTO chains VALUES (?, ?, ?, ?, ?)", (chain, entry.owner or "", "notes", 3, head)))
        for position in (1, 2, 3):
            values = values_of(entry.but(bytes=position), clock.now())
            row = {"chain": chain, "position": position, "previous": head, **values}
            head = row["hash"] = seal(position, values, head)
            columns, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
            backend.change((f"INSERT INTO access ({columns}) VALUES ({marks})", tuple(row.values())))
        backend.change(("UPDATE chains SET head = ? WHERE chain = ?", (head, chain)))
    backend.change(
        ("INSERT INTO open_sessions VALUES ('left-open', 3)", ()),
        ("INSERT INTO attempts VALUES ('t', 1, 'lab', 'ner', 'E', NULL)", ()),
        ("INSERT INTO owners VALUES ('uid-notes', 'uid-notes', 'SharedDataset', 'hospital', 'notes', NULL)", ()),
    )


def test_a_ledger_of_the_release_before_is_upgraded_with_all_that_is_in_it(backend: Backend) -> None:
    fill_layout_0(backend)
    reader = Ledger(backend.url, create=False)
    assert reader.verify("uid-notes").records == 3, "whoever only reads needs no upgrade"
    reader.close()
    for closed in (["left-open"], []):
        ledger = Ledger(backend.url)
        assert [entry.session for entry, _ in ledger.close_interrupted(clock.now())] == closed
        new = OPENING.but(session="new")
        ledger.append([new, DECISION, new.but(event=CLOSED)], clock.now())
        assert ledger.attempts() == [AttemptRow("t", 1, "lab", "ner", end="E")]
        assert all(ledger.verify(chain).ok for chain in ledger.every_chain())
        ledger.close()
    assert backend.ask("SELECT version FROM schema") == [(schema.VERSION,)]
    assert ledger_tables(backend) == {table.name for table in metadata.sorted_tables}


def ledger_tables(backend: Backend) -> set[str]:
    """Those of ours that are there with all their columns."""
    return {
        table.name
        for table in metadata.sorted_tables
        if {f'"{column.name}"' for column in table.columns} == set(backend.columns(table.name))
    }


def test_an_upgrade_that_fails_changes_nothing(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_layout_0(backend)

    def fail(_: object) -> None:
        raise LedgerUnavailableError("the second step fails")

    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, fail))
    with pytest.raises(LedgerUnavailableError, match="the second step fails"):
        Ledger(backend.url)
    assert '"replica"' not in backend.columns("open_sessions")
    monkeypatch.undo()
    Ledger(backend.url).close()
    assert '"replica"' in backend.columns("open_sessions")


@pytest.mark.parametrize("version", [schema.VERSION + 1, -1, None])
def test_a_ledger_of_a_newer_layout_is_refused_and_left_as_it_is(backend: Backend, version: int | None) -> None:
    Ledger(backend.url).close()
    backend.change(("DELETE FROM schema", ()))
    if version is not None:
        backend.change(("INSERT INTO schema VALUES (?)", (version,)))
    before = backend.ask("SELECT * FROM replicas")
    for create in (True, False):
        with pytest.raises(LedgerUnavailableError, match=r"schema is .*, this release knows up to"):
            Ledger(backend.url, create=create)
    assert backend.ask("SELECT * FROM replicas") == before
