"""Versions and results come in whole or not at all, by those who may write them, and stay where they were put."""

import asyncio
import hashlib
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from broker_harness import BrokerProcess, Pin, Pod, World, contents, corpus, raw_manifest, written
from published_notes import Published, prepared
from store_places import FOLDER, STORE, broker_sends

from collabspace.api import names
from collabspace.api.manifest import DatasetFormat, TargetColumn
from collabspace.api.run import CheckpointReference, EndRecord, Progress, TaskReference
from collabspace.client.errors import AccessRefused, BrokerError
from collabspace.client.protocol import UploadTarget
from collabspace.formats import SplitRule, prepare

RESULT = {
    "metrics.json": b'{"f1": "0.8"}',
    "report.txt": b"fine\n",
    "model/model.safetensors": b"\x00" * 3000,
    "DONE": b"",
}
NONE = "sha256:" + "0" * 64


async def push(broker: BrokerProcess, token: str, data: Published, **changes: Any) -> Any:
    target = data.target.model_copy(update=changes)
    with broker.client(token) as client:
        return await asyncio.to_thread(client.push, target, data.manifest, data.folder)


async def test_a_push_is_committed_once_and_the_second_time_nothing_is_sent(
    world: World, broker: BrokerProcess, tmp_path: Path
) -> None:
    owner = await world.team()
    data = await prepared(world, owner, tmp_path)
    token = await world.token(owner, names.PUBLISHER_ACCOUNT)
    first, second = await push(broker, token, data), await push(broker, token, data)
    assert (first.digest, first.records, first.bytes) == (data.digest, data.manifest.records, data.manifest.size)
    assert (first.created, second.created) == (True, False)
    assert [row["event"] for row in broker.rows("namespace = ?", owner)] == ["Published"]
    assert broker.staged(data.uid) == []


async def test_what_is_stored_has_the_names_and_hashes_of_the_manifest(
    hospital: Published, broker: BrokerProcess
) -> None:
    place, blobs = broker.place, f"{hospital.uid}/blobs"
    assert place.keys(f"{hospital.uid}/versions") == [f"{hospital.digest.removeprefix('sha256:')}.json"]
    assert set(place.keys(blobs)) == {file.sha256 for file in hospital.manifest.files}
    for name in place.keys(blobs):
        assert hashlib.sha256(place.read(f"{blobs}/{name}")).hexdigest() == name
    if STORE == FOLDER:
        assert not any(blob.stat().st_mode & 0o222 for blob in (broker.staging / blobs).iterdir())


async def test_a_broken_upload_goes_on_where_the_broker_stands(
    world: World, broker: BrokerProcess, tmp_path: Path
) -> None:
    owner = await world.team()
    data = await prepared(world, owner, tmp_path)
    token = await world.token(owner, names.PUBLISHER_ACCOUNT)
    file = max(data.manifest.files, key=lambda entry: entry.bytes)
    half, body = file.bytes // 2, (data.folder / file.path).read_bytes()
    reports: list[tuple[int, int]] = []

    def break_off() -> httpx.Response:
        with broker.http(token) as http:
            wish = {
                "target": data.target.model_dump(mode="json"),
                "manifest": data.manifest.model_dump(mode="json", by_alias=True),
            }
            upload = http.post("/v1/uploads", json=wish).json()["id"]
            path = f"/v1/uploads/{upload}/blobs/{file.sha256}"
            assert http.put(path, params={"offset": 0}, content=body[:half]).json() == {"offset": half}
            return http.put(path, params={"offset": 0}, content=body)

    refused = await asyncio.to_thread(break_off)
    assert (refused.status_code, refused.json()["reason"]) == (409, "OffsetMismatch")
    with broker.client(token) as client:
        committed = await asyncio.to_thread(
            client.push, data.target, data.manifest, data.folder, lambda done, total: reports.append((done, total))
        )
    assert committed.created
    order = [entry.path for entry in data.manifest.files]
    before = sum(entry.bytes for entry in data.manifest.files[: order.index(file.path)])
    assert before + half in [done for done, _ in reports], "it went on from the half that was there"
    assert reports[-1] == (data.manifest.size, data.manifest.size)
    assert reports == sorted(reports)


async def test_an_upload_goes_on_after_the_broker_was_killed(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    owner = await world.team()
    data = await prepared(world, owner, tmp_path)
    token = await world.token(owner, names.PUBLISHER_ACCOUNT)
    killed = False

    def kill_once(done: int, total: int) -> None:
        nonlocal killed
        if done and not killed:
            killed = True
            broker.stop(signal.SIGKILL)
            broker.start()

    with broker.client(token, patience=30.0) as client:
        committed = await asyncio.to_thread(client.push, data.target, data.manifest, data.folder, kill_once)
    assert killed and committed.created
    with broker.client(await world.token(owner, names.READER_ACCOUNT)) as client:
        manifest = await asyncio.to_thread(client.fetch_dataset, owner, "notes", None, tmp_path / "got")
    assert contents(tmp_path / "got", manifest) == contents(data.folder, data.manifest)


async def test_a_publisher_cannot_push_into_another_namespace(
    world: World, broker: BrokerProcess, hospital: Published
) -> None:
    token = await world.token(await world.team(), names.PUBLISHER_ACCOUNT)
    with pytest.raises(AccessRefused):
        await push(broker, token, hospital)
    with pytest.raises(AccessRefused):
        await push(broker, token, hospital, name="nothing")


@pytest.mark.parametrize("account", [names.READER_ACCOUNT, names.TRAINER_ACCOUNT, "other"])
async def test_no_other_account_of_the_owners_namespace_can_push(
    world: World, broker: BrokerProcess, hospital: Published, account: str
) -> None:
    with pytest.raises(AccessRefused):
        await push(broker, await world.token(hospital.owner, account), hospital)


async def test_a_push_to_what_is_not_there_or_was_made_again_says_so(
    world: World, broker: BrokerProcess, published: Published
) -> None:
    token = await world.token(published.owner, names.PUBLISHER_ACCOUNT)
    with pytest.raises(BrokerError) as missing:
        await push(broker, token, published, name="nothing")
    assert missing.value.reason == "DatasetMissing"
    path = f"/apis/{names.API_VERSION}/namespaces/{published.owner}/{names.SHARED_DATASETS}/notes"
    await world.deleted(path)
    await world.dataset(published.owner)
    with pytest.raises(BrokerError) as replaced:
        await push(broker, token, published)
    assert replaced.value.reason == "DatasetReplaced"


async def test_files_that_are_not_what_their_manifest_says_are_no_version(
    world: World, broker: BrokerProcess, tmp_path: Path
) -> None:
    owner = await world.team()
    data = await prepared(world, owner, tmp_path)
    token = await world.token(owner, names.PUBLISHER_ACCOUNT)
    files = [file.model_copy(update={"records": file.records + 1}) for file in data.manifest.files]
    lying = Published(owner, data.uid, data.manifest.model_copy(update={"files": files}), data.folder)
    with pytest.raises(BrokerError) as error:
        await push(broker, token, lying)
    assert (error.value.status, error.value.reason) == (422, "FormatError")
    assert broker.place.keys(f"{data.uid}/versions") == []
    assert not any((broker.staging / ".checks").iterdir())
    assert (await push(broker, token, data)).created, "a good push goes through afterwards"


async def test_a_version_of_another_format_than_the_dataset_is_refused(
    world: World, broker: BrokerProcess, hospital: Published, tmp_path: Path
) -> None:
    uid = await world.dataset(hospital.owner, "models", format="Model")
    done = prepare(
        corpus(tmp_path / "x"), DatasetFormat.TOKEN_CLASSIFICATION, tmp_path / "y", owner_uid=uid, split=SplitRule()
    )
    token = await world.token(hospital.owner, names.PUBLISHER_ACCOUNT)
    target = UploadTarget(kind="Dataset", namespace=hospital.owner, name="models", uid=uid)
    with broker.client(token) as client, pytest.raises(BrokerError) as error:
        await asyncio.to_thread(client.push, target, done.manifest, tmp_path / "y")
    assert "manifest.format" in error.value.message and "Model" in error.value.message


async def test_a_table_must_have_the_target_of_the_contract(
    world: World, broker: BrokerProcess, hospital: Published, tmp_path: Path
) -> None:
    contract = {"target": {"column": "ill", "kind": "Class"}}
    uid = await world.dataset(hospital.owner, "table", format="Tabular", contract=contract)
    rows = "".join(f"{number},{number % 7},{'yes' if number % 3 else 'no'}\n" for number in range(200))
    source = written(tmp_path / "x", {"table.csv": f"age,score,ill\n{rows}".encode()})
    token = await world.token(hospital.owner, names.PUBLISHER_ACCOUNT)
    target = UploadTarget(kind="Dataset", namespace=hospital.owner, name="table", uid=uid)

    async def send(column: str, folder: Path) -> Any:
        chosen = TargetColumn.model_validate({"column": column, "kind": "Class"})
        done = prepare(source, DatasetFormat.TABULAR, folder, owner_uid=uid, split=SplitRule(), target=chosen)
        with broker.client(token) as client:
            return await asyncio.to_thread(client.push, target, done.manifest, folder)

    with pytest.raises(BrokerError) as error:
        await send("score", tmp_path / "wrong")
    assert "manifest.target" in error.value.message
    assert (await send("ill", tmp_path / "right")).created


@pytest.fixture
async def pod(world: World, hospital: Published) -> Pod:
    """A trainer pod of a team that may train on the hospital's notes."""
    lab = await world.team()
    await world.grant(hospital.owner, lab)
    return await world.trainer(lab, [Pin(hospital.owner, hospital.uid, hospital.digest)])


async def publish(broker: BrokerProcess, token: str, task: TaskReference, attempt: int, folder: Path) -> Any:
    manifest = raw_manifest(task.uid, RESULT)
    with broker.client(token) as client:
        return await asyncio.to_thread(client.publish_result, task, attempt, written(folder, RESULT), manifest)


async def test_a_result_is_stored_by_its_trainer_and_read_by_its_team(
    world: World, broker: BrokerProcess, pod: Pod, tmp_path: Path
) -> None:
    committed = await publish(broker, await pod.token(), pod.task, 1, tmp_path / "result")
    again = await publish(broker, await pod.token(), pod.task, 1, tmp_path / "result")
    assert (committed.created, again.created, again.digest) == (True, False, committed.digest)
    with broker.client(await world.token(pod.namespace, names.READER_ACCOUNT)) as client:
        manifest = await asyncio.to_thread(client.result, pod.namespace, "ner")
        assert manifest.digest == committed.digest
        for path, content in RESULT.items():
            assert await asyncio.to_thread(client.result_file, pod.namespace, "ner", path) == content
        with pytest.raises(BrokerError) as large:
            await asyncio.to_thread(client.result_file, pod.namespace, "ner", "model/model.safetensors", 100)
        assert large.value.reason == "TooLarge"
        with pytest.raises(BrokerError) as missing:
            await asyncio.to_thread(client.result_file, pod.namespace, "ner", "none.json")
        assert missing.value.reason == "FileMissing"
    opened = broker.rows("event = 'Opened' AND account = ? AND namespace = ?", names.READER_ACCOUNT, pod.namespace)
    assert [(row["task"], row["version"]) for row in opened] == [("ner", committed.digest)], (
        "one record, files ride on it"
    )


async def test_another_teams_reader_sees_neither_result_nor_progress_nor_whether_there_is_a_task(
    world: World, broker: BrokerProcess, pod: Pod, tmp_path: Path
) -> None:
    await publish(broker, await pod.token(), pod.task, 1, tmp_path / "result")
    with broker.client(await world.token(await world.team(), names.READER_ACCOUNT)) as client:
        for call in (client.result, client.progress):
            for task in ("ner", "nothing"):
                with pytest.raises(AccessRefused):
                    await asyncio.to_thread(call, pod.namespace, task)
        with pytest.raises(AccessRefused):
            await asyncio.to_thread(client.result_file, pod.namespace, "ner", "report.txt")


async def test_progress_and_end_are_seen_by_the_team_and_by_the_operator(
    world: World, broker: BrokerProcess, pod: Pod
) -> None:
    end = EndRecord(
        code=0, reason="Completed", step=9, total_steps=9, checkpoint=CheckpointReference(step=9, digest=NONE)
    )
    with broker.client(await pod.token()) as client:
        await asyncio.to_thread(
            client.report_progress, pod.task.uid, 1, Progress(step=3, total_steps=9, curve=["1.0", "0.5"])
        )
        await asyncio.to_thread(client.end_attempt, pod.task.uid, 1, end)
        await asyncio.to_thread(client.end_attempt, pod.task.uid, 1, end)
        with pytest.raises(BrokerError) as other:
            await asyncio.to_thread(client.end_attempt, pod.task.uid, 1, end.model_copy(update={"code": 70}))
    assert other.value.reason == "AlreadyEnded"
    with broker.client(await world.token(pod.namespace, names.READER_ACCOUNT)) as client:
        seen = await asyncio.to_thread(client.progress, pod.namespace, "ner")
    assert seen.progress is not None and (seen.attempt, seen.progress.percent, seen.end) == (1, 33, end)


async def test_a_pod_that_is_being_stopped_can_still_save_but_not_read(
    world: World, broker: BrokerProcess, hospital: Published, pod: Pod, tmp_path: Path
) -> None:
    token = await pod.token()
    await world.admin.delete(pod.path, grace_seconds=60)
    assert (await publish(broker, token, pod.task, 1, tmp_path / "result")).created
    with broker.client(token) as client, pytest.raises(AccessRefused):
        await asyncio.to_thread(client.fetch_version, hospital.uid, hospital.digest, tmp_path / "got")


async def test_a_pod_that_is_gone_cannot_write(world: World, broker: BrokerProcess, pod: Pod, tmp_path: Path) -> None:
    token = await pod.token()
    await world.deleted(pod.path)
    with pytest.raises(AccessRefused):
        await publish(broker, token, pod.task, 1, tmp_path / "result")


async def test_an_older_attempt_cannot_write_once_a_newer_one_is_known(
    world: World, broker: BrokerProcess, hospital: Published, pod: Pod, tmp_path: Path
) -> None:
    newer = await world.trainer(pod.namespace, [Pin(hospital.owner, hospital.uid, hospital.digest)], attempt=2)
    old, new = await pod.token(), await newer.token()
    assert (await publish(broker, old, pod.task, 1, tmp_path / "first")).created, "the newer one is not known yet"
    with broker.client(new) as client:
        await asyncio.to_thread(client.fetch_version, hospital.uid, hospital.digest, tmp_path / "got")
    with pytest.raises(AccessRefused):
        await publish(broker, old, pod.task, 1, tmp_path / "second")
    with broker.client(old) as client, pytest.raises(AccessRefused):
        await asyncio.to_thread(client.end_attempt, pod.task.uid, 1, EndRecord(code=0, reason="Completed"))
    denied = broker.rows("event = 'Denied' AND reason = 'AttemptSuperseded' AND namespace = ?", pod.namespace)
    assert denied and denied[0]["attempt"] == 1


async def test_an_attempt_that_the_tasks_status_has_left_behind_cannot_write(
    world: World, broker: BrokerProcess, pod: Pod, tmp_path: Path
) -> None:
    path = f"/apis/{names.API_VERSION}/namespaces/{pod.namespace}/{names.COLLAB_TASKS}/ner/status"
    await world.admin.merge(path, {"status": {"attempts": [{"number": 1}, {"number": 2}]}})
    with pytest.raises(AccessRefused):
        await publish(broker, await pod.token(), pod.task, 1, tmp_path / "result")


async def test_a_trainer_writes_to_its_own_task_and_attempt_only(
    world: World, broker: BrokerProcess, hospital: Published, pod: Pod, tmp_path: Path
) -> None:
    other = await world.trainer(pod.namespace, [Pin(hospital.owner, hospital.uid, hospital.digest)], task="other")
    token = await pod.token()
    renamed = pod.task.model_copy(update={"name": "other"})
    for task, attempt in ((other.task, 1), (pod.task, 2), (renamed, 1)):
        with pytest.raises(AccessRefused):
            await publish(broker, token, task, attempt, tmp_path / f"{task.name}-{attempt}")


async def test_a_result_above_the_limit_is_refused_before_it_is_sent(
    make_broker: Callable[..., BrokerProcess], pod: Pod, tmp_path: Path
) -> None:
    small = make_broker(COLLABSPACE_BROKER_MAX_RESULT_BYTES="1000")
    with pytest.raises(BrokerError) as error:
        await publish(small, await pod.token(), pod.task, 1, tmp_path / "result")
    assert (error.value.status, error.value.reason) == (413, "TooLarge")


async def test_what_was_committed_is_known_after_a_restart(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    owner = await world.team()
    data = await prepared(world, owner, tmp_path)
    await push(broker, await world.token(owner, names.PUBLISHER_ACCOUNT), data)
    pod = await world.trainer(owner, [Pin(owner, data.uid, data.digest)])
    committed = await publish(broker, await pod.token(), pod.task, 1, tmp_path / "result")
    broker.stop()
    broker.start()
    with broker.client(await world.token(owner, names.READER_ACCOUNT)) as client:
        manifest = await asyncio.to_thread(client.fetch_dataset, owner, "notes", None, tmp_path / "got")
        assert manifest.digest == data.digest
        assert (await asyncio.to_thread(client.result, owner, "ner")).digest == committed.digest


async def test_without_a_ledger_no_data_goes_out(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    owner = await world.team()
    data = await prepared(world, owner, tmp_path)
    await push(broker, await world.token(owner, names.PUBLISHER_ACCOUNT), data)
    token = await world.token(owner, names.READER_ACCOUNT)
    with closing(sqlite3.connect(broker.ledger)) as connection:
        connection.execute("ALTER TABLE access RENAME TO away")
        connection.commit()

        def ask() -> httpx.Response:
            with broker.http(token) as http:
                return http.post("/v1/sessions", json={"namespace": owner, "name": "notes"})

        answer = await asyncio.to_thread(ask)
        assert (answer.status_code, answer.json()["reason"]) == (503, "LedgerUnavailable")
        assert answer.headers["Retry-After"]
        connection.execute("ALTER TABLE away RENAME TO access")
        connection.commit()
    assert (await asyncio.to_thread(ask)).status_code == 201


@broker_sends
async def test_a_broker_whose_store_lost_a_blob_says_it_failed_and_serves_on(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    for file in published.manifest.files:
        broker.place.remove(f"{published.uid}/blobs/{file.sha256}")
    token = await world.token(published.owner, names.READER_ACCOUNT)

    def read() -> tuple[int, int]:
        with broker.http(token) as http:
            session = http.post("/v1/sessions", json={"namespace": published.owner, "name": "notes"}).json()
            path = session["manifest"]["files"][0]["path"]
            return http.get(f"/v1/sessions/{session['id']}/files/{path}").status_code, http.get("/readyz").status_code

    assert await asyncio.to_thread(read) == (500, 200)
