"""Leave that ends, ends what rests on it: open streams are cut, on record with what was sent, and no read follows."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from broker_harness import DATASETS, TASKS, BrokerProcess, Pin, Pod, World, awaited, raw_manifest, written
from forwarder import forwarding
from large_model import BYTES, WEIGHTS, pushed_model, safetensors
from published_notes import Published, kubeconfig_through, port_of
from store_places import broker_sends

from collabspace.api import names
from collabspace.client.client import BrokerClient
from collabspace.client.errors import AccessRefused, BrokerUnavailable
from collabspace.kube import clock

pytestmark = broker_sends
# Five seconds are promised; a shared machine gets more before a test fails.
PATIENCE = 60.0


@dataclass
class Reader:
    """A trainer that has begun to read the model and goes on when it is told to."""

    world: World
    pod: Pod
    token: str
    http: httpx.Client
    answer: httpx.Response
    chunks: object

    @classmethod
    def begun(cls, world: World, broker: BrokerProcess, pod: Pod, token: str, model: Published) -> "Reader":
        http = broker.http(token)
        session = http.post("/v1/sessions", json={"uid": model.uid, "digest": model.digest})
        assert session.status_code == 201, session.text
        path = f"/v1/sessions/{session.json()['id']}/files/{WEIGHTS}"
        answer = http.send(http.build_request("GET", path), stream=True)
        chunks = answer.iter_raw(1 << 16)
        next(chunks)
        return cls(world, pod, token, http, answer, chunks)

    def rest(self) -> int:
        """Bytes of the rest. Raises httpx.TransportError when the stream breaks."""
        return sum(len(chunk) for chunk in self.chunks)  # type: ignore[attr-defined]

    def close(self) -> None:
        self.answer.close()
        self.http.close()


@pytest.fixture
async def model(world: World, broker: BrokerProcess, tmp_path: Path) -> Published:
    return await pushed_model(world, broker, tmp_path / "model")


async def reader(world: World, broker: BrokerProcess, model: Published) -> Reader:
    lab = await world.team()
    pod = await world.trainer(lab, [Pin(model.owner, model.uid, model.digest)])
    token = await pod.token()
    await grant(world, model, lab)
    return await asyncio.to_thread(Reader.begun, world, broker, pod, token, model)


async def grant(world: World, model: Published, to: str, **changes: str | None) -> None:
    """Adds a grant, or changes the one that is there."""
    path = f"{DATASETS.format(model.owner)}/notes"
    others = [one for one in (await world.admin.get(path))["spec"].get("grants", []) if one["namespace"] != to]
    wanted = {
        "name": to,
        "namespace": to,
        "namespaceUID": await world.uid(to),
        "uses": ["Train"],
        "purpose": "named entities",
        **changes,
    }
    await world.admin.merge(path, {"spec": {"grants": [*others, {k: v for k, v in wanted.items() if v is not None}]}})


async def revoked(reader: Reader, model: Published) -> None:
    path = f"{DATASETS.format(model.owner)}/notes"
    grants = (await reader.world.admin.get(path))["spec"]["grants"]
    left = [one for one in grants if one["namespace"] != reader.pod.namespace]
    await reader.world.admin.merge(path, {"spec": {"grants": left}})


async def expired(reader: Reader, model: Published) -> None:
    soon = clock.rfc3339(clock.now() + dt.timedelta(seconds=1))
    await grant(reader.world, model, reader.pod.namespace, notAfter=soon)


async def meant_for_another_namespace(reader: Reader, model: Published) -> None:
    await grant(reader.world, model, reader.pod.namespace, namespaceUID="0a1b2c3d-0000-4000-8000-000000000001")


async def pod_gone(reader: Reader, _: Published) -> None:
    await reader.world.deleted(reader.pod.path)


async def pod_told_to_go(reader: Reader, _: Published) -> None:
    await reader.world.admin.delete(reader.pod.path, grace_seconds=300)


async def superseded(reader: Reader, _: Published) -> None:
    status = f"{TASKS.format(reader.pod.namespace)}/ner/status"
    await reader.world.admin.merge(status, {"status": {"attempts": [{"number": 1}, {"number": 2}]}})


ENDS: dict[str, Callable[[Reader, Published], Awaitable[None]]] = {
    "GrantMissing": revoked,
    "GrantExpired": expired,
    "NamespaceReplaced": meant_for_another_namespace,
    "PodGone": pod_gone,
    "PodNotRunning": pod_told_to_go,
    "AttemptSuperseded": superseded,
}


async def test_a_stream_is_cut_when_leave_to_read_ends_and_says_why_on_record(
    world: World, broker: BrokerProcess, model: Published
) -> None:
    readers = {reason: await reader(world, broker, model) for reason in ENDS}
    goes_on = await reader(world, broker, model)
    for reason, end in ENDS.items():
        await end(readers[reason], model)
    for reason, one in readers.items():
        await asyncio.to_thread(awaited, lambda: closed(broker, one.pod), f"no end of {reason}", PATIENCE)  # noqa: B023
        (record,) = closed(broker, one.pod)
        assert record["reason"] == reason
        assert 0 < record["bytes"] < BYTES
        with pytest.raises(httpx.TransportError):
            await asyncio.to_thread(one.rest)
        again = await asyncio.to_thread(one.http.post, "/v1/sessions", json={"uid": model.uid, "digest": model.digest})
        assert (again.status_code, again.json()["reason"]) == (403, "AccessRefused"), reason
        one.close()
    assert closed(broker, goes_on.pod) == []
    assert await asyncio.to_thread(goes_on.rest) > BYTES - (2 << 20), "nobody else's stream is touched"
    goes_on.close()


def closed(broker: BrokerProcess, pod: Pod) -> list[dict[str, object]]:
    return broker.rows("event = 'Closed' AND task_uid = ?", pod.task.uid)


async def test_a_dataset_that_is_deleted_and_made_again_ends_streams_of_the_old_one(
    world: World, broker: BrokerProcess, model: Published
) -> None:
    one = await reader(world, broker, model)
    await world.deleted(f"{DATASETS.format(model.owner)}/notes")
    await world.dataset(model.owner, "notes", format="Model")
    await grant(world, model, one.pod.namespace)
    await asyncio.to_thread(awaited, lambda: closed(broker, one.pod), "the stream goes on", PATIENCE)
    assert [record["reason"] for record in closed(broker, one.pod)] == ["DatasetReplaced"]
    with pytest.raises(httpx.TransportError):
        await asyncio.to_thread(one.rest)
    one.close()


async def test_a_cut_client_is_told_that_access_is_refused(
    world: World, broker: BrokerProcess, model: Published, tmp_path: Path
) -> None:
    lab = await world.team()
    await grant(world, model, lab)
    pod = await world.trainer(lab, [Pin(model.owner, model.uid, model.digest)])
    token = await pod.token()
    held = asyncio.Event()
    async with forwarding(int(broker.url.rpartition(":")[2])) as line:
        loop = asyncio.get_running_loop()
        released = asyncio.Event()

        def hold() -> None:
            """The line stands still in the middle of the file until leave is taken back."""
            loop.call_soon_threadsafe(held.set)
            asyncio.run_coroutine_threadsafe(released.wait(), loop).result(PATIENCE + 60)

        line.when(8 << 20, hold)
        with BrokerClient(f"https://127.0.0.1:{line.port}", lambda: token, broker.ca, patience=60.0) as client:
            fetching = asyncio.create_task(
                asyncio.to_thread(client.fetch_version, model.uid, model.digest, tmp_path / "got")
            )
            await held.wait()
            await world.revoke(model.owner)
            await asyncio.to_thread(awaited, lambda: closed(broker, pod), "the stream goes on", PATIENCE)
            released.set()
            with pytest.raises(AccessRefused):
                await fetching
    assert not (tmp_path / "got" / WEIGHTS).exists()


async def test_streams_outlive_an_api_server_that_is_away_for_a_while_and_not_one_that_stays_away(
    world: World, make_broker: Callable[..., BrokerProcess], broker: BrokerProcess, tmp_path: Path
) -> None:
    real = Path(broker.environment["COLLABSPACE_KUBECONFIG"])
    async with forwarding(port_of(real)) as line:
        kubeconfig = kubeconfig_through(line.port, real, tmp_path / "kubeconfig")
        lonely = await asyncio.to_thread(
            make_broker, COLLABSPACE_KUBECONFIG=str(kubeconfig), COLLABSPACE_BROKER_GRACE_SECONDS="8"
        )
        model = await pushed_model(world, lonely, tmp_path / "model")
        one = await reader(world, lonely, model)
        line.shut()
        await asyncio.to_thread(awaited, lambda: line.refused, "no check is made", PATIENCE)
        assert closed(lonely, one.pod) == []
        await asyncio.to_thread(awaited, lambda: closed(lonely, one.pod), "unconfirmed, and goes on", 40)
        assert [record["reason"] for record in closed(lonely, one.pod)] == ["Unconfirmed"]
        with lonely.client(one.token, patience=1.0) as client, pytest.raises(BrokerUnavailable):
            await asyncio.to_thread(client.fetch_version, model.uid, model.digest, tmp_path / "got")
        with pytest.raises(httpx.TransportError):
            await asyncio.to_thread(one.rest)
        one.close()
        line.open = True
        with lonely.client(one.token, patience=60.0) as client:
            await asyncio.to_thread(client.fetch_version, model.uid, model.digest, tmp_path / "got")
    assert (tmp_path / "got" / WEIGHTS).stat().st_size > BYTES


async def test_a_reader_of_a_result_is_cut_when_the_task_goes(
    world: World, broker: BrokerProcess, model: Published, tmp_path: Path
) -> None:

    one = await world.trainer(model.owner, [Pin(model.owner, model.uid, model.digest)])
    files = {"model/model.safetensors": safetensors(BYTES), "DONE": b""}
    manifest = raw_manifest(one.task.uid, files)
    with broker.client(await one.token(), patience=30.0) as client:
        await asyncio.to_thread(client.publish_result, one.task, 1, written(tmp_path / "result", files), manifest)
    http = broker.http(await world.token(model.owner, names.READER_ACCOUNT))
    path = f"/v1/results/{model.owner}/ner/files/model/model.safetensors"

    def begin() -> httpx.Response:
        return http.send(http.build_request("GET", path), stream=True)

    answer = await asyncio.to_thread(begin)
    await world.deleted(f"{TASKS.format(model.owner)}/ner")
    where = "event = 'Closed' AND task_uid = ?"
    await asyncio.to_thread(awaited, lambda: broker.rows(where, one.task.uid), "the stream goes on", PATIENCE)
    with pytest.raises(httpx.TransportError):
        await asyncio.to_thread(answer.read)
    http.close()
