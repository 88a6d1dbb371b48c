"""Broker, ledger and store may be away in the middle of anything: clients wait and go on, and nothing half is seen."""

import asyncio
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
from broker_harness import BrokerProcess, World, awaited, contents, log_events
from forwarder import Forwarder, forwarding
from large_model import WEIGHTS, prepared_model, pushed_model
from published_notes import Published, prepared, pushed
from store_places import broker_sends, folder_only

from collabspace.api import names
from collabspace.client.client import BrokerClient

PATIENCE = 120.0


def through(broker: BrokerProcess, line: Forwarder, token: str) -> BrokerClient:
    return BrokerClient(f"https://127.0.0.1:{line.port}", lambda: token, broker.ca, patience=PATIENCE)


def port_of(broker: BrokerProcess) -> int:
    return int(broker.url.rpartition(":")[2])


def crash(broker: BrokerProcess) -> None:
    broker.stop(signal.SIGKILL)
    broker.start()


def said(broker: BrokerProcess, **fields: object) -> bool:
    return any(fields.items() <= event.items() for event in log_events(broker.log))


async def fetched(world: World, broker: BrokerProcess, model: Published, into: Path) -> None:
    """The version is whole and as it was pushed."""
    with broker.client(await world.token(model.owner, names.READER_ACCOUNT), patience=30.0) as client:
        manifest = await asyncio.to_thread(client.fetch_dataset, model.owner, "notes", None, into)
    assert contents(into, manifest) == contents(model.folder, model.manifest)


@broker_sends
async def test_a_download_goes_on_after_the_broker_was_killed_in_the_middle_of_a_file(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    model = await pushed_model(world, broker, tmp_path / "model")
    token = await world.token(model.owner, names.READER_ACCOUNT)
    async with forwarding(port_of(broker)) as line:
        line.when(8 << 20, lambda: crash(broker))
        with through(broker, line, token) as client:
            manifest = await asyncio.to_thread(client.fetch_dataset, model.owner, "notes", None, tmp_path / "got")
    assert contents(tmp_path / "got", manifest) == contents(model.folder, model.manifest)
    records = broker.rows("account = ?", names.READER_ACCOUNT)
    assert [row["event"] for row in records] == ["Opened", "Closed", "Opened", "Closed"]
    assert records[1]["reason"] == "BrokerRestarted", (
        "what a kill left open is closed at the start; then a new decision"
    )
    assert line.passed < model.manifest.size * 1.6, "what was there is not fetched again"


async def test_an_upload_goes_on_after_the_broker_was_killed_in_the_middle_of_a_file(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    model = await prepared_model(world, await world.team(), tmp_path / "model")
    half: list[bool] = []

    def kill() -> None:
        half.append(bool(broker.place.keys(f"{model.uid}/versions")))
        crash(broker)

    async with forwarding(port_of(broker)) as line:
        line.when(12 << 20, kill)
        with through(broker, line, await world.token(model.owner, names.PUBLISHER_ACCOUNT)) as client:
            committed = await asyncio.to_thread(client.push, model.target, model.manifest, model.folder)
    assert committed.created and half == [False]
    assert broker.staged(model.uid) == []
    await fetched(world, broker, model, tmp_path / "got")


@folder_only
async def test_what_a_killed_broker_left_half_written_is_gone_after_its_start(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    notes = await pushed(world, broker, tmp_path)
    leftover = broker.staging / notes.uid / "versions" / ".abc.partial"
    broker.stop(signal.SIGKILL)
    leftover.write_bytes(b'{"half": ')
    broker.start()
    assert not leftover.exists()
    await fetched(world, broker, notes, tmp_path / "got")


async def test_a_commit_waits_for_the_ledger_and_nothing_is_seen_before(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    notes = await prepared(world, await world.team(), tmp_path)
    with closing(sqlite3.connect(broker.ledger)) as connection:
        connection.execute("ALTER TABLE access RENAME TO away")
        connection.commit()
        with broker.client(await world.token(notes.owner, names.PUBLISHER_ACCOUNT), patience=PATIENCE) as client:
            pushing = asyncio.create_task(asyncio.to_thread(client.push, notes.target, notes.manifest, notes.folder))
            refused = {"route": "/v1/uploads/{upload}/commit", "status": 503, "reason": "LedgerUnavailable"}
            await asyncio.to_thread(awaited, lambda: said(broker, **refused), "no commit is refused")
            assert broker.place.keys(f"{notes.uid}/versions") == []
            connection.execute("ALTER TABLE away RENAME TO access")
            connection.commit()
            assert (await pushing).created
    assert [row["event"] for row in broker.rows("dataset_uid = ?", notes.uid)] == ["Published"]


@broker_sends
async def test_the_end_of_a_session_is_recorded_when_the_ledger_is_back(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    notes = await pushed(world, broker, tmp_path)
    http = broker.http(await world.token(notes.owner, names.READER_ACCOUNT))
    path = notes.manifest.files[0].path

    def read() -> str:
        session = str(http.post("/v1/sessions", json={"namespace": notes.owner, "name": "notes"}).json()["id"])
        http.get(f"/v1/sessions/{session}/files/{path}").raise_for_status()
        return session

    session = await asyncio.to_thread(read)
    with closing(sqlite3.connect(broker.ledger)) as connection:
        connection.execute("ALTER TABLE access RENAME TO away")
        connection.commit()
        answer = await asyncio.to_thread(http.delete, f"/v1/sessions/{session}")
        assert (answer.status_code, answer.json()["reason"]) == (503, "LedgerUnavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert "\ncollabspace_ledger_writable 0.0\n" in await asyncio.to_thread(broker.metrics)
        connection.execute("ALTER TABLE away RENAME TO access")
        connection.commit()
    http.close()
    broker.stop()
    (closed,) = broker.rows("event = 'Closed'")
    assert closed["bytes"] == notes.manifest.files[0].bytes
    broker.start()


@folder_only
async def test_a_store_that_fails_in_the_middle_cuts_the_stream_and_the_client_goes_on_when_it_is_back(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    model = await pushed_model(world, broker, tmp_path / "model")
    weights = next(file for file in model.manifest.files if file.path == WEIGHTS)
    blob, aside = broker.staging / model.uid / "blobs" / weights.sha256, tmp_path / "aside"

    def lose() -> None:
        shutil.copy(blob, aside)
        blob.chmod(0o600)
        with blob.open("r+b") as content:
            content.truncate(1 << 20)

    async with forwarding(port_of(broker)) as line:
        line.when(2 << 20, lose)
        with through(broker, line, await world.token(model.owner, names.READER_ACCOUNT)) as client:
            fetching = asyncio.create_task(
                asyncio.to_thread(client.fetch_dataset, model.owner, "notes", None, tmp_path / "got")
            )
            await asyncio.to_thread(awaited, lambda: said(broker, reason="StreamBroken"), "no stream breaks")
            await asyncio.to_thread(awaited, lambda: said(broker, status=503), "the retry is not told to wait")
            shutil.move(aside, blob)
            manifest = await fetching
    assert contents(tmp_path / "got", manifest) == contents(model.folder, model.manifest)


async def test_a_store_that_is_away_makes_readers_and_writers_wait(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    notes = await pushed(world, broker, tmp_path / "notes")
    more = await prepared(world, await world.team(), tmp_path / "more")
    await asyncio.to_thread(broker.place.take_away)
    reading = asyncio.create_task(waiting_fetch(world, broker, notes, tmp_path / "got"))
    with broker.client(await world.token(more.owner, names.PUBLISHER_ACCOUNT), patience=PATIENCE) as client:
        writing = asyncio.create_task(asyncio.to_thread(client.push, more.target, more.manifest, more.folder))
        for route in ("/v1/sessions", "/v1/uploads"):
            await asyncio.to_thread(awaited, lambda: told_to_wait(broker, route), f"{route} decides")  # noqa: B023
        await asyncio.to_thread(broker.place.give_back)
        assert (await writing).created
    await reading


def told_to_wait(broker: BrokerProcess, route: str) -> bool:
    """There or below: for moments a bucket that was seen lately lets an upload begin, and then refuses its bytes."""
    return any(
        (event.get("status"), event.get("reason")) == (503, "StoreUnavailable") and event["route"].startswith(route)
        for event in log_events(broker.log)
    )


async def waiting_fetch(world: World, broker: BrokerProcess, notes: Published, into: Path) -> None:
    with broker.client(await world.token(notes.owner, names.READER_ACCOUNT), patience=PATIENCE) as client:
        manifest = await asyncio.to_thread(client.fetch_dataset, notes.owner, "notes", None, into)
    assert contents(into, manifest) == contents(notes.folder, notes.manifest)


async def test_a_broker_without_its_store_does_not_take_an_empty_place_for_it(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    await pushed(world, broker, tmp_path / "notes")
    broker.stop()
    own, broker.environment = broker.environment, broker.environment | broker.place.elsewhere()
    broker.launch()
    assert "COLLABSPACE_BROKER_STORE" in await asyncio.to_thread(broker.lacks, "owners of stored data")
    broker.stop()
    broker.environment = own
    broker.start()
    with broker.http() as http:
        assert (await asyncio.to_thread(http.get, "/readyz")).status_code == httpx.codes.OK
