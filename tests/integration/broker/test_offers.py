"""People look up what their team may use, with their team's rights alone."""

import asyncio

import pytest
from broker_harness import BrokerProcess, World
from published_notes import Published

from collabspace.api import names
from collabspace.client.errors import AccessRefused


async def test_a_team_hears_of_its_own_datasets_and_of_those_granted_to_it_and_a_stranger_of_none(
    world: World, broker: BrokerProcess, published: Published
) -> None:
    lab, stranger = await world.team(), await world.team()
    await world.dataset(published.owner, "secret")
    await world.grant(published.owner, lab, uses=["Train", "Evaluate"], notAfter="2999-01-01T00:00:00Z")
    heard = {}
    for team in (published.owner, lab, stranger):
        with broker.client(await world.token(team, names.READER_ACCOUNT)) as client:
            heard[team] = await asyncio.to_thread(client.datasets, team)
    assert [(each.name, each.version, each.grants) for each in heard[published.owner]] == [
        ("notes", published.digest, []),
        ("secret", None, []),
    ]
    [notes] = heard[lab]
    assert (notes.namespace, notes.name, notes.version) == (published.owner, "notes", published.digest)
    [grant] = notes.grants
    assert (grant.uses, grant.purpose, grant.not_after, grant.ended) == (
        ["Train", "Evaluate"], "named entities", "2999-01-01T00:00:00Z", False,
    )  # fmt: skip
    assert heard[stranger] == []


async def test_nobody_hears_of_what_another_team_may_use(
    world: World, broker: BrokerProcess, published: Published
) -> None:
    stranger = await world.team()
    tokens = [
        await world.token(stranger, names.READER_ACCOUNT),
        await world.token(published.owner, "other"),
        await world.token(published.owner, names.TRAINER_ACCOUNT),
    ]
    for token in tokens:
        with broker.client(token) as client, pytest.raises(AccessRefused):
            await asyncio.to_thread(client.datasets, published.owner)
