"""Data goes out to those who may have it, whole, and on record before the first byte."""

import asyncio
from pathlib import Path

from broker_harness import BrokerProcess, Pin, World, contents
from conftest import Published


async def test_a_granted_trainer_reads_back_what_was_pushed(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    lab = await world.team()
    await world.grant(published.owner, lab)
    pod = await world.trainer(lab, [Pin(published.owner, published.uid, published.digest)])
    with broker.client(await pod.token()) as client:
        manifest = await asyncio.to_thread(client.fetch_version, published.uid, published.digest, tmp_path / "got")
    assert manifest == published.manifest
    assert contents(tmp_path / "got", manifest) == contents(published.folder, manifest)
    opened, closed = broker.rows("namespace = ?", lab)
    assert (opened["event"], opened["decision"], opened["grant"], opened["purpose"], opened["use"]) == (
        "Opened", "Allowed", "research", "named entities", "Train",
    )  # fmt: skip
    assert (opened["pod_uid"], opened["task_uid"], opened["attempt"]) == (
        pod.body["metadata"]["uid"], pod.task.uid, 1,
    )  # fmt: skip
    assert (closed["event"], closed["bytes"]) == ("Closed", manifest.size)
