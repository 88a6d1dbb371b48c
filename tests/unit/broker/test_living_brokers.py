"""Which brokers on one ledger live: the dead one's sessions are closed on record, a live one's never."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from collabspace.api.dataset import DeletionPolicy
from collabspace.api.run import EndRecord, Progress
from collabspace.broker import replicas
from collabspace.broker.custody import Owner, OwnerKind
from collabspace.broker.filesystem_store import FilesystemStore
from collabspace.broker.following import Following
from collabspace.broker.ledger import OPENED, AttemptRow, Ledger, LedgerUnavailableError
from collabspace.broker.parts import Parts
from collabspace.broker.replicas import Watch
from collabspace.broker.settings import load
from collabspace.client.protocol import AttemptFeed
from collabspace.kube import clock
from collabspace.kube.client import KubeClient
from collabspace.kube.config import Access
from ledger_writers import entry
from postgres_server import PostgresSchema, PostgresServer

NOTES = Owner("uid-0", "uid-0", OwnerKind.DATASET, "hospital", "notes-0", DeletionPolicy.DELETE)
OPENING = entry(0, 0, 0).but(event=OPENED)


@pytest.fixture
def schema(postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresSchema]:
    made = postgres.schema()
    for name in ("cert", "key"):
        (tmp_path / name).write_text("PEM")
        monkeypatch.setenv(f"COLLABSPACE_BROKER_TLS_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("COLLABSPACE_BROKER_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLLABSPACE_BROKER_LEDGER", made.url)
    yield made


@asynccontextmanager
async def broker() -> AsyncIterator[tuple[Parts, Following]]:
    """The parts of a broker that was started, and its following, which goes on when it is told to."""
    settings = load()
    store = FilesystemStore(settings.staging_folder)
    access = Access("https://127.0.0.1:1", None, lambda: None, "default", None, None, None)
    parts = Parts(settings, KubeClient(access), Ledger(settings.broker_ledger), store)
    await parts.start()
    try:
        yield parts, Following(parts)
    finally:
        await parts.close()


def test_only_who_has_not_counted_for_as_long_as_the_lease_is_taken_for_dead() -> None:
    watch = Watch(lease=60)
    assert watch.see({"a": 1, "b": 7}, 0.0) == {}
    assert watch.see({"a": 2, "b": 7}, 59.0) == {}
    assert watch.see({"a": 2, "b": 7}, 60.0) == {"b": 7}
    watch.blind()
    assert watch.see({"a": 2, "b": 7}, 200.0) == {}, "nobody could count while the ledger was away"
    assert watch.see({"a": 2, "b": 8}, 260.0) == {"a": 2}


async def test_a_broker_that_died_is_buried_its_session_closed_once_and_a_thawed_one_stops(
    schema: PostgresSchema,
) -> None:
    async with broker() as (frozen, thawing), broker() as (living, following), broker() as (third, _):
        await frozen.journal.record(OPENING)
        mine = OPENING.but(session="mine")
        await living.journal.record(mine)
        async with frozen.custody.lock("uid-x"):
            following._watch.lease = 1e-6
            for _ in range(2):
                following._beaten = float("-inf")
                third.ledger.write(lambda c: replicas.beat(c, third.ledger.replica, 0, ()))
                await following.follow()
            await asyncio.wait_for(taken(living, "uid-x"), 30)
        with schema.connect() as connection:
            closed = connection.execute("SELECT session, reason, bytes FROM access WHERE event = 'Closed'").fetchall()
            left = connection.execute("SELECT replica FROM replicas").fetchall()
        assert closed == [(OPENING.session, "BrokerRestarted", None)]
        assert sorted(left) == sorted([(living.ledger.replica,), (third.ledger.replica,)])
        with pytest.raises(LedgerUnavailableError):
            frozen.ledger.append([OPENING.but(session="later")], clock.now())
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        await thawing.follow()
        await asyncio.wait_for(told.wait(), 30)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        assert living.ledger.verify("uid-0").ok


async def taken(parts: Parts, storage: str) -> None:
    async with parts.custody.lock(storage):
        return


async def test_a_broker_takes_in_what_another_one_did_and_news_that_all_have_heard_are_forgotten(
    schema: PostgresSchema,
) -> None:
    async with broker() as (one, first), broker() as (other, following):
        await one.journal.record(OPENING.but(event="Denied", repeats=3))
        await one.custody.remember(NOTES)
        end = EndRecord(code=0, reason="Completed")
        row = AttemptRow("uid-t", 2, "lab", "ner", end=end.model_dump_json(by_alias=True))
        one.ledger.keep_attempt(row)
        told = AttemptFeed(task_uid="uid-t", attempt=2, progress=Progress(step=7, total_steps=9))
        await one.journal.tell("uid-t", told.model_dump_json(by_alias=True))
        await following.follow()
        feed = await other.knowledge.feed("", 0)
        assert other.custody.owner("uid-0") == NOTES
        assert [(known.uid, known.denials) for known in feed.datasets if known.denials] == [("uid-0", 3)]
        (attempt,) = feed.attempts
        assert (attempt.attempt, attempt.end) == (2, end)
        assert attempt.progress is not None and attempt.progress.step == 7
        assert (await other.knowledge.feed(feed.cursor, 0)).attempts == []
        await following.follow()
        assert (await other.knowledge.feed(feed.cursor, 0)).attempts == [], "the same again is no news"
        await other.custody.forget("uid-0")
        await other.custody.remember(replace(NOTES, storage="uid-1"))
        await first.follow()
        assert one.custody.owner("uid-0") is None and one.custody.owner("uid-1") is not None
        # A beat says what was heard before it, and the last one to say so finds that all have.
        for each in (first, following, first, following):
            each._beaten = float("-inf")
            await each.follow()
    with schema.connect() as connection:
        assert connection.execute("SELECT count(*) FROM news").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM replicas").fetchone() == (0,)
