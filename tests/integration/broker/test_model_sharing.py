"""A model made of another owner's data is shared with that owner's leave alone, and only while the leave stands."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from broker_harness import BrokerProcess, Pin, World, written
from large_model import WEIGHTS, model_files
from published_notes import Published
from stored_results import Result, stored, stored_by

from collabspace.api import names
from collabspace.api.manifest import DatasetFormat
from collabspace.api.run import InitialModel, Role
from collabspace.client.errors import AccessRefused, BrokerError
from collabspace.client.protocol import Committed, UploadTarget
from collabspace.formats import SplitRule, prepare

DERIVE = {"uses": ["Train", "Derive"]}


def model_result(size: int) -> dict[str, bytes]:
    """What a trainer stores: equal sizes are equal weights."""
    files = {f"model/{path}": content for path, content in model_files(size).items()}
    return {"metrics.json": b"{}", "run.json": b"{}", "DONE": b"{}"} | files


async def trained(
    world: World, broker: BrokerProcess, data: Published, namespace: str, folder: Path, size: int, **more: Any
) -> Result:
    """A model of the namespace that has read the data, as it is on record."""
    pod, result = await stored(
        world, broker, data, folder, namespace=namespace, files=model_result(size), parents=[data.digest], **more
    )
    with broker.client(await pod.token()) as client:
        await asyncio.to_thread(client.fetch_version, data.uid, data.digest, folder / "read")
    return result


async def publish(
    world: World, broker: BrokerProcess, result: Result, folder: Path, parents: list[str], name: str = "shared"
) -> tuple[Published, Committed]:
    """Pushes the result's model into a new dataset of its team, with these parents."""
    uid = await world.dataset(result.namespace, name, format="Model")
    files = {path.removeprefix("model/"): c for path, c in result.files.items() if path.startswith("model/")}
    done = await asyncio.to_thread(
        prepare,
        written(folder / name / "raw", files),
        DatasetFormat.MODEL,
        folder / name / "ready",
        owner_uid=uid,
        split=SplitRule(),
        parents=parents,
    )
    model = Published(result.namespace, uid, done.manifest, folder / name / "ready")
    target = UploadTarget(kind="Dataset", namespace=result.namespace, name=name, uid=uid)
    with broker.client(await world.token(result.namespace, names.PUBLISHER_ACCOUNT), claimed_by="lin") as client:
        return model, await asyncio.to_thread(client.push, target, model.manifest, model.folder)


async def test_a_model_is_published_with_every_owners_leave_and_its_parents_are_on_record(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    lab = await world.team()
    await world.grant(published.owner, lab)
    result = await trained(world, broker, published, lab, tmp_path, 4096)
    parents = [result.digest, published.digest]
    with pytest.raises(AccessRefused) as refused:
        await publish(world, broker, result, tmp_path, parents)
    assert refused.value.reason == "DeriveNotGranted"
    assert f"grants add notes -n {published.owner} --to {lab} --use Derive" in refused.value.message
    (denied,) = broker.rows("event = 'Denied' AND use = 'Derive' AND owner = ?", published.owner)
    assert (denied["reason"], denied["namespace"], denied["version"]) == ("UseNotGranted", lab, published.digest)
    await world.grant(published.owner, lab, **DERIVE)
    for number, missing in enumerate(([], [result.digest])):
        with pytest.raises(BrokerError) as unnamed:
            await publish(world, broker, result, tmp_path, missing, f"unnamed-{number}")
        assert "manifest.parents" in unnamed.value.message
    model, committed = await publish(world, broker, result, tmp_path, parents, "named")
    assert committed.created
    (derived,) = broker.rows("event = 'Derived' AND owner = ?", published.owner)
    assert (derived["dataset"], derived["version"], derived["purpose"]) == ("notes", published.digest, model.digest)
    assert (derived["task"], derived["claimed_by"], derived["chain"]) == ("ner", "lin", published.uid)
    with broker.client(await world.token(names.SYSTEM_NAMESPACE, names.OPERATOR_ACCOUNT)) as client:
        feed = await asyncio.to_thread(client.feed, "", 0)
    (told,) = [each for each in feed.datasets if each.uid == model.uid]
    (source,) = told.versions[0].sources
    assert (source.namespace, source.name, source.uid) == (published.owner, "notes", published.uid)


async def test_data_that_is_learned_from_and_tested_on_is_recorded_for_both_and_is_a_source(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    lab = await world.team()
    await world.grant(published.owner, lab, uses=["Train", "Evaluate"])
    learned = Pin(published.owner, published.uid, published.digest)
    pod = await world.trainer(lab, [learned, replace(learned, name="tested", role=Role.EVALUATE)])
    with broker.client(await pod.token()) as client:
        await asyncio.to_thread(client.fetch_version, published.uid, published.digest, tmp_path / "read")
    rows = broker.rows("namespace = ? AND dataset_uid = ?", lab, published.uid)
    assert [(row["event"], row["use"]) for row in rows] == [("Opened", "Train+Evaluate"), ("Closed", "Train+Evaluate")]
    result = await stored_by(broker, pod, model_result(512), [published.digest], tmp_path / "result")
    with pytest.raises(AccessRefused) as refused:
        await publish(world, broker, result, tmp_path, [result.digest, published.digest])
    assert refused.value.reason == "DeriveNotGranted"


async def test_weights_of_ones_own_data_and_weights_from_elsewhere_need_nobodys_leave(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    own = await trained(world, broker, published, published.owner, tmp_path, 2048)
    _, committed = await publish(world, broker, own, tmp_path, [own.digest, published.digest], "own")
    assert committed.created
    lab = await world.team()
    brought = replace(own, namespace=lab, files=model_result(1024))
    _, committed = await publish(world, broker, brought, tmp_path, [], "brought")
    assert committed.created


async def test_while_the_leave_is_taken_back_nobody_reads_the_model_nor_what_was_made_of_it(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    lab, third = await world.team(), await world.team()
    await world.grant(published.owner, lab, **DERIVE)
    first = await trained(world, broker, published, lab, tmp_path / "lab", 8192)
    model, _ = await publish(world, broker, first, tmp_path / "lab", [first.digest, published.digest])
    await world.grant(lab, third, "shared", **DERIVE)
    start = {"kind": "SharedDataset", "namespace": lab, "name": "shared"}
    pinned = InitialModel(uid=model.uid, digest=model.digest)
    notes = [Pin(lab, await world.dataset(lab), published.digest)]
    pod = await world.trainer(third, notes, task="tuned", spec={"modelFrom": start}, training={"initial_model": pinned})

    async def read(folder: str) -> None:
        with broker.client(await pod.token()) as client:
            await asyncio.to_thread(client.fetch_version, model.uid, model.digest, tmp_path / folder)

    await read("granted")
    assert (tmp_path / "granted" / WEIGHTS).read_bytes() == first.files[f"model/{WEIGHTS}"]
    tuned = await stored_by(broker, pod, model_result(6144), [model.digest], tmp_path / "tuned")
    grandchild, _ = await publish(world, broker, tuned, tmp_path / "third", [tuned.digest, model.digest])
    reader = await world.token(third, names.READER_ACCOUNT)

    async def pull(folder: str) -> None:
        with broker.client(reader) as client:
            await asyncio.to_thread(client.fetch_dataset, third, "shared", None, tmp_path / folder)

    await pull("own")
    await world.grant(published.owner, lab)
    for refused in (read("quarantined"), pull("quarantined-too")):
        with pytest.raises(AccessRefused):
            await refused
    reasons = broker.rows("event = 'Denied' AND reason = 'Quarantined' AND dataset = 'shared'")
    assert {(row["owner"], row["version"]) for row in reasons} >= {(lab, model.digest), (third, grandchild.digest)}
    await world.grant(published.owner, lab, **DERIVE)
    await read("granted-again")
    await pull("own-again")
    await world.revoke(lab, "shared")
    for refused in (read("revoked"), pull("revoked-too")):
        with pytest.raises(AccessRefused):
            await refused


async def test_what_a_model_started_from_counts_among_its_sources(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    lab = await world.team()
    await world.grant(published.owner, lab, **DERIVE)
    first = await trained(world, broker, published, lab, tmp_path, 3072)
    own = await world.dataset(lab)
    pod = await world.trainer(
        lab,
        [Pin(lab, own, published.digest)],
        task="second",
        spec={"modelFrom": first.source()},
        training={"initial_model": InitialModel(uid=first.uid, digest=first.digest)},
    )
    with broker.client(await pod.token()) as client:
        await asyncio.to_thread(client.fetch_version, first.uid, first.digest, tmp_path / "started")
    second = await stored_by(broker, pod, model_result(5120), [], tmp_path / "second")
    await world.grant(published.owner, lab)
    with pytest.raises(AccessRefused) as refused:
        await publish(world, broker, second, tmp_path, [second.digest])
    assert f"{published.owner}/notes" in refused.value.message
