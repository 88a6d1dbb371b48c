"""What the broker remembers of what it stores: the same before and after a restart, and always the newest first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from ledger_backends import Backend

from collabspace.api.dataset import DeletionPolicy
from collabspace.broker.custody import CheckpointRow, Custody, Owner, OwnerKind, all_checkpoints, all_owners
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import Ledger
from postgres_server import PostgresSchema, PostgresServer

ROW = CheckpointRow("uid-t", "sha256:" + "1" * 64, "lab", "ner", "a" * 64, 10, 1, "2026-01-01T00:00:00Z")
NOTES = Owner("uid-a", "uid-a", OwnerKind.DATASET, "hospital", "notes", DeletionPolicy.DELETE)


@asynccontextmanager
async def custody(backend: Backend | PostgresSchema) -> AsyncIterator[Custody]:
    """As a broker has it after its start."""
    ledger = Ledger(backend.url)
    journal = Journal(ledger, lambda *_: None)
    journal.start()
    found = Custody(journal)
    found.restore(all_owners(ledger), all_checkpoints(ledger))
    try:
        yield found
    finally:
        await journal.close()
        ledger.close()


def digests(of: Custody) -> list[str]:
    return [row.digest[-1] for row in of.checkpoints("uid-t")]


async def test_checkpoints_are_newest_first_by_their_commits_and_not_by_step_or_clock(backend: Backend) -> None:
    later = replace(ROW, digest="sha256:" + "2" * 64, step=20)
    back = replace(ROW, digest="sha256:" + "3" * 64, step=5, created="2025-01-01T00:00:00Z")
    async with custody(backend) as held:
        for row in (ROW, later, back):
            await held.keep_checkpoint(row)
        assert digests(held) == ["3", "2", "1"]
        await held.keep_checkpoint(later)
        assert digests(held) == ["3", "2", "1"], "the same again changes nothing"
        await held.keep_checkpoint(replace(ROW, attempt=2))
        assert digests(held) == ["1", "3", "2"], "of another attempt it is the newest again"
        await held.drop_checkpoints("uid-t", {later.digest})
    async with custody(backend) as held:
        assert digests(held) == ["1", "3"]
        await held.forget("uid-t")
    async with custody(backend) as held:
        assert digests(held) == []


async def test_what_was_given_belongs_to_the_last_one_it_was_given_to(backend: Backend) -> None:
    second, third = (replace(NOTES, storage=uid, uid=uid, deletion_policy=None) for uid in ("uid-b", "uid-c"))
    async with custody(backend) as held:
        await held.remember(NOTES)
        await held.give("uid-a", second)
        assert (held.storages("uid-b"), held.storages("uid-a")) == (["uid-b", "uid-a"], ["uid-a"])
        await held.give("uid-b", third)
    async with custody(backend) as held:
        assert held.storages("uid-c")[0] == "uid-c", "what is its own comes first"
        assert sorted(held.storages("uid-c")) == ["uid-a", "uid-b", "uid-c"]
        given = held.owner("uid-a")
        assert given is not None and (given.uid, given.deletion_policy) == ("uid-c", None)


async def test_of_a_commit_and_a_removal_one_waits_for_the_other(backend: Backend) -> None:
    async with custody(backend) as held:
        async with held.lock("uid-a"):
            assert held.lock("uid-a").locked() and not held.lock("uid-b").locked()
            waiting = asyncio.create_task(turn(held, "uid-a"))
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting


async def turn(held: Custody, storage: str) -> None:
    async with held.lock(storage):
        return


async def test_of_two_brokers_one_changes_a_storage_at_a_time_and_knows_what_the_other_did(
    postgres: PostgresServer,
) -> None:
    schema = postgres.schema()
    async with custody(schema) as one, custody(schema) as other:
        learnt: list[str] = []

        async def learn(storage: str) -> None:
            learnt.append(storage)

        other.turns.refresh = learn
        async with one.lock("uid-a"):
            waiting = asyncio.create_task(turn(other, "uid-a"))
            await turn(other, "uid-b")
            await one.remember(NOTES)
            assert not waiting.done() and learnt == ["uid-b"]
        await waiting
        assert learnt == ["uid-b", "uid-a"]
        await turn(one, "uid-a")
