"""Promotion through the broker's door: by whom, of what, once whatever dies; and who may read what then stands."""

import asyncio
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from broker_harness import TASKS, BrokerProcess, Pin, World, awaited
from published_notes import Published, pushed
from stored_results import Result, stored

from collabspace.api import names
from collabspace.api.run import COMPARISON, InitialModel, RunResult
from collabspace.api.task import ModelKind
from collabspace.client.client import BrokerClient
from collabspace.client.errors import AccessRefused, BrokerError
from collabspace.client.protocol import AliasState

ALIAS = "production"


async def operator(world: World, broker: BrokerProcess, patience: float = 5.0) -> BrokerClient:
    token = await world.token(names.SYSTEM_NAMESPACE, names.OPERATOR_ACCOUNT)
    return broker.client(token, patience=patience)


async def promote(client: BrokerClient, result: Result, key: str, replaces: str | None = None) -> AliasState:
    return await asyncio.to_thread(client.set_alias, result.namespace, ALIAS, result.change(key, replaces))


def promotions(broker: BrokerProcess, namespace: str) -> list[tuple[str, str, str]]:
    """Version, alias and key of each record."""
    rows = broker.rows("event = 'Promoted' AND namespace = ?", namespace)
    return [(row["version"], row["reason"], row["purpose"]) for row in rows]


async def test_the_operator_and_a_publisher_promote_and_the_team_and_the_feed_see_it(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    _, first = await stored(world, broker, published, tmp_path, "first")
    _, second = await stored(world, broker, published, tmp_path, "second")
    with await operator(world, broker) as client:
        state = await promote(client, first, "uid/1")
    assert (state.task, state.digest, state.namespace) == ("first", first.digest, published.owner)
    with broker.client(await world.token(published.owner, names.PUBLISHER_ACCOUNT), claimed_by="lin") as client:
        state = await promote(client, second, "by-hand", first.digest)
        with pytest.raises(BrokerError) as moved:
            await promote(client, second, "late", first.digest)
        assert (moved.value.status, moved.value.reason) == (409, "AliasMoved")
    with broker.client(await world.token(published.owner, names.READER_ACCOUNT)) as client:
        assert await asyncio.to_thread(client.aliases, published.owner) == [state]
    with await operator(world, broker) as client:
        feed = await asyncio.to_thread(client.feed, "", 0)
    assert [each for each in feed.aliases if each.namespace == published.owner] == [state]
    assert promotions(broker, published.owner) == [(first.digest, ALIAS, "uid/1"), (second.digest, ALIAS, "by-hand")]
    rows = broker.rows("event = 'Promoted' AND namespace = ?", published.owner)
    assert [(row["account"], row["claimed_by"], row["task"]) for row in rows] == [
        (names.OPERATOR_ACCOUNT, None, "first"),
        (names.PUBLISHER_ACCOUNT, "lin", "second"),
    ]


async def test_nobody_else_promotes_or_sees_what_stands(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    pod, result = await stored(world, broker, published, tmp_path)
    stranger = await world.team()
    tokens = [
        await world.token(published.owner, names.READER_ACCOUNT),
        await pod.token(),
        await world.token(stranger, names.PUBLISHER_ACCOUNT),
        await world.token(stranger, names.READER_ACCOUNT),
    ]
    for token in tokens:
        with broker.client(token) as client, pytest.raises(AccessRefused):
            await promote(client, result, "mine")
    for token in tokens[1:]:
        with broker.client(token) as client, pytest.raises(AccessRefused):
            await asyncio.to_thread(client.aliases, published.owner)
    with broker.client(tokens[2]) as client, pytest.raises(BrokerError) as others:
        await asyncio.to_thread(client.set_alias, stranger, ALIAS, result.change("mine"))
    assert others.value.reason == "ResultIncomplete", "another team's result is no model of this one"
    with broker.client(await world.token(published.owner, names.PUBLISHER_ACCOUNT)) as client:
        for alias in ("a/b", "../x", "Production", "-a", "a" * 64, "é"):
            with pytest.raises(BrokerError) as refused:
                await asyncio.to_thread(client.set_alias, published.owner, alias, result.change("mine"))
            assert (refused.value.status, "alias:" in refused.value.message) == (422, True), alias
    assert promotions(broker, published.owner) == []


async def test_killed_at_any_instant_the_broker_has_promoted_once_and_a_whole_model(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    data = await pushed(world, broker, tmp_path)
    results = [(await stored(world, broker, data, tmp_path, f"t{number}"))[1] for number in range(2)]
    chance, before, expected = random.Random(7), None, []
    for number, result in enumerate(results):
        client = await operator(world, broker, patience=60.0)
        with client:
            asked = asyncio.create_task(promote(client, result, f"uid/{number}", before))
            await asyncio.sleep(chance.uniform(0, 0.06))
            broker.stop(signal.SIGKILL)
            await asyncio.to_thread(broker.start)
            state = await asked
        assert state.digest == result.digest
        expected.append((result.digest, ALIAS, f"uid/{number}"))
        assert promotions(broker, data.owner) == expected
        before = result.digest
    with broker.client(await world.token(data.owner, names.READER_ACCOUNT)) as client:
        await asyncio.to_thread(client.fetch_result, data.owner, ModelKind.ALIAS, ALIAS, tmp_path / "got")
    assert (tmp_path / "got/model/model.safetensors").read_bytes() == results[-1].files["model/model.safetensors"]


async def test_a_task_starts_from_what_its_spec_names_and_a_comparison_gets_counts_alone(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    _, result = await stored(world, broker, published, tmp_path)
    with await operator(world, broker) as client:
        await promote(client, result, "uid/1")
    pins = [Pin(published.owner, published.uid, published.digest)]
    model = {"initial_model": InitialModel(uid=result.uid, digest=result.digest)}
    sources = {"by-task": result.source(), "by-alias": result.source(ModelKind.ALIAS, ALIAS)}
    for task, source in sources.items():
        pod = await world.trainer(published.owner, pins, task=task, spec={"modelFrom": source}, training=model)
        with broker.client(await pod.token()) as client:
            await asyncio.to_thread(client.fetch_version, result.uid, result.digest, tmp_path / task)
        (opened,) = broker.rows("event = 'Opened' AND task_uid = ?", pod.task.uid)
        assert (opened["reason"], opened["version"]) == ("Own", result.digest)
        assert (tmp_path / task / "model/model.safetensors").read_bytes() == result.files["model/model.safetensors"]
        assert not any((tmp_path / task / name).exists() for name in ("counts", "predictions"))
    listed = {"name": "a", "candidate": "a", "taskName": "ner", "digest": result.digest}
    pinned = RunResult(name="a", candidate="a", uid=result.uid, digest=result.digest)
    pod = await world.trainer(
        published.owner,
        pins,
        task="compare",
        spec={"method": COMPARISON, "results": [listed]},
        training={"method": COMPARISON, "results": [pinned]},
    )
    with broker.client(await pod.token()) as client:
        await asyncio.to_thread(client.fetch_version, result.uid, result.digest, tmp_path / "compare")
    found = {str(path.relative_to(tmp_path / "compare")) for path in (tmp_path / "compare").rglob("*.*")}
    assert found == {"counts/notes-test.safetensors", "metrics.json", "run.json", "manifest.json"}
    with broker.http(await pod.token()) as http:
        session = http.post("/v1/sessions", json={"uid": result.uid, "digest": result.digest}).json()["id"]
        refused = http.get(f"/v1/sessions/{session}/files/model/model.safetensors")
    assert (refused.status_code, refused.json()["reason"]) == (403, "FileWithheld")


async def test_a_task_gets_no_result_that_its_spec_does_not_name(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    _, result = await stored(world, broker, published, tmp_path)
    _, other = await stored(world, broker, published, tmp_path, "other")
    lab = await world.team()
    await world.grant(published.owner, lab)
    pins = [Pin(published.owner, published.uid, published.digest)]
    pinned = {"initial_model": InitialModel(uid=result.uid, digest=result.digest)}
    compared = {"results": [RunResult(name="a", candidate="a", uid=result.uid, digest=result.digest)]}
    listed = {"name": "a", "candidate": "a", "taskName": "ner", "digest": result.digest}
    wrong = {
        "unnamed": (published.owner, {}, pinned),
        "another-task": (published.owner, {"modelFrom": other.source()}, pinned),
        "another-digest": (published.owner, {"modelFrom": result.source() | {"digest": other.digest}}, pinned),
        "no-such-alias": (published.owner, {"modelFrom": result.source(ModelKind.ALIAS, ALIAS)}, pinned),
        "another-team": (lab, {"modelFrom": result.source()}, pinned),
        "same-name": (lab, {"modelFrom": result.source() | {"namespace": lab}}, pinned),
        "learns": (published.owner, {"results": [listed]}, compared),
        "not-listed": (published.owner, {"method": COMPARISON}, compared | {"method": COMPARISON}),
    }
    for task, (namespace, spec, training) in wrong.items():
        pod = await world.trainer(namespace, pins, task=task, spec=spec, training=training)
        with broker.client(await pod.token()) as client, pytest.raises(AccessRefused):
            await asyncio.to_thread(client.fetch_version, result.uid, result.digest, tmp_path / task)
        assert not (tmp_path / task).exists(), task


async def test_people_get_a_model_by_task_and_by_alias_and_nothing_per_record(
    world: World, broker: BrokerProcess, published: Published, tmp_path: Path
) -> None:
    _, result = await stored(world, broker, published, tmp_path)
    with await operator(world, broker) as client:
        await promote(client, result, "uid/1")
    with broker.client(await world.token(published.owner, names.READER_ACCOUNT)) as client:
        for kind, name in ((ModelKind.COLLAB_TASK, "ner"), (ModelKind.ALIAS, ALIAS)):
            into = tmp_path / kind
            manifest = await asyncio.to_thread(client.fetch_result, published.owner, kind, name, into)
            assert manifest.digest == result.digest and (into / "report.txt").is_file()
            assert not any((into / name).exists() for name in ("counts", "predictions"))
        for path in ("counts/notes-test.safetensors", "predictions/notes-test.jsonl"):
            with pytest.raises(AccessRefused) as withheld:
                await asyncio.to_thread(client.result_file, published.owner, "ner", path)
            assert withheld.value.reason == "FileWithheld" and "metrics.json" in withheld.value.message
        with pytest.raises(AccessRefused):
            await asyncio.to_thread(client.fetch_result, published.owner, ModelKind.ALIAS, "none", tmp_path / "none")
    with broker.client(await world.token(await world.team(), names.READER_ACCOUNT)) as client:
        for kind, name in ((ModelKind.COLLAB_TASK, "ner"), (ModelKind.ALIAS, ALIAS)):
            with pytest.raises(AccessRefused):
                await asyncio.to_thread(client.fetch_result, published.owner, kind, name, tmp_path / "stolen")


async def test_what_an_alias_stands_for_and_stood_for_last_outlives_its_task(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker(COLLABSPACE_BROKER_SWEEP_SECONDS="0.2")
    data = await pushed(world, broker, tmp_path)
    results = [(await stored(world, broker, data, tmp_path, f"t{number}"))[1] for number in range(4)]
    with await operator(world, broker) as client:
        for number, result in enumerate(results[:2]):
            await promote(client, result, f"uid/{number}", results[number - 1].digest if number else None)
        for task in ("t0", "t1", "t2"):
            await world.deleted(f"{TASKS.format(data.owner)}/{task}")
        await asyncio.to_thread(awaited, lambda: not broker.place.keys(results[2].uid), "nothing is swept")
        back = await promote(client, results[0], "back", results[1].digest)
        assert (back.task, back.digest) == ("t0", results[0].digest), "the old champion is whole without its task"
        await promote(client, results[3], "uid/3", results[0].digest)
    await asyncio.to_thread(awaited, lambda: not broker.place.keys(results[1].uid), "it is never let go")
    assert broker.place.keys(f"{results[0].uid}/versions")


async def test_aliases_go_with_their_namespace(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker(COLLABSPACE_BROKER_SWEEP_SECONDS="0.2")
    data = await pushed(world, broker, tmp_path)
    _, result = await stored(world, broker, data, tmp_path)
    with await operator(world, broker) as client:
        state = await promote(client, result, "uid/1")
        assert broker.place.keys(f"{state.namespace_uid}/aliases")
        await world.admin.delete(f"/api/v1/namespaces/{data.owner}")
        await asyncio.to_thread(awaited, lambda: not broker.place.keys(state.namespace_uid), "aliases stay")
        with pytest.raises(BrokerError) as gone:
            await promote(client, result, "uid/2")
    assert gone.value.reason == "NamespaceMissing"
