"""Whatever is done to the ledger behind its back is found, and the first bad record is named."""

import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_backends import Backend, Statement, restored, saved

from collabspace.broker.chain import GENESIS
from collabspace.broker.ledger import (
    CLOSED,
    DECISIONS,
    DENIED,
    OPENED,
    PUBLISHED,
    USED,
    AttemptRow,
    Entry,
    Ledger,
    LedgerUnavailableError,
    time_text,
)
from collabspace.client.protocol import Decision
from collabspace.kube import clock

ENTRY = Entry(PUBLISHED, Decision.ALLOWED, "Granted", namespace="lab", account="reader")
ABOUT = ENTRY.but(owner="hospital", dataset="notes", dataset_uid="uid-notes", version="sha256:" + "0" * 64)
COLUMNS = ("time", "event", "decision", "reason", "namespace", "account", "purpose", "bytes", "repeats", "version")
LENGTH = 8


@pytest.fixture
def ledger(backend: Backend) -> Iterator[Ledger]:
    made = Ledger(backend.url)
    yield made
    made.close()


def write(ledger: Ledger) -> None:
    """One chain of LENGTH records and another one beside it."""
    for number in range(LENGTH):
        ledger.append([ABOUT.but(bytes=number), ENTRY.but(reason=f"Other{number}")], clock.now())


@dataclass(frozen=True)
class Tampered:
    """Records that are tampered with again and again, and someone who only checks them."""

    backend: Backend
    reader: Ledger

    def change(self, *statements: Statement) -> None:
        """To records that were untouched until now."""
        restored(self.backend)
        self.backend.change(*statements)

    def problem(self, chain: str = "uid-notes", heads: tuple[str, ...] = ()) -> str | None:
        verdict = self.reader.verify(chain, heads)
        assert verdict.ok == (verdict.problem is None)
        return verdict.problem


@pytest.fixture(scope="module")
def records(shared_backend: Backend) -> Iterator[Tampered]:
    writer = Ledger(shared_backend.url)
    write(writer)
    writer.close()
    saved(shared_backend)
    reader = Ledger(shared_backend.url, create=False)
    yield Tampered(shared_backend, reader)
    reader.close()


def test_an_untouched_chain_is_good_and_ends_at_its_head(ledger: Ledger) -> None:
    write(ledger)
    head = ledger.append([ABOUT], clock.now())[-1]
    verdict = ledger.verify("uid-notes", [head])
    assert (verdict.ok, verdict.records, verdict.head) == (True, LENGTH + 1, head)


def test_a_chain_without_records_is_good(ledger: Ledger) -> None:
    verdict = ledger.verify("uid-none")
    assert (verdict.ok, verdict.records, verdict.head) == (True, 0, GENESIS)


@settings(max_examples=40, deadline=None)
@given(position=st.integers(1, LENGTH), column=st.sampled_from(COLUMNS))
def test_a_changed_field_is_found_and_its_record_named(records: Tampered, position: int, column: str) -> None:
    change = f"UPDATE access SET {column} = '4711' WHERE chain = 'uid-notes' AND position = ?"
    records.change((change, (position,)))
    assert records.problem() == f"record {position}: edited or moved; its content does not fit its hash"
    assert records.problem(DECISIONS) is None


@settings(max_examples=20, deadline=None)
@given(position=st.integers(1, LENGTH - 1))
def test_a_removed_record_is_found_and_named(records: Tampered, position: int) -> None:
    records.change(("DELETE FROM access WHERE chain = 'uid-notes' AND position = ?", (position,)))
    assert records.problem() == f"record {position}: removed"


@settings(max_examples=20, deadline=None)
@given(position=st.integers(1, LENGTH - 1))
def test_a_removed_record_whose_followers_moved_up_is_found_and_named(records: Tampered, position: int) -> None:
    records.change(
        ("DELETE FROM access WHERE chain = 'uid-notes' AND position = ?", (position,)),
        ("UPDATE access SET position = -position WHERE chain = 'uid-notes' AND position > ?", (position,)),
        ("UPDATE access SET position = -position - 1 WHERE position < 0", ()),
    )
    found = records.problem()
    assert found is not None and found.startswith(f"record {position}:")


@settings(max_examples=40, deadline=None)
@given(places=st.lists(st.integers(1, LENGTH), min_size=2, max_size=2, unique=True))
def test_swapped_records_are_found_and_the_first_one_named(records: Tampered, places: list[int]) -> None:
    first, second = sorted(places)
    move = "UPDATE access SET position = ? WHERE chain = 'uid-notes' AND position = ?"
    records.change((move, (0, first)), (move, (first, second)), (move, (second, 0)))
    found = records.problem()
    assert found is not None and found.startswith(f"record {first}:")


@settings(max_examples=20, deadline=None)
@given(left=st.integers(0, LENGTH - 1))
def test_a_chain_cut_off_is_found_and_the_first_missing_record_named(records: Tampered, left: int) -> None:
    records.change(("DELETE FROM access WHERE chain = 'uid-notes' AND position > ?", (left,)))
    found = records.problem()
    assert found is not None and found.startswith(f"record {left + 1}: removed from the end")


@settings(max_examples=20, deadline=None)
@given(left=st.integers(1, LENGTH - 1))
def test_a_cut_that_also_corrects_the_table_of_chains_is_found_by_a_head_known_elsewhere(
    records: Tampered, left: int
) -> None:
    restored(records.backend)
    ((head,),) = records.backend.ask("SELECT head FROM chains WHERE chain = 'uid-notes'")
    cut(records.backend, left)
    assert records.problem() is None, "the database alone cannot show it"
    found = records.problem(heads=(head,))
    assert found is not None and found.startswith(f"record {left + 1}: a head known from elsewhere")


def cut(backend: Backend, left: int) -> None:
    """Removes the end of the chain and makes the table of chains agree."""
    backend.change(
        ("DELETE FROM access WHERE chain = 'uid-notes' AND position > ?", (left,)),
        (
            "UPDATE chains SET records = ?, head = (SELECT hash FROM access WHERE chain = 'uid-notes' "
            "AND position = ?) WHERE chain = 'uid-notes'",
            (left, left),
        ),
    )


def test_a_process_remembers_the_head_it_wrote(ledger: Ledger, backend: Backend) -> None:
    for _ in range(3):
        ledger.append([ABOUT], clock.now())
    cut(backend, 2)
    verdict = ledger.verify("uid-notes")
    assert verdict.problem is not None and verdict.problem.startswith("record 3: a head known from elsewhere")


def test_a_record_written_by_someone_else_is_found(records: Tampered) -> None:
    left_out = ('"sequence"', '"position"')
    others = ", ".join(name for name in records.backend.columns("access") if name not in left_out)
    records.change(
        (
            f"INSERT INTO access (sequence, position, {others}) SELECT 4711, {LENGTH + 1}, {others} FROM access "
            f"WHERE chain = 'uid-notes' AND position = {LENGTH}",
            (),
        ),
    )
    found = records.problem()
    assert found is not None and found.startswith(f"record {LENGTH + 1}:")


def test_records_of_many_threads_make_one_good_chain(ledger: Ledger) -> None:
    threads = [
        threading.Thread(target=lambda: [ledger.append([ABOUT], clock.now()) for _ in range(10)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = ledger.verify("uid-notes")
    assert (verdict.ok, verdict.records) == (True, 40)


def test_a_namespace_sees_what_it_did_and_what_was_done_with_its_data_and_nothing_else(ledger: Ledger) -> None:
    ledger.append([ABOUT, ENTRY.but(namespace="third", dataset_uid="uid-x", owner="fourth", dataset="x")], clock.now())
    assert [record.namespace for record in ledger.page("lab", None, 10, None).records] == ["lab"]
    assert [record.namespace for record in ledger.page("hospital", None, 10, None).records] == ["lab"]
    assert ledger.page("hospital", None, 10, "notes").records[0].dataset == "hospital/notes"
    assert ledger.page("lab", None, 10, "notes").records == [], "a dataset of that name in another namespace"
    assert set(ledger.chains_of("hospital")) == {"uid-notes"}
    assert set(ledger.chains_of("third")) == set()


def test_pages_go_back_in_time_without_gap_or_repetition(ledger: Ledger) -> None:
    for number in range(7):
        ledger.append([ABOUT.but(bytes=number)], clock.now())
    seen: list[int | None] = []
    before: int | None = None
    while True:
        page = ledger.page("lab", before, 3, None)
        seen += [record.bytes for record in page.records]
        before = page.next
        if before is None:
            break
    assert seen == [6, 5, 4, 3, 2, 1, 0]


def test_counters_are_what_the_records_add_up_to(ledger: Ledger, backend: Backend) -> None:
    first, second, third = (ABOUT.but(event=OPENED, session=name) for name in ("one", "two", "three"))
    ledger.append([first, second, third], clock.now())
    ledger.append([first.but(event=CLOSED, bytes=10), second.but(event=CLOSED, bytes=5)], clock.now())
    ledger.append([ABOUT.but(event=DENIED, decision=Decision.DENIED, repeats=4)], clock.now())
    backend.change(("DELETE FROM replicas", ()))
    ((_, head),) = ledger.close_interrupted(clock.now())
    counted = ledger.counters()["uid-notes"]
    assert (counted.reads, counted.denials, counted.bytes_read, counted.head) == (3, 4, 15, head)


def test_every_session_is_closed_once_whoever_closes_it(ledger: Ledger, backend: Backend) -> None:
    entries = [ABOUT.but(event=OPENED, session=f"s{number}", owner=None, dataset_uid=None) for number in range(2)]
    entries += [ABOUT.but(event=OPENED, session=f"s{number}") for number in range(2, 4)]
    ledger.append(entries, clock.now())
    closed = entries[0].but(event=CLOSED, bytes=3)
    (head,) = ledger.append([closed], clock.now())
    assert head is not None and ledger.append([closed, closed], clock.now()) == [None, None]
    for expected in (["s1", "s2", "s3"], []):
        next_life = Ledger(backend.url)
        backend.change(("DELETE FROM replicas", ()))
        assert [entry.session for entry, _ in next_life.close_interrupted(clock.now())] == expected
        next_life.close()
    closings = "SELECT session, reason, bytes FROM access WHERE event = 'Closed' ORDER BY session"
    assert backend.ask(closings) == [
        ("s0", "Granted", 3),
        ("s1", "BrokerRestarted", None),
        ("s2", "BrokerRestarted", None),
        ("s3", "BrokerRestarted", None),
    ]
    assert all(ledger.verify(chain).ok for chain in ledger.every_chain())


def used(**changes: object) -> Entry:
    figures = {"task_uid": "t", "attempt": 1, "task": "ner", "gpu_seconds": 5, "cpu_seconds": 9, "reason": "Completed"}
    return ENTRY.but(event=USED, **figures | changes)


def test_usage_of_an_attempt_said_twice_is_recorded_once_also_after_a_restart(backend: Backend) -> None:
    for expected in (3, 0):
        ledger = Ledger(backend.url)
        said = [used(), used(), used(attempt=2), used(task_uid="u")]
        heads = [ledger.keep_usage(entry, clock.now()) for entry in said]
        assert sum(head is not None for head in heads) == expected
        verdict = ledger.verify(DECISIONS)
        assert (verdict.ok, verdict.records) == (True, 3)
        ledger.close()


def test_other_figures_for_an_attempt_are_a_correction_and_both_stay_on_record(ledger: Ledger) -> None:
    for entry in (used(), used(cpu_seconds=10), used(cpu_seconds=10), used(reason="UserError", cpu_seconds=10)):
        ledger.keep_usage(entry, clock.now())
    records = ledger.page("lab", None, 10, None).records
    assert [(record.cpu_seconds, record.reason) for record in records] == [
        (10, "UserError"),
        (10, "Completed"),
        (9, "Completed"),
    ]


def test_a_page_onward_goes_forward_in_time_from_a_moment_on(ledger: Ledger) -> None:
    start = clock.now()
    for number in range(5):
        moment = start + dt.timedelta(hours=number)
        ledger.append([ABOUT.but(event=DENIED, bytes=number), ENTRY.but(event=DENIED, namespace="third")], moment)
    since = time_text(start + dt.timedelta(hours=1))
    first = ledger.onward("lab", 0, 3, since)
    rest = ledger.onward("lab", first.next or 0, 3, since)
    assert [record.bytes for record in first.records] == [1, 2, 3]
    assert ([record.bytes for record in rest.records], rest.next) == ([4], None)
    assert ledger.onward("hospital", 0, 10, "").records[0].bytes == 0
    assert ledger.onward("fourth", 0, 10, "").records == []


def test_a_database_of_another_release_is_refused_and_its_missing_column_named(
    ledger: Ledger, backend: Backend
) -> None:
    backend.change(("ALTER TABLE access DROP COLUMN session", ()))
    for create in (True, False):
        with pytest.raises(LedgerUnavailableError, match="table access has no column session"):
            Ledger(backend.url, create=create)


def test_end_and_result_of_an_attempt_do_not_overwrite_each_other(ledger: Ledger) -> None:
    ledger.keep_attempt(AttemptRow("t", 1, "lab", "ner", result="R"))
    ledger.keep_attempt(AttemptRow("t", 1, "lab", "ner", end="E"))
    assert ledger.attempts() == [AttemptRow("t", 1, "lab", "ner", end="E", result="R")]


def test_the_first_end_that_was_said_stays(ledger: Ledger) -> None:
    ledger.keep_attempt(AttemptRow("t", 1, "lab", "ner", end="first"))
    kept = ledger.keep_attempt(AttemptRow("t", 1, "lab", "ner", end="second", result="R"))
    assert (kept.end, kept.result) == ("first", "R")


def test_a_ledger_that_cannot_be_written_says_so(ledger: Ledger, backend: Backend) -> None:
    backend.change(("ALTER TABLE access RENAME TO away", ()))
    with pytest.raises(LedgerUnavailableError):
        ledger.append([ABOUT], clock.now())


def test_odd_and_long_words_of_one_caller_keep_no_record_from_being_written(ledger: Ledger) -> None:
    odd = ABOUT.but(claimed_by="a\0b\ud800" + "x" * 400, reason="r" * 100)
    ledger.append([ABOUT, odd, ABOUT], clock.now())
    assert ledger.verify("uid-notes").records == 3
    kept = ledger.page("lab", None, 3, None).records[1]
    assert kept.claimed_by == ("a\ufffdb?" + "x" * 400)[:256] and kept.reason == "r" * 64
