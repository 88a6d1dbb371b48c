"""Versions of a dataset that is gone go to its successor, by an admin of the platform, once and on record."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from broker_harness import DATASETS, BrokerProcess, Pin, World, contents, corpus
from published_notes import Published, pushed

from collabspace.api import names
from collabspace.api.manifest import DatasetFormat
from collabspace.client.errors import AccessRefused, BrokerError
from collabspace.client.protocol import Rebound, UploadTarget
from collabspace.formats import SplitRule, prepare
from collabspace.kube.client import KubeError


@pytest.fixture
async def admin_token(world: World) -> str:
    try:
        body = {"metadata": {"name": names.ADMIN_ACCOUNT, "namespace": names.SYSTEM_NAMESPACE}}
        await world.admin.create(f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/serviceaccounts", body)
    except KubeError as error:
        assert error.status == 409
    return await world.token(names.SYSTEM_NAMESPACE, names.ADMIN_ACCOUNT)


async def rebind(broker: BrokerProcess, token: str, namespace: str, uid: str, name: str = "notes") -> Rebound:
    with broker.client(token) as client:
        return await asyncio.to_thread(client.rebind, namespace, name, uid)


async def replaced(world: World, notes: Published, **spec: object) -> str:
    """The dataset is deleted and made again: uid of the new one."""
    await world.deleted(f"{DATASETS.format(notes.owner)}/notes")
    return await world.dataset(notes.owner, **spec)


async def read(world: World, broker: BrokerProcess, notes: Published, into: Path) -> None:
    with broker.client(await world.token(notes.owner, names.READER_ACCOUNT)) as client:
        manifest = await asyncio.to_thread(client.fetch_dataset, notes.owner, "notes", None, into)
    assert manifest.digest == notes.digest
    assert contents(into, manifest) == contents(notes.folder, notes.manifest)


async def test_the_successor_has_the_old_versions_under_their_old_digests(
    world: World, make_broker: Callable[..., BrokerProcess], admin_token: str, tmp_path: Path
) -> None:
    broker = make_broker(COLLABSPACE_BROKER_SWEEP_SECONDS="0.5")
    notes = await pushed(world, broker, tmp_path / "notes")
    uid = await replaced(world, notes)
    reader = await world.token(notes.owner, names.READER_ACCOUNT)
    with broker.client(reader) as client, pytest.raises(BrokerError, match="VersionMissing"):
        await asyncio.to_thread(client.fetch_dataset, notes.owner, "notes", None, tmp_path / "none")
    first = await rebind(broker, admin_token, notes.owner, notes.uid)
    again = await rebind(broker, admin_token, notes.owner, notes.uid)
    assert first == again == Rebound(versions=1)
    await read(world, broker, notes, tmp_path / "got")
    records = broker.rows("event = 'Rebound'")
    assert [(row["reason"], row["dataset_uid"], row["account"]) for row in records] == [
        ("Given", notes.uid, names.ADMIN_ACCOUNT),
        ("Taken", uid, names.ADMIN_ACCOUNT),
    ]
    lab = await world.team()
    pod = await world.trainer(lab, [Pin(notes.owner, uid, notes.digest)])
    with broker.client(await pod.token()) as client:
        with pytest.raises(AccessRefused):
            await asyncio.to_thread(client.fetch_version, uid, notes.digest, tmp_path / "early")
        await world.grant(notes.owner, lab)
        await asyncio.to_thread(client.fetch_version, uid, notes.digest, tmp_path / "granted")
    broker.stop()
    broker.start()
    await read(world, broker, notes, tmp_path / "later")
    operator = await world.token(names.SYSTEM_NAMESPACE, names.OPERATOR_ACCOUNT)
    with broker.client(operator) as client:
        feed = await asyncio.to_thread(client.feed, "", 0)
    heard = {dataset.uid: [version.digest for version in dataset.versions] for dataset in feed.datasets}
    assert (heard[uid], heard.get(notes.uid, [])) == ([notes.digest], [])


async def test_a_version_pushed_afterwards_stands_beside_the_old_ones(
    world: World, broker: BrokerProcess, admin_token: str, tmp_path: Path
) -> None:
    notes = await pushed(world, broker, tmp_path / "notes")
    uid = await replaced(world, notes)
    await rebind(broker, admin_token, notes.owner, notes.uid)
    done = prepare(
        corpus(tmp_path / "raw", sentences=70),
        DatasetFormat.TOKEN_CLASSIFICATION,
        tmp_path / "ready",
        owner_uid=uid,
        split=SplitRule(),
    )
    target = UploadTarget(kind="Dataset", namespace=notes.owner, name="notes", uid=uid)
    with broker.client(await world.token(notes.owner, names.PUBLISHER_ACCOUNT)) as client:
        await asyncio.to_thread(client.push, target, done.manifest, tmp_path / "ready")
    with broker.client(await world.token(notes.owner, names.READER_ACCOUNT)) as client:
        for digest, found in ((None, done.manifest.digest), (notes.digest, notes.digest)):
            into = tmp_path / found[-8:]
            assert (await asyncio.to_thread(client.fetch_dataset, notes.owner, "notes", digest, into)).digest == found


async def test_versions_go_on_to_a_second_successor_and_to_nobody_else(
    world: World, broker: BrokerProcess, admin_token: str, tmp_path: Path
) -> None:
    notes = await pushed(world, broker, tmp_path / "notes")
    second = await replaced(world, notes)
    await rebind(broker, admin_token, notes.owner, notes.uid)
    other = await world.team()
    await world.dataset(other)
    with pytest.raises(BrokerError, match="VersionsTaken"):
        await rebind(broker, admin_token, other, notes.uid)
    await replaced(world, notes)
    assert await rebind(broker, admin_token, notes.owner, second) == Rebound(versions=1)
    await read(world, broker, notes, tmp_path / "got")


async def living(world: World, notes: Published) -> tuple[str, str]:
    other = await world.team()
    await world.dataset(other)
    return other, notes.uid


async def missing(world: World, notes: Published) -> tuple[str, str]:
    await world.deleted(f"{DATASETS.format(notes.owner)}/notes")
    return notes.owner, notes.uid


async def other_format(world: World, notes: Published) -> tuple[str, str]:
    await replaced(world, notes, format="Model")
    return notes.owner, notes.uid


async def nothing_stored(world: World, notes: Published) -> tuple[str, str]:
    await replaced(world, notes)
    return notes.owner, "0a1b2c3d-0000-4000-8000-000000000001"


async def climbing(world: World, notes: Published) -> tuple[str, str]:
    await replaced(world, notes)
    return notes.owner, "../" + notes.uid


REFUSED: dict[str, Callable[[World, Published], Awaitable[tuple[str, str]]]] = {
    "StillInUse": living,
    "DatasetMissing": missing,
    "manifest.format": other_format,
    "VersionMissing": nothing_stored,
    "fromUid": climbing,
}


@pytest.mark.parametrize("reason", REFUSED)
async def test_refused_with_a_reason_is(
    world: World, broker: BrokerProcess, admin_token: str, tmp_path: Path, reason: str
) -> None:
    notes = await pushed(world, broker, tmp_path / "notes")
    namespace, uid = await REFUSED[reason](world, notes)
    with pytest.raises(BrokerError, match=reason):
        await rebind(broker, admin_token, namespace, uid)
    assert broker.rows("event = 'Rebound' AND dataset_uid = ?", notes.uid) == []


async def test_a_dataset_with_versions_of_its_own_takes_no_others(
    world: World, broker: BrokerProcess, admin_token: str, tmp_path: Path
) -> None:
    notes, other = await pushed(world, broker, tmp_path / "a"), await pushed(world, broker, tmp_path / "b")
    await world.deleted(f"{DATASETS.format(notes.owner)}/notes")
    with pytest.raises(BrokerError, match="NotEmpty"):
        await rebind(broker, admin_token, other.owner, notes.uid)


async def test_nobody_but_the_platforms_admin_account_rebinds(
    world: World, broker: BrokerProcess, tmp_path: Path
) -> None:
    notes = await pushed(world, broker, tmp_path / "notes")
    uid = await replaced(world, notes)
    path = f"/api/v1/namespaces/{notes.owner}/serviceaccounts"
    await world.admin.create(path, {"metadata": {"name": names.ADMIN_ACCOUNT, "namespace": notes.owner}})
    tokens = [
        await world.token(notes.owner, names.ADMIN_ACCOUNT),
        await world.token(notes.owner, names.PUBLISHER_ACCOUNT),
        await world.token(names.SYSTEM_NAMESPACE, names.OPERATOR_ACCOUNT),
    ]
    for token in tokens:
        with pytest.raises(AccessRefused):
            await rebind(broker, token, notes.owner, notes.uid)
    assert broker.rows("event = 'Rebound' AND dataset_uid IN (?, ?)", notes.uid, uid) == []
