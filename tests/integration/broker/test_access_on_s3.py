"""The door is the same before a store in S3: who may read and write, what is on record, and how it ends."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from broker_harness import MARKER, BrokerProcess, Pin, World, awaited, contents
from published_notes import Published, pushed
from radosgw_server import RadosGateway

from collabspace.api import names
from collabspace.client.errors import AccessRefused, BrokerError

PATIENCE = 30


@pytest.fixture(scope="session")
def make_s3_broker(
    make_broker: Callable[..., BrokerProcess], radosgw: RadosGateway, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., BrokerProcess]:
    bucket, folder = radosgw.bucket(), tmp_path_factory.mktemp("s3")
    for name, value in (("access", radosgw.access_key), ("secret", radosgw.secret_key)):
        (folder / name).write_text(value)

    def make(prefix: str, reads: str) -> BrokerProcess:
        return make_broker(
            COLLABSPACE_BROKER_STORE=f"s3://{bucket}/{prefix}",
            COLLABSPACE_BROKER_STAGING=str(folder / prefix),
            COLLABSPACE_BROKER_READS=reads,
            COLLABSPACE_BROKER_S3_ENDPOINT=radosgw.endpoint,
            COLLABSPACE_BROKER_S3_ACCESS_KEY_FILE=str(folder / "access"),
            COLLABSPACE_BROKER_S3_SECRET_KEY_FILE=str(folder / "secret"),
        )

    return make


@pytest.fixture(scope="session")
def gateway(make_s3_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return make_s3_broker("gateway", "Gateway")


def stored(broker: BrokerProcess, radosgw: RadosGateway, owner: str) -> list[str]:
    """Keys of one owner, below the prefix."""
    bucket, _, prefix = broker.environment["COLLABSPACE_BROKER_STORE"].removeprefix("s3://").partition("/")
    client = radosgw.client()
    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/{owner}/").get("Contents") or []
    client.close()
    return [item["Key"].removeprefix(f"{prefix}/{owner}/") for item in listed]


def left_in_staging(broker: BrokerProcess) -> list[Path]:
    return [path for path in Path(broker.environment["COLLABSPACE_BROKER_STAGING"]).rglob("*") if path.is_file()]


async def test_pushed_granted_read_and_revoked_through_the_gateway(
    world: World, gateway: BrokerProcess, radosgw: RadosGateway, tmp_path: Path
) -> None:
    broker = gateway
    notes = await pushed(world, broker, tmp_path)
    blobs = {f"blobs/{file.sha256}" for file in notes.manifest.files}
    keys = await asyncio.to_thread(stored, broker, radosgw, notes.uid)
    assert set(keys) == {*blobs, f"versions/{notes.digest.removeprefix('sha256:')}.json"}
    assert left_in_staging(broker) == [], "nothing of it stays on the broker's disk"
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
    world: World, make_s3_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = await asyncio.to_thread(make_s3_broker, "redirect", "Redirect")
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
    world: World, gateway: BrokerProcess, radosgw: RadosGateway, tmp_path: Path
) -> None:
    broker = gateway
    notes = await pushed(world, broker, tmp_path)
    bucket, _, prefix = broker.environment["COLLABSPACE_BROKER_STORE"].removeprefix("s3://").partition("/")
    file = notes.manifest.files[0]
    owner = radosgw.client()
    await asyncio.to_thread(
        owner.put_object, Bucket=bucket, Key=f"{prefix}/{notes.uid}/blobs/{file.sha256}", Body=b"?" * file.bytes
    )
    owner.close()
    token = await world.token(notes.owner, names.READER_ACCOUNT)
    with broker.client(token) as client, pytest.raises(BrokerError) as refused:
        await asyncio.to_thread(client.fetch_dataset, notes.owner, "notes", None, tmp_path / "got")
    assert refused.value.reason == "HashMismatch"
    assert not (tmp_path / "got" / "manifest.json").exists() and not (tmp_path / "got" / file.path).exists()
