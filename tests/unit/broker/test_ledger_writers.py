"""Several brokers write to one ledger on PostgreSQL, which may go away in the middle: no gap, no fork, nothing lost."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from collabspace.broker.database import PATIENCE
from collabspace.broker.ledger import CLOSED, DENIED, OPENED, USED, AttemptRow, Entry, Ledger, LedgerUnavailableError
from collabspace.client.protocol import Decision
from collabspace.kube import clock
from ledger_writers import DATASETS, entry, write_at_once
from postgres_server import PostgresSchema, PostgresServer, running

USAGE = Entry(USED, Decision.ALLOWED, "Completed", namespace="lab", task="ner", task_uid="t", attempt=1, cpu_seconds=9)


@pytest.fixture
def schema(postgres: PostgresServer) -> PostgresSchema:
    return postgres.schema()


@pytest.fixture
def ledger(schema: PostgresSchema) -> Iterator[Ledger]:
    made = Ledger(schema.url)
    yield made
    made.close()


def together(*works: object) -> None:
    """All at once, each in a thread; all must succeed."""
    failed: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: object) -> None:
        start.wait(60)
        try:
            work()  # type: ignore[operator]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_eight_writers_at_once_make_one_unbroken_chain_for_each_dataset(schema: PostgresSchema, ledger: Ledger) -> None:
    write_at_once(schema.url, writers=8, transactions=25, together=4)
    verdicts = [ledger.verify(chain) for chain in ledger.every_chain()]
    assert len(verdicts) == DATASETS and all(verdict.ok for verdict in verdicts)
    assert sum(verdict.records for verdict in verdicts) == 800
    with schema.connect() as connection:
        written = connection.execute("SELECT account, count(*) FROM access GROUP BY account").fetchall()
    assert sorted(written) == [(f"writer-{number}", 100) for number in range(8)]


def test_brokers_that_start_at_once_make_the_tables_once(schema: PostgresSchema) -> None:
    made: list[Ledger] = []
    together(*[lambda: made.append(Ledger(schema.url)) for _ in range(4)])
    with schema.connect() as connection:
        assert connection.execute("SELECT count(*) FROM schema").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM replicas").fetchone() == (4,)
    for ledger in made:
        ledger.close()


def test_usage_and_the_end_of_a_session_said_to_two_brokers_at_once_are_on_record_once(
    schema: PostgresSchema, ledger: Ledger
) -> None:
    other = Ledger(schema.url)
    opened = entry(0, 0, 0).but(event=OPENED)
    for attempt in range(10):
        session = opened.but(session=f"s{attempt}")
        ledger.append([session], clock.now())
        usage, closing = USAGE.but(attempt=attempt + 1), session.but(event=CLOSED, bytes=5)
        together(
            *(
                lambda each=each: (each.keep_usage(usage, clock.now()), each.append([closing], clock.now()))  # noqa: B023
                for each in (ledger, other)
            )
        )
    other.close()
    events = [record.event for record in ledger.page("lab", None, 1_000, None).records]
    assert (events.count("Used"), events.count("Closed")) == (10, 10)
    assert all(ledger.verify(chain).ok for chain in ledger.every_chain())


def test_of_two_ends_of_an_attempt_one_stays_and_both_brokers_hear_it(schema: PostgresSchema, ledger: Ledger) -> None:
    other = Ledger(schema.url)
    kept: list[str | None] = []
    ends = {"first": ledger, "second": other}
    together(
        *(
            lambda end=end, each=each: kept.append(each.keep_attempt(AttemptRow("t", 1, "lab", "ner", end=end)).end)
            for end, each in ends.items()
        )
    )
    other.close()
    assert len(set(kept)) == 1 and kept[0] in ends


def test_a_reader_that_goes_onward_misses_no_record_that_was_numbered_early_and_committed_late(
    schema: PostgresSchema, ledger: Ledger
) -> None:
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        last = False
        while not last:
            last = done.is_set()
            page = ledger.onward("lab", max(seen, default=0), 1_000, "")
            seen.extend(record.sequence for record in page.records)

    reader = threading.Thread(target=read)
    reader.start()
    others = [Ledger(schema.url) for _ in range(3)]
    together(
        *(
            lambda each=each, dataset=dataset: [each.append([entry(n, 0, dataset)] * 3, clock.now()) for n in range(30)]
            for dataset, each in enumerate(others)
        )
    )
    done.set()
    reader.join()
    for other in others:
        other.close()
    assert len(seen) == len(set(seen)) == 270


def test_a_connection_that_is_cut_between_statements_costs_nothing(schema: PostgresSchema, ledger: Ledger) -> None:
    server = schema.server
    for number in range(3):
        ledger.append([entry(number, 0, 0)], clock.now())
        assert server.cut() >= 1
    assert ledger.verify("uid-0").records == 3


class Cutting(Ledger):
    """Its connection is cut when the records are written and not committed, or committed and nobody was told."""

    def __init__(self, schema: PostgresSchema, *, after_commit: bool) -> None:
        super().__init__(schema.url)
        self.schema, self.after_commit, self.left = schema, after_commit, 1

    def _batch(self, entries: object, now: object) -> object:
        batch = super()._batch(entries, now)  # type: ignore[arg-type]
        write = batch.write

        def cut(connection: object) -> object:
            hashes = write(connection)  # type: ignore[arg-type]
            if self.left:
                self.left -= 1
                raw = connection.connection.dbapi_connection  # type: ignore[attr-defined]
                if self.after_commit:
                    raw.commit()
                    raw.close()
                else:
                    self.schema.server.cut()
            return hashes

        batch.write = cut  # type: ignore[method-assign,assignment]
        return batch


@pytest.mark.parametrize("after_commit", [False, True])
def test_a_connection_that_breaks_at_the_commit_leaves_every_record_there_once(
    schema: PostgresSchema, after_commit: bool
) -> None:
    ledger = Cutting(schema, after_commit=after_commit)
    entries = [entry(1, 0, 0).but(event=OPENED), entry(2, 0, 1), entry(3, 0, 0)]
    hashes = ledger.append(entries, clock.now())
    assert ledger.left == 0
    assert ledger.verify("uid-0").head == hashes[2] and ledger.verify("uid-1").head == hashes[1]
    assert [record.bytes for record in ledger.page("lab", None, 10, None).records] == [3, 2, 1]
    ledger.close()


def test_nothing_acknowledged_is_lost_when_the_server_is_killed_and_all_goes_on_when_it_is_back() -> None:
    with running(fsync="on", synchronous_commit="off") as server:
        schema = server.schema()
        ledger = Ledger(schema.url)
        with ledger._database._engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
        heads = [ledger.append([entry(number, 0, 0)], clock.now())[0] for number in range(20)]
        server.stop(killed=True)
        for call in (
            lambda: ledger.append([entry(99, 0, 0)], clock.now()),
            ledger.counters,
            ledger.ping,
            lambda: ledger.verify("uid-0"),
        ):
            with pytest.raises(LedgerUnavailableError):
                call()
        server.start()
        verdict = ledger.verify("uid-0")
        assert (verdict.ok, verdict.records, verdict.head) == (True, 20, heads[-1])
        ledger.append([entry(20, 0, 0)], clock.now())
        assert ledger.verify("uid-0").records == 21
        ledger.close()


def test_one_broker_that_stands_still_in_a_transaction_does_not_keep_the_others_for_ever(
    schema: PostgresSchema, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.append([entry(0, 0, 0)], clock.now())
    monkeypatch.setitem(PATIENCE, "lock_timeout", "200ms")
    hasty = Ledger(schema.url)
    with schema.connect() as frozen:
        frozen.execute("BEGIN")
        frozen.execute("SELECT * FROM chains FOR UPDATE")
        with pytest.raises(LedgerUnavailableError, match="LockNotAvailable"):
            hasty.append([entry(1, 0, 0)], clock.now())
        frozen.execute("ROLLBACK")
    hasty.append([entry(1, 0, 0)], clock.now())
    assert ledger.verify("uid-0").records == 2
    hasty.close()


def test_no_error_shows_a_password_or_what_was_to_be_written(schema: PostgresSchema, ledger: Ledger) -> None:
    secret = schema.server.url(password="hunter2", passfile="/nowhere")
    with pytest.raises(LedgerUnavailableError) as refused:
        Ledger(secret)
    assert "password authentication failed" in str(refused.value) and "hunter2" not in str(refused.value)
    with schema.connect() as connection:
        connection.execute("ALTER TABLE access ADD CONSTRAINT never CHECK (event <> 'Denied')")
    with pytest.raises(LedgerUnavailableError) as failed:
        ledger.append([entry(1, 0, 0).but(event=DENIED, claimed_by="zqxmarker")], clock.now())
    assert "zqxmarker" not in str(failed.value)
    assert isinstance(failed.value.__cause__.orig, psycopg.errors.CheckViolation)  # type: ignore[union-attr]


def test_the_password_file_is_read_at_each_connecting(
    schema: PostgresSchema, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("secret") / "password"
    url = schema.url.replace("passfile=", "passfile=%2Fnowhere")
    for text, problem in (("wrong", "authentication failed"), (None, "password file cannot be read")):
        file.unlink(missing_ok=True) if text is None else file.write_text(text)
        with pytest.raises(LedgerUnavailableError, match=problem):
            Ledger(url, password_file=file)
    file.write_text(schema.server.passfile.read_text().strip().rpartition(":")[2] + "\n")
    Ledger(url, password_file=file).close()
