"""Data goes out to those who may have it, whole, and on record before the first byte."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from broker_harness import MARKER, BrokerProcess, Pin, World, contents, log_events
from published_notes import Published, free_port, kubeconfig_of_nobody, prepared
from store_places import broker_sends, counted

from collabspace.api import names
from collabspace.client.client import BrokerClient
from collabspace.client.errors import AccessRefused, BrokerError, BrokerUnavailable


async def test_a_granted_trainer_reads_back_what_was_pushed(
    world: World, broker: BrokerProcess, hospital: Published, tmp_path: Path
) -> None:
    lab = await world.team()
    await world.grant(hospital.owner, lab)
    pod = await world.trainer(lab, [Pin(hospital.owner, hospital.uid, hospital.digest)])
    with broker.client(await pod.token()) as client:
        manifest = await asyncio.to_thread(client.fetch_version, hospital.uid, hospital.digest, tmp_path / "got")
    assert manifest == hospital.manifest
    assert contents(tmp_path / "got", manifest) == contents(hospital.folder, manifest)
    opened, closed = broker.rows("namespace = ?", lab)
    assert (opened["event"], opened["decision"], opened["grant"], opened["purpose"], opened["use"]) == (
        "Opened", "Allowed", "research", "named entities", "Train",
    )  # fmt: skip
    assert (opened["pod_uid"], opened["task_uid"], opened["attempt"]) == (
        pod.body["metadata"]["uid"], pod.task.uid, 1,
    )  # fmt: skip
    assert (closed["event"], closed["bytes"]) == ("Closed", counted(manifest.size))


async def test_a_person_with_a_grant_to_download_gets_the_current_version(
    world: World, broker: BrokerProcess, hospital: Published, tmp_path: Path
) -> None:
    lab = await world.team()
    await world.grant(hospital.owner, lab, uses=["Download"])
    with broker.client(await world.token(lab, names.READER_ACCOUNT), claimed_by="dr-wu") as client:
        manifest = await asyncio.to_thread(client.fetch_dataset, hospital.owner, "notes", None, tmp_path / "got")
    assert contents(tmp_path / "got", manifest) == contents(hospital.folder, hospital.manifest)
    opened = broker.rows("namespace = ?", lab)[0]
    assert (opened["claimed_by"], opened["use"], opened["version"]) == ("dr-wu", "Download", hospital.digest)


async def test_the_owners_own_people_need_no_grant(
    world: World, broker: BrokerProcess, hospital: Published, tmp_path: Path
) -> None:
    with broker.client(await world.token(hospital.owner, names.READER_ACCOUNT)) as client:
        await asyncio.to_thread(client.fetch_dataset, hospital.owner, "notes", hospital.digest, tmp_path / "got")
        with pytest.raises(BrokerError) as error:
            await asyncio.to_thread(
                client.fetch_dataset, hospital.owner, "notes", "sha256:" + "0" * 64, tmp_path / "none"
            )
    assert error.value.reason == "VersionMissing"


async def test_the_record_of_a_read_is_on_disk_before_the_first_byte(
    world: World, broker: BrokerProcess, hospital: Published
) -> None:
    token = await world.token(hospital.owner, names.READER_ACCOUNT)
    before = len(broker.rows("event = 'Opened'"))

    def open_and_look() -> int:
        with broker.http(token) as http:
            http.post("/v1/sessions", json={"namespace": hospital.owner, "name": "notes"}).raise_for_status()
            return len(broker.rows("event = 'Opened'"))

    assert await asyncio.to_thread(open_and_look) == before + 1


async def test_a_broken_download_goes_on_where_it_stopped(
    world: World, broker: BrokerProcess, hospital: Published, tmp_path: Path
) -> None:
    file = max(hospital.manifest.files, key=lambda entry: entry.bytes)
    half = file.bytes // 2
    partial = tmp_path / "got" / (file.path + ".partial")
    partial.parent.mkdir(parents=True)
    partial.write_bytes((hospital.folder / file.path).read_bytes()[:half])
    with broker.client(await world.token(hospital.owner, names.READER_ACCOUNT)) as client:
        manifest = await asyncio.to_thread(client.fetch_dataset, hospital.owner, "notes", None, tmp_path / "got")
    assert contents(tmp_path / "got", manifest) == contents(hospital.folder, manifest)
    closed = broker.rows("event = 'Closed' AND namespace = ?", hospital.owner)[-1]
    assert closed["bytes"] == counted(manifest.size - half)


async def test_a_partial_file_with_wrong_bytes_is_fetched_anew(
    world: World, broker: BrokerProcess, hospital: Published, tmp_path: Path
) -> None:
    file = max(hospital.manifest.files, key=lambda entry: entry.bytes)
    partial = tmp_path / "got" / (file.path + ".partial")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"?" * (file.bytes // 2))
    with broker.client(await world.token(hospital.owner, names.READER_ACCOUNT)) as client:
        manifest = await asyncio.to_thread(client.fetch_dataset, hospital.owner, "notes", None, tmp_path / "got")
    assert contents(tmp_path / "got", manifest) == contents(hospital.folder, manifest)
    assert not list((tmp_path / "got").rglob("*.partial"))


async def test_files_that_are_complete_are_not_fetched_again(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    token = await world.token(published.owner, names.READER_ACCOUNT)
    for _ in range(2):
        with broker.client(token) as client:
            await asyncio.to_thread(client.fetch_dataset, published.owner, "notes", None, tmp_path / "got")
    closed = broker.rows("event = 'Closed' AND namespace = ?", published.owner)
    assert [row["bytes"] for row in closed] == [counted(published.manifest.size), 0]


@broker_sends
async def test_part_of_a_file_is_sent_and_counted_as_such(
    world: World, broker: BrokerProcess, hospital: Published
) -> None:
    file = hospital.manifest.files[0]
    whole = (hospital.folder / file.path).read_bytes()

    def read(token: str) -> httpx.Response:
        with broker.http(token) as http:
            session = http.post("/v1/sessions", json={"namespace": hospital.owner, "name": "notes"}).json()["id"]
            answer = http.get(f"/v1/sessions/{session}/files/{file.path}", headers={"Range": "bytes=10-19"})
            http.delete(f"/v1/sessions/{session}")
            return answer

    answer = await asyncio.to_thread(read, await world.token(hospital.owner, names.READER_ACCOUNT))
    assert (answer.status_code, answer.content) == (206, whole[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{file.bytes}"
    assert broker.rows("event = 'Closed' AND namespace = ?", hospital.owner)[-1]["bytes"] == 10


async def test_a_path_is_a_name_in_the_manifest_and_nothing_else(
    world: World, broker: BrokerProcess, hospital: Published
) -> None:
    def read(token: str) -> list[int]:
        with broker.http(token) as http:
            session = http.post("/v1/sessions", json={"namespace": hospital.owner, "name": "notes"}).json()["id"]
            climbs = ("..%2f..%2fversions", "%2e%2e/%2e%2e/ledger.db", "manifest.json", "%00", "train%2ejsonl%2egz%00")
            return [http.get(f"/v1/sessions/{session}/files/{climb}").status_code for climb in climbs]

    assert await asyncio.to_thread(read, await world.token(hospital.owner, names.READER_ACCOUNT)) == [404] * 5


async def test_a_client_survives_a_restart_of_the_broker_between_files(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    owner = await world.team()
    data = await prepared(world, owner, tmp_path)
    with broker.client(await world.token(owner, names.PUBLISHER_ACCOUNT)) as client:
        await asyncio.to_thread(client.push, data.target, data.manifest, data.folder)
    reader = await world.token(owner, names.READER_ACCOUNT)
    calls = itertools.count()

    def token() -> str:
        # The third request is the second file: by then the broker has forgotten every session.
        if next(calls) == 2:
            broker.stop()
            broker.start()
        return reader

    with BrokerClient(broker.url, token, broker.ca, patience=30.0) as client:
        manifest = await asyncio.to_thread(client.fetch_dataset, owner, "notes", None, tmp_path / "got")
    assert contents(tmp_path / "got", manifest) == contents(data.folder, data.manifest)
    events = [row["event"] for row in broker.rows("account = ?", names.READER_ACCOUNT)]
    assert events == ["Opened", "Closed", "Opened", "Closed"], "a stop closes sessions on record; then a new decision"


async def test_nobody_home_is_told_after_the_patience_that_was_asked_for(tmp_path: Path) -> None:
    nobody = BrokerClient(f"http://127.0.0.1:{free_port()}", lambda: "t", patience=1.0)
    with nobody as client, pytest.raises(BrokerUnavailable):
        await asyncio.to_thread(client.fetch_version, "uid", "sha256:" + "0" * 64, tmp_path)


async def test_a_program_that_was_told_to_stop_waits_for_nobody(tmp_path: Path) -> None:
    stop = threading.Event()
    nobody = BrokerClient(f"http://127.0.0.1:{free_port()}", lambda: "t", patience=600.0, stop=stop)
    with nobody as client:
        waiting = asyncio.create_task(asyncio.to_thread(client.fetch_version, "uid", "sha256:" + "0" * 64, tmp_path))
        stop.set()
        async with asyncio.timeout(10):
            with pytest.raises(BrokerUnavailable):
                await waiting


async def test_bytes_that_changed_in_the_store_are_not_taken_for_the_version(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    file = published.manifest.files[0]
    broker.place.write(f"{published.uid}/blobs/{file.sha256}", b"?" * file.bytes)
    token = await world.token(published.owner, names.READER_ACCOUNT)
    with broker.client(token) as client, pytest.raises(BrokerError) as error:
        await asyncio.to_thread(client.fetch_dataset, published.owner, "notes", None, tmp_path / "got")
    assert error.value.reason == "HashMismatch" and file.path in error.value.message
    assert not (tmp_path / "got" / file.path).exists() and not (tmp_path / "got" / "manifest.json").exists()


async def test_a_broker_that_cannot_ask_the_api_server_says_neither_yes_nor_no(
    make_broker: Callable[..., BrokerProcess], broker: BrokerProcess, hospital: Published, world: World, tmp_path: Path
) -> None:
    kubeconfig = kubeconfig_of_nobody(Path(broker.environment["COLLABSPACE_KUBECONFIG"]), tmp_path / "kubeconfig")
    lonely = make_broker(COLLABSPACE_KUBECONFIG=str(kubeconfig))

    def ask(token: str) -> httpx.Response:
        with lonely.http(token) as http:
            return http.post("/v1/sessions", json={"namespace": hospital.owner, "name": "notes"})

    answer = await asyncio.to_thread(ask, await world.token(hospital.owner, names.READER_ACCOUNT))
    assert (answer.status_code, answer.json()["reason"]) == (503, "ClusterUnavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert lonely.rows() == [], "no decision was made, so there is none on record"


async def test_a_refused_person_is_told_so_at_once(world: World, broker: BrokerProcess, hospital: Published) -> None:
    token = await world.token(await world.team(), names.READER_ACCOUNT)
    with broker.client(token) as client, pytest.raises(AccessRefused):
        await asyncio.to_thread(client.fetch_dataset, hospital.owner, "notes", None, hospital.folder / "x")


async def test_the_log_holds_events_and_no_token_no_data_and_no_path(
    world: World, broker: BrokerProcess, hospital: Published, tmp_path: Path
) -> None:
    token = await world.token(hospital.owner, names.READER_ACCOUNT)
    with broker.client(token) as client:
        await asyncio.to_thread(client.fetch_dataset, hospital.owner, "notes", None, tmp_path)
    with broker.http(f"{MARKER}.{MARKER}.{MARKER}") as http:
        await asyncio.to_thread(http.get, f"/v1/results/{MARKER}/{MARKER}/files/{MARKER}?x={MARKER}")
        await asyncio.to_thread(http.post, "/v1/sessions", content=f'{{"uid": "{MARKER}", "{MARKER}": 1}}')
        await asyncio.to_thread(http.get, f"/{MARKER}")
    events = log_events(broker.log)
    text = broker.log.read_text()
    assert any(event["message"] == "request" and event["route"] == "/v1/sessions" for event in events)
    assert MARKER not in text
    assert token not in text and token.split(".")[2] not in text and token.split(".")[1] not in text
    assert all(file.path not in text for file in hospital.manifest.files)
