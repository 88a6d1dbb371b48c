"""What deleted objects left behind goes, on record; what anybody can still ask for stays, whatever else fails."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker_harness import DATASETS, TASKS, BrokerProcess, Pin, Pod, World, awaited, log_events, raw_manifest, written
from published_notes import Published, kubeconfig_of_nobody, pushed
from store_places import times_set

from collabspace.api import names
from collabspace.client.errors import AccessRefused

RESULT = {"metrics.json": b"{}", "DONE": b""}
STATE = {"state.json": b'{"step": 1}', "COMPLETE": b""}
DAY = 24 * 3600


@pytest.fixture(scope="module")
def quick(start_broker: Callable[..., BrokerProcess]) -> Iterator[BrokerProcess]:
    """A broker that sweeps all the time."""
    broker = start_broker(COLLABSPACE_BROKER_SWEEP_SECONDS="0.2")
    yield broker
    broker.stop()


@pytest.fixture
async def notes(world: World, quick: BrokerProcess, tmp_path: Path) -> Published:
    return await pushed(world, quick, tmp_path / "notes")


async def trained(world: World, broker: BrokerProcess, notes: Published, folder: Path) -> Pod:
    """A task of the owner with one result and one checkpoint."""
    pod = await world.trainer(notes.owner, [Pin(notes.owner, notes.uid, notes.digest)])
    with broker.client(await pod.token()) as client:
        kept = raw_manifest(pod.task.uid, STATE, "Checkpoint")
        source = written(folder / "state", STATE)
        await asyncio.to_thread(client.publish_checkpoint, pod.task, 1, "a" * 64, 1, source, kept)
        manifest = raw_manifest(pod.task.uid, RESULT)
        await asyncio.to_thread(client.publish_result, pod.task, 1, written(folder / "result", RESULT), manifest)
    return pod


def removed(broker: BrokerProcess, column: str, uid: str) -> list[dict[str, Any]]:
    return broker.rows(f"event = 'Removed' AND {column} = ?", uid)


async def test_results_and_checkpoints_go_with_their_task_and_that_is_on_record(
    world: World, quick: BrokerProcess, notes: Published, tmp_path: Path
) -> None:
    pod = await trained(world, quick, notes, tmp_path)
    stays = await world.trainer(notes.owner, [Pin(notes.owner, notes.uid, notes.digest)], task="stays")
    manifest = raw_manifest(stays.task.uid, RESULT)
    with quick.client(await stays.token()) as client:
        await asyncio.to_thread(client.publish_result, stays.task, 1, tmp_path / "result", manifest)
    assert quick.place.keys(pod.task.uid)
    await world.deleted(f"{TASKS.format(notes.owner)}/ner")
    await asyncio.to_thread(awaited, lambda: not quick.place.keys(pod.task.uid), "the task's bytes stay")
    (record,) = removed(quick, "task_uid", pod.task.uid)
    assert (record["reason"], record["task"], record["account"]) == ("TaskDeleted", "ner", names.BROKER_ACCOUNT)
    assert record["bytes"] == len(b"{}") + len(STATE["state.json"])
    assert quick.place.keys(f"{stays.task.uid}/versions") and quick.place.keys(f"{notes.uid}/versions")

    def told() -> bool:
        swept = [event for event in log_events(quick.log) if event["message"] == "swept"]
        return any({"TaskDeleted": 1}.items() <= event.items() for event in swept)

    await asyncio.to_thread(awaited, told, "the log does not tell of it")


async def test_what_an_upload_that_never_ended_has_sent_goes_with_its_task(
    world: World, quick: BrokerProcess, notes: Published
) -> None:
    pod = await world.trainer(notes.owner, [Pin(notes.owner, notes.uid, notes.digest)], task="stopped")
    manifest = raw_manifest(pod.task.uid, RESULT)
    target = {"kind": "Result", "attempt": 1, **pod.task.model_dump()}
    wish = {"target": target, "manifest": manifest.model_dump(mode="json", by_alias=True)}
    http = quick.http(await pod.token())

    def send() -> None:
        upload = str(http.post("/v1/uploads", json=wish).json()["id"])
        file = manifest.files[0]
        http.put(f"/v1/uploads/{upload}/blobs/{file.sha256}", content=RESULT[file.path]).raise_for_status()

    await asyncio.to_thread(send)
    http.close()
    blobs = quick.staging / pod.task.uid / "blobs"
    assert any(blobs.iterdir())
    await world.deleted(f"{TASKS.format(notes.owner)}/stopped")
    await asyncio.to_thread(awaited, lambda: not blobs.exists(), "the blob stays")


async def test_a_task_that_succeeded_keeps_its_result_and_not_its_checkpoints(
    world: World, quick: BrokerProcess, notes: Published, tmp_path: Path
) -> None:
    pod = await trained(world, quick, notes, tmp_path)
    condition = {
        "type": "Succeeded",
        "status": "True",
        "reason": "Completed",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
    status = f"{TASKS.format(notes.owner)}/ner/status"
    await world.admin.merge(status, {"status": {"conditions": [condition]}})
    await asyncio.to_thread(awaited, lambda: removed(quick, "task_uid", pod.task.uid), "no checkpoint is swept")
    awaited(lambda: len(quick.place.keys(f"{pod.task.uid}/versions")) == 1, "its manifest stays")
    (record,) = removed(quick, "task_uid", pod.task.uid)
    assert (record["reason"], record["bytes"]) == ("TaskSucceeded", len(STATE["state.json"]))
    with quick.client(await world.token(notes.owner, names.READER_ACCOUNT)) as client:
        assert await asyncio.to_thread(client.result_file, notes.owner, "ner", "metrics.json") == b"{}"


async def test_versions_go_with_a_dataset_whose_policy_was_delete_and_stay_with_any_other(
    world: World, quick: BrokerProcess, notes: Published, tmp_path: Path
) -> None:
    kept = await pushed(world, quick, tmp_path / "kept")
    await world.admin.merge(f"{DATASETS.format(notes.owner)}/notes", {"spec": {"deletionPolicy": "Delete"}})
    await asyncio.to_thread(awaited, lambda: "Delete" in policies(quick).get(notes.uid, ""), "the policy is not seen")
    for data in (kept, notes):
        await world.deleted(f"{DATASETS.format(data.owner)}/notes")
    await asyncio.to_thread(awaited, lambda: not quick.place.keys(notes.uid), "its versions stay")
    (record,) = removed(quick, "dataset_uid", notes.uid)
    assert (record["reason"], record["owner"], record["bytes"]) == ("DatasetDeleted", notes.owner, notes.manifest.size)
    assert quick.place.keys(f"{kept.uid}/versions") and removed(quick, "dataset_uid", kept.uid) == []


def policies(broker: BrokerProcess) -> dict[str, str]:
    """What the broker remembers, read straight from its file."""
    with sqlite3.connect(f"file:{broker.ledger}?mode=ro", uri=True) as connection:
        found = {row[0]: row[1] or "" for row in connection.execute("SELECT storage, deletion_policy FROM owners")}
    connection.close()
    return found


async def test_a_list_that_fails_removes_nothing(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    notes = await pushed(world, broker, tmp_path / "notes")
    pod = await trained(world, broker, notes, tmp_path)
    broker.stop()
    await world.deleted(f"{TASKS.format(notes.owner)}/ner")
    real = broker.environment["COLLABSPACE_KUBECONFIG"]
    broker.environment |= {
        "COLLABSPACE_KUBECONFIG": str(kubeconfig_of_nobody(Path(real), tmp_path / "kubeconfig")),
        "COLLABSPACE_BROKER_SWEEP_SECONDS": "0.2",
    }
    broker.start()

    def postponed() -> int:
        return sum(event["message"] == "sweep-postponed" for event in log_events(broker.log))

    await asyncio.to_thread(awaited, lambda: postponed() >= 3, "nothing is postponed")
    assert broker.place.keys(f"{pod.task.uid}/versions") and removed(broker, "task_uid", pod.task.uid) == []
    broker.stop()
    broker.environment["COLLABSPACE_KUBECONFIG"] = real
    broker.start()
    await asyncio.to_thread(awaited, lambda: not broker.place.keys(pod.task.uid), "it is never swept")


@times_set
async def test_uploads_that_were_given_up_go_after_a_day_and_younger_ones_stay(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker(COLLABSPACE_BROKER_SWEEP_SECONDS="0.2")
    notes = await pushed(world, broker, tmp_path / "notes")
    broker.stop()
    old, young = "0" * 64, "1" * 64
    parts, blobs = broker.staging / notes.uid / "uploads", broker.staging / notes.uid / "blobs"
    for name in (old, young):
        (parts / name).mkdir(parents=True)
        (parts / name / name).write_bytes(b"half")
        (blobs / name).write_bytes(b"whole, and in no version")
    before = time.time() - DAY - 60
    for path in (parts / old / old, parts / old, blobs / old, *blobs.iterdir()):
        if young not in str(path):
            os.utime(path, (before, before))
    broker.start()
    await asyncio.to_thread(awaited, lambda: len(removed(broker, "dataset_uid", notes.uid)) == 2, "nothing is swept")
    awaited(lambda: not (blobs / old).exists(), "the blob stays")
    assert not (parts / old).exists() and (parts / young / young).exists() and (blobs / young).exists()
    assert {record["reason"] for record in removed(broker, "dataset_uid", notes.uid)} == {"UploadStale", "Unreferenced"}
    assert all((blobs / file.sha256).exists() for file in notes.manifest.files), "a version's blobs are old and stay"


async def test_a_store_that_is_away_is_not_an_empty_one(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker(COLLABSPACE_BROKER_SWEEP_SECONDS="0.2")
    notes = await pushed(world, broker, tmp_path / "notes")
    pod = await trained(world, broker, notes, tmp_path)
    await asyncio.to_thread(broker.place.take_away)
    await world.deleted(f"{TASKS.format(notes.owner)}/ner")

    def postponed() -> int:
        return sum(event["message"] == "sweep-postponed" for event in log_events(broker.log))

    before = postponed()
    await asyncio.to_thread(awaited, lambda: postponed() >= before + 3, "nothing is postponed")
    assert removed(broker, "task_uid", pod.task.uid) == []
    await asyncio.to_thread(broker.place.give_back)
    await asyncio.to_thread(awaited, lambda: not broker.place.keys(pod.task.uid), "it is never swept")
    token = await world.token(notes.owner, names.READER_ACCOUNT)
    with broker.client(token) as client, pytest.raises(AccessRefused):
        await asyncio.to_thread(client.result, notes.owner, "ner")
