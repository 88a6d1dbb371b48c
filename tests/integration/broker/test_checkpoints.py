"""Checkpoints are there whole or not at all, for pods of their own task alone, and a late attempt writes none."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from broker_harness import BrokerProcess, Pin, Pod, World, contents, raw_manifest, written
from published_notes import Published

from collabspace.api import names
from collabspace.api.manifest import Manifest
from collabspace.api.run import CheckpointReference, EndRecord, Progress
from collabspace.client.errors import AccessRefused, BrokerError
from collabspace.client.protocol import Checkpoint, Committed, Feed

IDENTITY, OTHER = "a" * 64, "b" * 64
SHARED = b"\x01" * 5000


def state(step: int) -> dict[str, bytes]:
    """Files of a checkpoint; one of them is the same in all."""
    return {
        "model.safetensors": f"weights {step}".encode() * 100,
        "frozen.safetensors": SHARED,
        "state.json": f'{{"step": {step}}}'.encode(),
        "COMPLETE": b"",
    }


@pytest.fixture
async def pod(world: World, hospital: Published) -> Pod:
    """A trainer pod of the first attempt of a team's own task."""
    lab = await world.team()
    return await world.trainer(lab, [Pin(hospital.owner, hospital.uid, hospital.digest)])


async def attempt(world: World, hospital: Published, of: Pod, number: int) -> Pod:
    return await world.trainer(of.namespace, [Pin(hospital.owner, hospital.uid, hospital.digest)], attempt=number)


async def save(broker: BrokerProcess, pod: Pod, step: int, folder: Path, **changes: Any) -> Committed:
    files = changes.pop("files", None) or state(step)
    said = {"task": pod.task, "attempt": pod.attempt, "identity": IDENTITY, **changes}
    with broker.client(changes.pop("token", None) or await pod.token()) as client:
        said.pop("token", None)
        manifest = said.pop("manifest", None) or raw_manifest(pod.task.uid, files, "Checkpoint")
        source = written(folder / f"saved-{pod.attempt}-{step}", files)
        return await asyncio.to_thread(client.publish_checkpoint, step=step, folder=source, manifest=manifest, **said)


async def saved(broker: BrokerProcess, pod: Pod, identity: str = IDENTITY) -> list[Checkpoint]:
    with broker.client(await pod.token()) as client:
        return await asyncio.to_thread(client.checkpoints, pod.task.uid, identity)


async def fetch(broker: BrokerProcess, pod: Pod, digest: str, into: Path) -> Manifest:
    with broker.client(await pod.token()) as client:
        return await asyncio.to_thread(client.fetch_version, pod.task.uid, digest, into)


def blobs(broker: BrokerProcess, pod: Pod) -> int:
    return len(broker.place.keys(f"{pod.task.uid}/blobs"))


async def test_a_later_attempt_fetches_what_an_earlier_one_saved(
    world: World, broker: BrokerProcess, hospital: Published, pod: Pod, tmp_path: Path
) -> None:
    first = await save(broker, pod, 10, tmp_path)
    again = await save(broker, pod, 10, tmp_path)
    assert (first.created, again.created, again.digest) == (True, False, first.digest)
    await world.deleted(pod.path)
    second = await attempt(world, hospital, pod, 2)
    (found,) = await saved(broker, second)
    assert (found.step, found.digest, found.attempt, found.identity) == (10, first.digest, 1, IDENTITY)
    manifest = await fetch(broker, second, found.digest, tmp_path / "got")
    assert contents(tmp_path / "got", manifest) == state(10)
    opened = broker.rows("event = 'Opened' AND task_uid = ?", pod.task.uid)
    assert [(row["reason"], row["version"], row["attempt"]) for row in opened] == [("Own", found.digest, 2)]


async def test_only_checkpoints_of_the_same_identity_are_offered(
    broker: BrokerProcess, pod: Pod, tmp_path: Path
) -> None:
    await save(broker, pod, 10, tmp_path)
    await save(broker, pod, 20, tmp_path, identity=OTHER)
    assert [found.step for found in await saved(broker, pod)] == [10]
    assert [found.step for found in await saved(broker, pod, OTHER)] == [20]
    with pytest.raises(BrokerError) as error:
        await saved(broker, pod, "A" * 64)
    assert error.value.status == 422 and "identity" in error.value.message


async def test_the_newest_two_are_kept_and_blobs_that_they_share_with_older_ones_stay(
    broker: BrokerProcess, pod: Pod, tmp_path: Path
) -> None:
    for step in (10, 20, 30):
        await save(broker, pod, step, tmp_path)
    assert [found.step for found in await saved(broker, pod)] == [30, 20]
    assert len(broker.place.keys(f"{pod.task.uid}/versions")) == 2
    assert blobs(broker, pod) == 6, "two of each file but those that are the same"
    for found in await saved(broker, pod):
        manifest = await fetch(broker, pod, found.digest, tmp_path / f"got-{found.step}")
        assert contents(tmp_path / f"got-{found.step}", manifest) == state(found.step)


async def test_a_checkpoint_saved_after_going_back_is_the_newest_whatever_its_step(
    broker: BrokerProcess, pod: Pod, tmp_path: Path
) -> None:
    for step in (10, 20, 15):
        await save(broker, pod, step, tmp_path)
    assert [found.step for found in await saved(broker, pod)] == [15, 20]


async def test_the_operator_hears_of_the_newest_one_and_it_is_known_after_a_restart(
    world: World, make_broker: Callable[..., BrokerProcess], pod: Pod, tmp_path: Path
) -> None:
    broker = make_broker()
    first = await save(broker, pod, 10, tmp_path)
    newest = await save(broker, pod, 20, tmp_path)

    async def feed() -> Feed:
        with broker.client(await world.token(names.SYSTEM_NAMESPACE, names.OPERATOR_ACCOUNT)) as client:
            return await asyncio.to_thread(client.feed, "", 0)

    before = await feed()
    broker.stop()
    broker.start()
    for heard in (before, await feed()):
        (known,) = [one for one in heard.attempts if one.task_uid == pod.task.uid]
        assert known.checkpoint == CheckpointReference(step=20, digest=newest.digest)
    assert [found.digest for found in await saved(broker, pod)] == [newest.digest, first.digest]


async def test_an_upload_that_was_never_committed_is_no_checkpoint(
    broker: BrokerProcess, pod: Pod, tmp_path: Path
) -> None:
    manifest = raw_manifest(pod.task.uid, state(10), "Checkpoint")
    target = {"kind": "Checkpoint", "attempt": 1, "identity": IDENTITY, "step": 10, **pod.task.model_dump()}
    wish = {"target": target, "manifest": manifest.model_dump(mode="json", by_alias=True)}

    def all_but_the_last(token: str) -> int:
        with broker.http(token) as http:
            upload = http.post("/v1/uploads", json=wish).json()["id"]
            for file in manifest.files[:-1]:
                http.put(f"/v1/uploads/{upload}/blobs/{file.sha256}", content=state(10)[file.path]).raise_for_status()
            return http.post(f"/v1/uploads/{upload}/commit").status_code

    assert await asyncio.to_thread(all_but_the_last, await pod.token()) == 409
    assert await saved(broker, pod) == []
    with pytest.raises(BrokerError) as error:
        await fetch(broker, pod, manifest.digest, tmp_path / "got")
    assert (error.value.status, error.value.reason) == (404, "VersionMissing")


async def test_a_checkpoint_whose_manifest_was_broken_in_the_store_is_not_offered(
    broker: BrokerProcess, pod: Pod, tmp_path: Path, make_broker: Callable[..., BrokerProcess]
) -> None:
    broker = make_broker()
    kept, broken = await save(broker, pod, 10, tmp_path), await save(broker, pod, 20, tmp_path)
    key = f"{pod.task.uid}/versions/{broken.digest.removeprefix('sha256:')}.json"
    broker.place.write(key, broker.place.read(key).replace(b"state.json", b"other.json"))
    assert [found.digest for found in await saved(broker, pod)] == [kept.digest]


async def test_a_pod_that_is_being_stopped_or_whose_job_is_suspended_can_still_save(
    world: World, broker: BrokerProcess, pod: Pod, tmp_path: Path
) -> None:
    token = await pod.token()
    job = f"/apis/batch/v1/namespaces/{pod.namespace}/jobs/{names.job_name(pod.task.name, 1)}"
    await world.admin.merge(job, {"spec": {"suspend": True}})
    await world.admin.delete(pod.path, grace_seconds=60)
    assert (await save(broker, pod, 10, tmp_path, token=token)).created


async def test_another_task_of_the_same_team_gets_neither_list_nor_bytes(
    world: World, broker: BrokerProcess, hospital: Published, pod: Pod, tmp_path: Path
) -> None:
    committed = await save(broker, pod, 10, tmp_path)
    pin = Pin(hospital.owner, hospital.uid, hospital.digest)
    other = await world.trainer(pod.namespace, [pin], task="other")
    stranger = await world.token(pod.namespace, names.READER_ACCOUNT)
    for token in (await other.token(), stranger):
        with broker.client(token) as client:
            with pytest.raises(AccessRefused):
                await asyncio.to_thread(client.checkpoints, pod.task.uid, IDENTITY)
            with pytest.raises(AccessRefused):
                await asyncio.to_thread(client.fetch_version, pod.task.uid, committed.digest, tmp_path / "got")
    with pytest.raises(AccessRefused):
        await save(broker, other, 20, tmp_path, task=pod.task)


async def test_an_older_attempt_writes_and_reads_nothing_once_a_newer_one_is_known(
    world: World, broker: BrokerProcess, hospital: Published, pod: Pod, tmp_path: Path
) -> None:
    first = await save(broker, pod, 10, tmp_path)
    newer = await attempt(world, hospital, pod, 2)
    await save(broker, newer, 20, tmp_path)
    end = EndRecord(code=0, reason="Completed")
    with broker.client(await pod.token()) as client:
        client_calls: list[Callable[[], object]] = [
            lambda: client.end_attempt(pod.task.uid, 1, end),
            lambda: client.checkpoints(pod.task.uid, IDENTITY),
            lambda: client.fetch_version(pod.task.uid, first.digest, tmp_path / "got"),
        ]
        for call in client_calls:
            with pytest.raises(AccessRefused):
                await asyncio.to_thread(call)
        await asyncio.to_thread(client.report_progress, pod.task.uid, 1, Progress(step=99, total_steps=99))
    with pytest.raises(AccessRefused):
        await save(broker, pod, 30, tmp_path)
    assert [found.step for found in await saved(broker, newer)] == [20, 10]
    denied = broker.rows("event = 'Denied' AND task_uid = ?", pod.task.uid)
    assert {(row["reason"], row["attempt"]) for row in denied} == {("AttemptSuperseded", 1)}
    with broker.client(await world.token(pod.namespace, names.READER_ACCOUNT)) as client:
        seen = await asyncio.to_thread(client.progress, pod.namespace, "ner")
    assert (seen.attempt, seen.progress) == (2, None)


async def test_a_commit_that_a_newer_attempt_overtakes_shows_nothing(
    world: World, broker: BrokerProcess, pod: Pod, tmp_path: Path
) -> None:
    manifest = raw_manifest(pod.task.uid, state(10), "Checkpoint")
    target = {"kind": "Checkpoint", "attempt": 1, "identity": IDENTITY, "step": 10, **pod.task.model_dump()}
    wish = {"target": target, "manifest": manifest.model_dump(mode="json", by_alias=True)}
    status = f"/apis/{names.API_VERSION}/namespaces/{pod.namespace}/{names.COLLAB_TASKS}/ner/status"
    http = broker.http(await pod.token())

    def send() -> str:
        upload = str(http.post("/v1/uploads", json=wish).json()["id"])
        for file in manifest.files:
            http.put(f"/v1/uploads/{upload}/blobs/{file.sha256}", content=state(10)[file.path]).raise_for_status()
        return upload

    upload = await asyncio.to_thread(send)
    await world.admin.merge(status, {"status": {"attempts": [{"number": 1}, {"number": 2}]}})
    answer = await asyncio.to_thread(http.post, f"/v1/uploads/{upload}/commit")
    http.close()
    assert answer.status_code == 403
    assert broker.place.keys(f"{pod.task.uid}/versions") == []


async def test_a_path_that_climbs_is_refused_before_anything_is_written(broker: BrokerProcess, pod: Pod) -> None:
    for path in ("../up.json", "/etc/x.json", "a/../b.json", "a//b.json", ".hidden.json", "x\x00.json"):
        answer = await begin(broker, pod, {"path": path, "sha256": "0" * 64, "bytes": 3, "records": 0, "split": None})
        assert answer.status_code == 422, path
    assert broker.place.keys(pod.task.uid) == broker.staged(pod.task.uid) == []


async def test_files_of_other_kinds_are_refused_by_name(broker: BrokerProcess, pod: Pod) -> None:
    for path in ("code.py", "weights.bin", "state.pt", "run.sh", "COMPLETE.py", "notes.txt"):
        answer = await begin(broker, pod, {"path": path, "sha256": "0" * 64, "bytes": 3, "records": 0, "split": None})
        assert answer.status_code == 422 and path in answer.json()["message"]


async def begin(broker: BrokerProcess, pod: Pod, *files: dict[str, Any], **changes: Any) -> httpx.Response:
    target = {"kind": "Checkpoint", "attempt": 1, "identity": IDENTITY, "step": 1, **pod.task.model_dump(), **changes}
    manifest = {"schema": "v1alpha1", "ownerUid": pod.task.uid, "format": "Checkpoint", "files": list(files)}
    with broker.http(await pod.token()) as http:
        return await asyncio.to_thread(http.post, "/v1/uploads", json={"target": target, "manifest": manifest})


async def test_a_manifest_without_end_is_refused(broker: BrokerProcess, pod: Pod) -> None:
    file = {"path": "a" * 200 + ".json", "sha256": "0" * 64, "bytes": 1, "records": 0, "split": None}
    many = [file | {"path": f"{number}.json"} for number in range(10_001)]
    assert (await begin(broker, pod, *many)).status_code == 422
    assert (await begin(broker, pod, *[file] * 70_000)).status_code == 413


async def test_a_checkpoint_that_does_not_say_what_it_is_is_refused(broker: BrokerProcess, pod: Pod) -> None:
    file = {"path": "state.json", "sha256": "0" * 64, "bytes": 1, "records": 0, "split": None}
    assert [(await begin(broker, pod, file, **{name: None})).status_code for name in ("identity", "step")] == [422, 422]
    assert (await begin(broker, pod, file, attempt=None)).status_code == 403, "no attempt is nobody's attempt"


async def test_bytes_with_another_hash_and_links_in_the_staging_folder_lead_nowhere(
    broker: BrokerProcess, pod: Pod, tmp_path: Path
) -> None:
    manifest = raw_manifest(pod.task.uid, {"state.json": b"true"}, "Checkpoint")
    secret = tmp_path / "secret"
    secret.write_bytes(b"none of your business")
    with pytest.raises(BrokerError) as error:
        await save(broker, pod, 1, tmp_path, files={"state.json": b"lies"}, manifest=manifest)
    assert error.value.reason == "HashMismatch"
    staged = broker.staging / pod.task.uid / "uploads" / manifest.digest.removeprefix("sha256:")
    staged.mkdir(parents=True, exist_ok=True)
    (staged / manifest.files[0].sha256).symlink_to(secret)
    assert (await save(broker, pod, 1, tmp_path, files={"state.json": b"true"}, manifest=manifest)).created
    assert secret.read_bytes() == b"none of your business"


async def test_a_checkpoint_above_the_limit_is_refused_before_it_is_sent(
    make_broker: Callable[..., BrokerProcess], pod: Pod, tmp_path: Path
) -> None:
    small = make_broker(COLLABSPACE_BROKER_MAX_CHECKPOINT_BYTES="1000")
    with pytest.raises(BrokerError) as error:
        await save(small, pod, 10, tmp_path)
    assert (error.value.status, error.value.reason) == (413, "TooLarge")
