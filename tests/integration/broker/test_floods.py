"""Floods of refusals: few rows that say how many, little memory, and an honest caller who hardly notices."""

import asyncio
import itertools
import os
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from broker_harness import BrokerProcess, World, log_events
from published_notes import Published, pushed

from collabspace.api import names

# Ten thousand take minutes: each is a TLS connection of its own.
REFUSALS = int(os.environ.get("COLLABSPACE_TEST_REFUSALS", "60"))
AT_ONCE = 8
ACCOUNTS = 10
MAX_GROWTH_MIB = 48
HONEST_SECONDS = 10.0


@dataclass(frozen=True)
class Ask:
    """One request that is to be refused."""

    token: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Scene:
    world: World
    published: Published

    async def one_caller(self) -> Iterator[Ask]:
        token = await self.world.token(await self.world.team(), names.READER_ACCOUNT)
        return itertools.repeat(Ask(token, {"namespace": self.published.owner, "name": "notes"}))

    async def made_up_names(self) -> Iterator[Ask]:
        token = await self.world.token(await self.world.team(), names.READER_ACCOUNT)
        owner = self.published.owner
        return (Ask(token, {"namespace": owner, "name": f"fake-{number}"}) for number in itertools.count())

    async def many_callers(self) -> Iterator[Ask]:
        """All of one namespace, whose members may make as many accounts as they like."""
        team = await self.world.team()
        tokens = []
        for number in range(ACCOUNTS):
            body = {"metadata": {"name": f"made-{number}", "namespace": team}}
            await self.world.admin.create(f"/api/v1/namespaces/{team}/serviceaccounts", body)
            tokens.append(await self.world.token(team, f"made-{number}"))
        asked = {"namespace": self.published.owner, "name": "notes"}
        return (Ask(token, asked) for token in itertools.cycle(tokens))

    async def junk(self) -> Iterator[Ask]:
        head, body, signature = (await self.world.token(self.published.owner, names.READER_ACCOUNT)).split(".")
        return (Ask(f"{head}.{body}.{number:08d}{signature[8:]}", {}) for number in itertools.count())


FLOODS: dict[str, Callable[[Scene], Awaitable[Iterator[Ask]]]] = {
    "GrantMissing": Scene.one_caller,
    "NotFound": Scene.made_up_names,
    "AccountNotKnown": Scene.many_callers,
    "TokenRefused": Scene.junk,
}


@asynccontextmanager
async def calling(broker: BrokerProcess) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context(cadata=broker.ca)
    async with httpx.AsyncClient(base_url=broker.url, verify=context, timeout=60, trust_env=False) as client:
        yield client


async def flood(client: httpx.AsyncClient, asks: Iterator[Ask]) -> list[int]:
    """The status of every refusal, asked for by AT_ONCE callers at a time."""
    statuses: list[int] = []

    async def caller() -> None:
        while len(statuses) < REFUSALS:
            ask = next(asks)
            statuses.append(0)
            place = len(statuses) - 1
            response = await client.post(
                "/v1/sessions", json=ask.body, headers={"Authorization": f"Bearer {ask.token}"}
            )
            statuses[place] = response.status_code

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return statuses


async def honest(client: httpx.AsyncClient, token: str, until: asyncio.Event) -> list[float]:
    """How long the calls of a caller took who does nothing wrong."""
    took = []
    while not until.is_set():
        began = time.monotonic()
        response = await client.get("/v1/ledger", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 200
        took.append(time.monotonic() - began)
    return took


def resident_mib(broker: BrokerProcess) -> float:
    lines = Path(f"/proc/{broker.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


async def flooded(broker: BrokerProcess, asks: Iterator[Ask], quiet: str) -> None:
    """One flood, while an honest caller goes on; neither fails, and nothing grows with the flood."""
    memory, lines, rows = resident_mib(broker), len(log_events(broker.log)), len(broker.rows("event = 'Denied'"))
    over = asyncio.Event()
    async with calling(broker) as loud, calling(broker) as other:
        waiting = asyncio.create_task(honest(other, quiet, over))
        began = time.monotonic()
        statuses = await flood(loud, asks)
        seconds = time.monotonic() - began
        over.set()
        took = await waiting
    assert set(statuses) == {403}
    assert statistics.median(took) < HONEST_SECONDS
    new = len(broker.rows("event = 'Denied'")) - rows
    assert 1 <= new <= 2 + seconds / 30, "one row a minute, and the one that settles the minute before"
    grown = resident_mib(broker) - memory
    assert grown < MAX_GROWTH_MIB, f"{grown:.0f} MiB more"
    refused = [event for event in log_events(broker.log)[lines:] if event.get("status") == 403]
    assert len(refused) <= 110 + 6 * seconds
    print(
        f"{len(statuses)} in {seconds:.1f} s, {new} rows, {len(refused)} lines, {grown:.1f} MiB more; "
        f"honest p50 {statistics.median(took) * 1000:.0f} ms, worst {max(took) * 1000:.0f} ms"
    )


async def test_floods_of_refusals_are_a_few_rows_that_say_how_many(
    world: World, make_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    """Of one caller, for made-up names, of many accounts, with junk: the rate limit is off, the flood gets through."""
    broker = make_broker(COLLABSPACE_BROKER_REQUESTS_PER_SECOND="100000")
    scene = Scene(world, await pushed(world, broker, tmp_path))
    quiet = await world.token(scene.published.owner, names.READER_ACCOUNT)
    for make in FLOODS.values():
        await flooded(broker, await make(scene), quiet)
    await asyncio.to_thread(broker.stop)
    for reason in FLOODS:
        rows = broker.rows("event = 'Denied' AND reason = ?", reason)
        assert sum(row["repeats"] for row in rows) == REFUSALS, reason
    settled = broker.rows("reason = 'AccountNotKnown'")[-1]
    assert (settled["account"], settled["token_id"]) == ("", None), "the accounts that it counts differ in both"
