"""How long a grant that was taken back still helps: until the next read is refused, and until an open stream is cut.

    python tests/bench/revocation.py [--tries 20]

Each try is a trainer's pod of a team of its own with two sessions: on one it reads a byte twenty times a second, on the
other a stream stands open. Then the owner takes the grant back. The times count from the moment that the API server
has accepted this: to the first refusal, and to the record that closes the stream with the bytes it sent.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "integration" / "broker"))

from broker import Bench, bench
from broker_harness import Pin, awaited
from large_model import WEIGHTS, pushed_model
from published_notes import Published

PROMISED_SECONDS = 5.0


def opened(http: httpx.Client, model: Published) -> str:
    """Path of the weights on a session of its own."""
    answer = http.post("/v1/sessions", json={"uid": model.uid, "digest": model.digest})
    answer.raise_for_status()
    return f"/v1/sessions/{answer.json()['id']}/files/{WEIGHTS}"


def until_refused(http: httpx.Client, path: str) -> float:
    """The moment of the first read that is not served."""

    def refused() -> bool:
        return http.get(path, headers={"Range": "bytes=0-0"}).status_code != httpx.codes.PARTIAL_CONTENT

    awaited(refused, "reads are served for ever")
    return time.monotonic()


def until_cut(at: Bench, task_uid: str) -> float:
    """The moment when the end of the stream is on record: the session that sent more than single bytes."""
    where = "event = 'Closed' AND task_uid = ? AND bytes > 65536"
    awaited(lambda: at.broker.rows(where, task_uid), "the stream is never cut")
    return time.monotonic()


async def one_try(at: Bench, model: Published) -> tuple[float, float]:
    """Seconds from the revocation to the first refusal and to the cut."""
    lab = await at.world.team()
    await at.world.grant(model.owner, lab)
    pod = await at.world.trainer(lab, [Pin(model.owner, model.uid, model.digest)])
    with at.broker.http(await pod.token()) as http:
        reads, streamed = [await asyncio.to_thread(opened, http, model) for _ in range(2)]
        request = http.build_request("GET", streamed)
        answer = await asyncio.to_thread(lambda: http.send(request, stream=True))
        chunks = answer.iter_raw(1 << 16)  # while this lives, the connection does
        await asyncio.to_thread(next, chunks)
        await at.world.revoke(model.owner)
        revoked = time.monotonic()
        refused, cut = await asyncio.gather(
            asyncio.to_thread(until_refused, http, reads), asyncio.to_thread(until_cut, at, pod.task.uid)
        )
        answer.close()
    return refused - revoked, cut - revoked


def line(name: str, seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p50, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99))
    return f"{name}: p50 {p50:.2f} s, p99 {p99:.2f} s, max {ordered[-1]:.2f} s over {len(ordered)} tries"


async def main() -> int:
    parser = argparse.ArgumentParser(description="Time from a revocation to its effect on reads and streams.")
    parser.add_argument("--tries", type=int, default=20)
    tries = parser.parse_args().tries
    async with bench() as at:
        model = await pushed_model(at.world, at.broker, at.folder / "model")
        found = [await one_try(at, model) for _ in range(tries)]
    refusals, cuts = [first for first, _ in found], [second for _, second in found]
    print(line("next read refused", refusals))
    print(line("open stream cut and on record", cuts))
    return int(max(*refusals, *cuts) > PROMISED_SECONDS)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
