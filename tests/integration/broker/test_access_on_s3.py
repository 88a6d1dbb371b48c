"""The door is the same before a store in S3: who may read and write, what is on record, and how it ends."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from broker_harness import MARKER, BrokerProcess, Pin, World, awaited, contents
from published_notes import Published, pushed
from store_places import Place

from collabspace.api import names
from collabspace.client.errors import AccessRefused, BrokerError

PATIENCE = 30


@pytest.fixture(scope="session")
def gateway(start_broker: Callable[..., BrokerProcess], make_s3_place: Callable[[], Place]) -> BrokerProcess:
    return start_broker(make_s3_place())


async def test_pushed_granted_read_and_revoked_through_the_gateway(
    world: World, gateway: BrokerProcess, tmp_path: Path
) -> None:
    broker = gateway
    notes = await pushed(world, broker, tmp_path)
    blobs = {f"blobs/{file.sha256}" for file in notes.manifest.files}
    assert set(broker.place.keys(notes.uid)) == {*blobs, f"versions/{notes.digest.removeprefix('sha256:')}.json"}
    assert [path for path in broker.staging.rglob("*") if path.is_file()] == [], (
        "nothing of it stays on the broker's disk"
    )
    lab = await world.team()
    await world.grant(notes.owner, lab)
    pod = await world.trainer(lab, [Pin(notes.owner, notes.uid, notes.digest)])
    with broker.client(await pod.token()) as client:
        await asyncio.to_thread(client.fetch_version, notes.uid, notes.digest, tmp_path / "got")
        assert contents(tmp_path / "got", notes.manifest) == contents(notes.folder, notes.manifest)
        assert await asyncio.to_thread(part_of, broker, notes, await pod.token()) == b"expected"
        await world.revoke(notes.owner)
        with pytest.raises(AccessRefused):
            await asyncio.to_thread(client.fetch_version, notes.uid, notes.digest, tmp_path / "again")
    with broker.http() as http:
        assert "EnforcementProven: True" in (await asyncio.to_thread(http.get, "/readyz?verbose")).text
    first = broker.rows("event = 'Closed' AND namespace = ?", lab)[0]
    assert first["bytes"] == notes.manifest.size
    assert MARKER not in broker.log.read_text()


def part_of(broker: BrokerProcess, notes: Published, token: str) -> bytes:
    """`expected` when eight bytes from the third on are those of the file."""
    file = notes.manifest.files[0]
    with broker.http(token) as http:
        wish = {"uid": notes.uid, "digest": notes.digest}
        session = http.post("/v1/sessions", json=wish).raise_for_status().json()["id"]
        answer = http.get(f"/v1/sessions/{session}/files/{file.path}", headers={"Range": "bytes=3-10"})
        assert answer.status_code == 206
        return b"expected" if answer.content == (notes.folder / file.path).read_bytes()[3:11] else answer.content


async def test_links_open_one_file_for_those_who_may_and_nobody_counts_what_goes(
    world: World, make_broker: Callable[..., BrokerProcess], make_s3_place: Callable[[], Place], tmp_path: Path
) -> None:
    broker = await asyncio.to_thread(make_broker, make_s3_place(), COLLABSPACE_BROKER_READS="Redirect")
    notes = await pushed(world, broker, tmp_path)
    lab = await world.team()
    await world.grant(notes.owner, lab)
    pod = await world.trainer(lab, [Pin(notes.owner, notes.uid, notes.digest)])
    token = await pod.token()
    with broker.client(token) as client:
        await asyncio.to_thread(client.fetch_version, notes.uid, notes.digest, tmp_path / "got")
    assert contents(tmp_path / "got", notes.manifest) == contents(notes.folder, notes.manifest)
    assert [row["bytes"] for row in broker.rows("event = 'Closed' AND namespace = ?", lab)] == [None]
    with broker.http(token) as http:
        wish = {"uid": notes.uid, "digest": notes.digest}
        session = (await asyncio.to_thread(http.post, "/v1/sessions", json=wish)).raise_for_status().json()["id"]
        one, other = notes.manifest.files[:2]
        path = f"/v1/sessions/{session}/files/{one.path}"
        answer = await asyncio.to_thread(http.get, path)
        assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (307, b"", "no-store")
        link = answer.headers["location"]
        assert "X-Amz-Expires=60" in link
        opened = await asyncio.to_thread(httpx.get, link)
        assert opened.content == (notes.folder / one.path).read_bytes()
        assert (await asyncio.to_thread(httpx.get, link.replace(one.sha256, other.sha256))).status_code == 403
        await world.revoke(notes.owner)
        await asyncio.to_thread(
            awaited, lambda: http.get(path).status_code in (403, 404), "links are given on after the grant", PATIENCE
        )
    said = broker.log.read_text()
    assert "X-Amz-Signature" not in said and MARKER not in said


async def test_what_the_store_has_lost_or_changed_is_never_read_as_whole(
    world: World, gateway: BrokerProcess, tmp_path: Path
) -> None:
    broker = gateway
    notes = await pushed(world, broker, tmp_path)
    file = notes.manifest.files[0]
    broker.place.write(f"{notes.uid}/blobs/{file.sha256}", b"?" * file.bytes)
    token = await world.token(notes.owner, names.READER_ACCOUNT)
    with broker.client(token) as client, pytest.raises(BrokerError) as refused:
        await asyncio.to_thread(client.fetch_dataset, notes.owner, "notes", None, tmp_path / "got")
    assert refused.value.reason == "HashMismatch"
    assert not (tmp_path / "got" / "manifest.json").exists() and not (tmp_path / "got" / file.path).exists()
