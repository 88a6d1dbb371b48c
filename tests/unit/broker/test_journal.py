"""Many callers, one ledger: every first refusal at once, a flood as one record, and never a loss in silence."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from ledger_backends import Backend

from collabspace.api import names
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import CLOSED, DENIED, OPENED, PUBLISHED, Entry, Ledger
from collabspace.broker.refusal import Undecided
from collabspace.client.protocol import Decision

DENIAL = Entry(DENIED, Decision.DENIED, "GrantMissing", namespace="out", account="t", dataset_uid="uid-notes")


class Desk:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.ledger = Ledger(backend.url)
        self.heard: list[Entry] = []
        self.journal = Journal(self.ledger, lambda entry, head, time: self.heard.append(entry))

    def rows(self) -> list[tuple[str, str, int]]:
        return self.backend.ask("SELECT event, reason, repeats FROM access ORDER BY sequence")


@pytest.fixture
async def desk(backend: Backend) -> AsyncIterator[Desk]:
    made = Desk(backend)
    made.journal.start()
    yield made
    await made.journal.close()
    made.ledger.close()


async def test_a_record_is_in_the_file_when_the_call_returns(desk: Desk) -> None:
    await desk.journal.record(DENIAL.but(event=OPENED))
    assert desk.rows() == [("Opened", "GrantMissing", 1)]


async def test_many_records_at_once_keep_their_order_and_make_one_good_chain(desk: Desk) -> None:
    entries = [DENIAL.but(event=PUBLISHED, bytes=number) for number in range(500)]
    hashes = await asyncio.gather(*(desk.journal.record(entry) for entry in entries))
    assert len(set(hashes)) == 500
    assert [entry.bytes for entry in desk.heard] == list(range(500))
    verdict = desk.ledger.verify("uid-notes")
    assert (verdict.ok, verdict.records, verdict.head) == (True, 500, hashes[-1])


async def test_a_flood_of_equal_refusals_is_one_record_and_its_count(desk: Desk) -> None:
    await asyncio.gather(*(desk.journal.deny(DENIAL) for _ in range(1000)))
    assert desk.rows() == [("Denied", "GrantMissing", 1)]
    await desk.journal.settle_floods(all_of_them=True)
    assert desk.rows() == [("Denied", "GrantMissing", 1), ("Denied", "GrantMissing", 999)]


async def test_refusals_that_differ_have_a_record_each_at_once(desk: Desk) -> None:
    changed = [{"reason": "GrantExpired"}, {"namespace": "b"}, {"account": names.READER_ACCOUNT}, {"dataset_uid": "x"}]
    for changes in ({}, *changed):
        await desk.journal.deny(DENIAL.but(**changes))
    assert len(desk.rows()) == 5


async def test_what_was_only_counted_is_written_at_the_end(backend: Backend) -> None:
    desk = Desk(backend)
    desk.journal.start()
    for _ in range(3):
        await desk.journal.deny(DENIAL)
    await desk.journal.close()
    desk.ledger.close()
    assert [row[2] for row in desk.rows()] == [1, 2]


async def test_without_a_ledger_nobody_gets_an_answer_and_afterwards_all_goes_on(desk: Desk) -> None:
    desk.backend.change(("ALTER TABLE access RENAME TO away", ()))
    answers = await asyncio.gather(
        desk.journal.record(DENIAL),
        desk.journal.deny(DENIAL),
        desk.journal.deny(DENIAL),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [Undecided, Undecided, Undecided]
    desk.backend.change(("ALTER TABLE away RENAME TO access", ()))
    await desk.journal.deny(DENIAL)
    assert [row[0] for row in desk.rows()] == ["Denied"]


@pytest.mark.parametrize("field", ["account", "pod", "task", "token_id", "claimed_by", "version"])
async def test_a_count_says_only_what_all_it_stands_for_have_in_common(desk: Desk, field: str) -> None:
    for value in ("a", "b", "c"):
        await desk.journal.deny(DENIAL.but(pod_uid="p", **{field: value}))
    await desk.journal.settle_floods(all_of_them=True)
    first, rest = desk.heard
    assert (getattr(first, field), first.repeats) == ("a", 1)
    assert (getattr(rest, field) or None, rest.pod_uid, rest.repeats) == (None, "p", 2)


async def test_ten_thousand_refusals_of_many_accounts_are_two_rows_that_say_how_many(desk: Desk) -> None:
    await asyncio.gather(*(desk.journal.deny(DENIAL.but(account=f"made-{number}")) for number in range(10_000)))
    await desk.journal.settle_floods(all_of_them=True)
    assert [row[2] for row in desk.rows()] == [1, 9_999]


async def test_what_a_dead_broker_left_open_is_closed_at_the_start_of_the_next_and_heard_of(backend: Backend) -> None:
    dead = Desk(backend)
    dead.journal.start()
    opened = DENIAL.but(event=OPENED, decision=Decision.ALLOWED, reason="Granted")
    await dead.journal.record(opened)
    for _ in range(2):
        backend.change(("DELETE FROM replicas", ()))
        desk = Desk(backend)
        desk.journal.start()
        await desk.journal.close()
        desk.ledger.close()
        heard = [(entry.event, entry.reason, entry.bytes, entry.session) for entry in desk.heard]
        assert heard in ([("Closed", "BrokerRestarted", None, opened.session)], [])
    assert [row[:2] for row in desk.rows()] == [("Opened", "Granted"), ("Closed", "BrokerRestarted")]
    await dead.journal.record(opened.but(event=CLOSED, bytes=7))
    assert len(desk.rows()) == 2, "a Closed said twice is on record once"
    await dead.journal.close()
    dead.ledger.close()
