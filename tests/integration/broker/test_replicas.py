"""The broker on PostgreSQL: through an outage of the database, and two of them on one ledger and one store."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from broker_harness import MARKER, BrokerProcess, Pin, World, awaited, contents, raw_manifest, written
from postgres_ledger import rows, settings, verified
from published_notes import prepared, pushed
from store_places import Place

from collabspace.api import names
from collabspace.api.run import EndRecord, Progress
from collabspace.client.errors import BrokerError
from collabspace.client.protocol import UploadTarget, Usage
from postgres_server import PASSWORD, PostgresServer, running

PATIENCE = 120.0
END = EndRecord(code=0, reason="Completed")


async def test_readers_are_told_to_come_back_while_the_database_is_away_and_nothing_is_lost(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    with running(fsync="on") as server:
        schema = server.schema()
        broker = make_broker(**settings(schema, tmp_path))
        notes = await pushed(world, broker, tmp_path / "notes")
        token = await world.token(notes.owner, names.READER_ACCOUNT)
        with broker.http(token) as http:
            wish = {"namespace": notes.owner, "name": "notes"}
            session = (await asyncio.to_thread(http.post, "/v1/sessions", json=wish)).json()["id"]
            await asyncio.to_thread(server.stop, killed=True)
            calls = (("POST", "/v1/sessions"), ("GET", "/v1/ledger"), ("DELETE", f"/v1/sessions/{session}"))
            for method, path in (*calls, ("GET", "/readyz")):
                body = wish if method == "POST" else None
                answer = await asyncio.to_thread(http.request, method, path, json=body)
                assert (answer.status_code, answer.json()["reason"]) == (503, "LedgerUnavailable"), path
                assert int(answer.headers["Retry-After"]) > 0
        with broker.client(token, patience=PATIENCE) as client:
            waiting = asyncio.create_task(
                asyncio.to_thread(client.fetch_dataset, notes.owner, "notes", None, tmp_path / "got")
            )
            await asyncio.to_thread(server.start)
            assert contents(tmp_path / "got", await waiting) == contents(notes.folder, notes.manifest)
        await asyncio.to_thread(server.cut)
        with broker.client(token) as client:
            assert (await asyncio.to_thread(client.verify_ledger)).ok
        broker.stop()
        events = [event for (event,) in rows(schema, "event")]
        assert (events.count("Published"), events.count("Opened"), events.count("Closed")) == (1, 2, 2)
        assert await asyncio.to_thread(verified, schema.url) == (0, f"{notes.uid}: 5 records, intact")
        log = broker.log.read_text()
        assert PASSWORD not in log and MARKER not in log


async def test_two_brokers_on_one_ledger_know_what_the_other_did_and_leave_its_sessions_alone(
    world: World,
    make_broker: Callable[..., BrokerProcess],
    make_place: Callable[[], Place],
    postgres: PostgresServer,
    tmp_path: Path,
) -> None:
    schema = postgres.schema()
    place, ledger = make_place(), settings(schema, tmp_path)
    one, other = make_broker(place, **ledger), make_broker(place, **ledger)
    notes = await pushed(world, one, tmp_path / "notes")
    reader = await world.token(notes.owner, names.READER_ACCOUNT)

    def opened(broker: BrokerProcess) -> str | None:
        with broker.http(reader) as http:
            answer = http.post("/v1/sessions", json={"namespace": notes.owner, "name": "notes"})
        return str(answer.json()["id"]) if answer.status_code == 201 else None

    await asyncio.to_thread(awaited, lambda: opened(other), "the other broker does not hear of the version")
    session = await asyncio.to_thread(opened, one)
    other.stop(signal.SIGKILL)
    other.start()
    with one.http(reader) as http:
        file = notes.manifest.files[0]
        (await asyncio.to_thread(http.get, f"/v1/sessions/{session}/files/{file.path}")).raise_for_status()
        assert (await asyncio.to_thread(http.delete, f"/v1/sessions/{session}")).status_code < 300
    closed = rows(schema, "reason, bytes", "event = 'Closed'")
    assert ("Own", file.bytes) in closed and "BrokerRestarted" not in [reason for reason, _ in closed]

    pod = await world.trainer(notes.owner, [Pin(notes.owner, notes.uid, notes.digest)])
    operator = await world.token(names.SYSTEM_NAMESPACE, names.OPERATOR_ACCOUNT)
    target = UploadTarget(kind="Result", namespace=pod.namespace, name="ner", uid=pod.task.uid, attempt=1)
    files = {"report.json": b"{}"}
    manifest = raw_manifest(pod.task.uid, files)
    token = await pod.token()
    with one.client(token) as first, other.client(token) as second, other.client(operator) as asking:
        await asyncio.to_thread(first.push, target, manifest, written(tmp_path / "result", files))
        await asyncio.to_thread(first.report_progress, pod.task.uid, 1, Progress(step=7, total_steps=9))
        await asyncio.to_thread(first.end_attempt, pod.task.uid, 1, END)
        await asyncio.to_thread(second.end_attempt, pod.task.uid, 1, END)
        with pytest.raises(BrokerError, match="ended already"):
            await asyncio.to_thread(second.end_attempt, pod.task.uid, 1, END.model_copy(update={"code": 1}))

        def heard() -> bool:
            feed = asking.feed("", 0)
            return any(
                known.task_uid == pod.task.uid
                and known.result is not None
                and known.result.digest == manifest.digest
                and known.end == END
                and known.progress is not None
                and known.progress.step == 7
                for known in feed.attempts
            ) and any(known.uid == notes.uid and known.reads >= 2 for known in feed.datasets)

        await asyncio.to_thread(awaited, heard, "the feed of the other broker lacks what the first one was told")
        usage = Usage(namespace=pod.namespace, task="ner", gpu_seconds=1, cpu_seconds=2, outcome="Completed")
        await asyncio.to_thread(asking.report_usage, pod.task.uid, 1, usage)
        with one.client(operator) as asking_one:
            await asyncio.to_thread(asking_one.report_usage, pod.task.uid, 1, usage)
    assert len(rows(schema, "1", "event = 'Used'")) == 1
    more = await prepared(world, await world.team(), tmp_path / "more")
    publisher = await world.token(more.owner, names.PUBLISHER_ACCOUNT)
    with one.client(publisher) as first, other.client(publisher) as second:
        # One after the other: in a folder two uploads of one file at once are in each other's way.
        for each, created in ((first, True), (second, False)):
            done = await asyncio.to_thread(each.push, more.target, more.manifest, more.folder)
            assert done.created is created
    code, said = await asyncio.to_thread(verified, schema.url)
    assert code == 0, said
    for broker in (one, other):
        broker.stop()
