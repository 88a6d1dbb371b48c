"""Two brokers before one bucket and one database, as production runs them: whoever is asked, the answer is one."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from broker_harness import BrokerProcess, Pin, World, awaited, contents
from postgres_ledger import rows, settings, verified
from published_notes import Published, pushed
from store_places import Place
from stored_results import Result, stored

from collabspace.api import names
from collabspace.client.errors import BrokerError
from collabspace.client.protocol import AliasState
from postgres_server import PostgresSchema, PostgresServer

ALIAS, ROUNDS = "production", 4
Pair = tuple[BrokerProcess, BrokerProcess]


@pytest.fixture
def schema(postgres: PostgresServer) -> PostgresSchema:
    return postgres.schema()


@pytest.fixture
def pair(
    make_broker: Callable[..., BrokerProcess],
    make_s3_place: Callable[[], Place],
    schema: PostgresSchema,
    tmp_path: Path,
) -> Pair:
    place, ledger = make_s3_place(), settings(schema, tmp_path)
    return make_broker(place, **ledger), make_broker(place, **ledger)


def session(broker: BrokerProcess, token: str, notes: Published) -> str | None:
    """None: this broker does not give it."""
    with broker.http(token) as http:
        answer = http.post("/v1/sessions", json={"uid": notes.uid, "digest": notes.digest})
    return str(answer.json()["id"]) if answer.status_code == 201 else None


async def test_what_one_broker_took_in_the_other_gives_out_until_leave_is_taken_back_from_both(
    world: World, pair: Pair, schema: PostgresSchema, tmp_path: Path
) -> None:
    one, other = pair
    notes = await pushed(world, one, tmp_path)
    lab = await world.team()
    await world.grant(notes.owner, lab)
    token = await (await world.trainer(lab, [Pin(notes.owner, notes.uid, notes.digest)])).token()
    await asyncio.to_thread(awaited, lambda: session(other, token, notes), "the other does not hear of the version")
    with other.client(token) as client:
        await asyncio.to_thread(client.fetch_version, notes.uid, notes.digest, tmp_path / "got")
    assert contents(tmp_path / "got", notes.manifest) == contents(notes.folder, notes.manifest)
    begun = {broker: await asyncio.to_thread(session, broker, token, notes) for broker in pair}
    path = f"files/{notes.manifest.files[0].path}"

    def given(broker: BrokerProcess) -> bool:
        with broker.http(token) as http:
            return http.get(f"/v1/sessions/{begun[broker]}/{path}").status_code == 200

    assert [await asyncio.to_thread(given, broker) for broker in pair] == [True, True]
    await world.revoke(notes.owner)
    for broker in pair:
        assert await asyncio.to_thread(session, broker, token, notes) is None
        await asyncio.to_thread(awaited, lambda: not given(broker), "what was begun goes on")  # noqa: B023
    where = f"event = 'Closed' AND namespace = '{lab}' AND reason = 'GrantMissing'"
    await asyncio.to_thread(awaited, lambda: len(rows(schema, "1", where)) >= 2, "an end is not on record")
    assert len(rows(schema, "1", f"event = 'Denied' AND namespace = '{lab}'")) == 2, "one of each broker"
    assert (await asyncio.to_thread(verified, schema.url))[0] == 0


async def test_of_two_brokers_that_promote_at_once_exactly_one_does_and_both_know_which(
    world: World, pair: Pair, schema: PostgresSchema, tmp_path: Path
) -> None:
    notes = await pushed(world, pair[0], tmp_path)
    results = [(await stored(world, pair[number % 2], notes, tmp_path, f"t{number}"))[1] for number in range(3)]
    token = await world.token(names.SYSTEM_NAMESPACE, names.OPERATOR_ACCOUNT)

    def promote(broker: BrokerProcess, result: Result, key: str, replaces: str | None) -> AliasState | str:
        with broker.client(token) as client:
            try:
                return client.set_alias(result.namespace, ALIAS, result.change(key, replaces))
            except BrokerError as error:
                return error.reason

    async def at_once(wished: list[Result], keys: tuple[str, str], replaces: str | None) -> list[AliasState | str]:
        asked = zip(pair, wished, keys, strict=True)
        return await asyncio.gather(*(asyncio.to_thread(promote, *ask, replaces) for ask in asked))

    stands: str | None = None
    for number in range(ROUNDS):
        wished = [result for result in results if result.digest != stands][:2]
        said = await at_once(wished, (f"{number}/one", f"{number}/other"), stands)
        (won,) = [answer for answer in said if isinstance(answer, AliasState)]
        assert [answer for answer in said if isinstance(answer, str)] == ["AliasMoved"]
        stands = won.digest
        reader = await world.token(notes.owner, names.READER_ACCOUNT)
        for broker in pair:
            with broker.client(reader) as client:
                await asyncio.to_thread(
                    awaited,
                    lambda: [state.digest for state in client.aliases(notes.owner)] == [stands],  # noqa: B023
                    "one of them knows another champion",
                )
    (last, *_) = [result for result in results if result.digest != stands]
    same = await at_once([last, last], ("same", "same"), stands)
    assert all(isinstance(answer, AliasState) and answer.digest == last.digest for answer in same)
    promoted = [key for (key,) in rows(schema, "purpose", "event = 'Promoted'")]
    assert len(promoted) == ROUNDS + 1 and promoted[-1] == "same"
    assert (await asyncio.to_thread(verified, schema.url))[0] == 0
