"""One team floods, the others go on as before: what the flood costs them."""

import asyncio
import time

from bench_rig import Lap, Shape, at_once, rig
from report import Report
from ruler import percentile

FLOOD = 5_000
EVERY_SECONDS = 10.0
QUIET_SECONDS = 60.0
COLUMNS = {
    "lane": "s", "tasks": "d", "p50 ms": ".0f", "p99 ms": ".0f", "max ms": ".0f",
    "of it the operator's p50 ms": ".0f", "p99 ms ": ".0f",
}  # fmt: skip


async def main(flood: int = FLOOD, quiet: float = QUIET_SECONDS) -> None:
    report = Report("noisy", COLUMNS)
    async with rig(Shape()) as made:
        figures = {}
        for lane, client in (("quiet", False), ("flood, no operator", True), ("flood", False)):
            async with made.lap(operator=not client) as lap:
                figures[lane] = await measure(lap, report, lane, flood if lane != "quiet" else 0, quiet)
    report.note(f"p99 under the flood / quiet p99 = {figures['flood'] / figures['quiet']:.2f}")
    report.save()


async def measure(lap: Lap, report: Report, lane: str, flood: int, seconds: float) -> float:
    """p99 of the others, in ms. Without an operator: from the request for the task to its answer, the share of the
    API server itself."""
    noisy, *others = lap.teams
    stop = asyncio.Event()
    steady = asyncio.create_task(keep_on(lap, others, stop))
    began = time.monotonic()
    await at_once(lap.submit(noisy, f"flood-{number}") for number in range(flood))
    if lap.operator.running():
        await lap.ruler.until(
            lambda: sum(team == noisy for team, _ in lap.ruler.jobs) >= flood, 900, lambda: "the flood's Jobs"
        )
    await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began)))
    stop.set()
    await steady
    lap.ruler.read()
    done = lap.ruler.jobs if lap.operator.running() else lap.ruler.created
    if lap.operator.running():
        await lap.until_jobs(len(lap.ruler.asked))
    ruler = lap.ruler
    waits = [1000 * (done[key] - asked) for key, asked in ruler.asked.items() if key[0] != noisy]
    # From the answer about the task to the request for its Job; what is left is the API server's, for the two writes.
    own = [1000 * (asked - ruler.created[key]) for key, asked in ruler.jobs_asked.items() if key[0] != noisy]
    report.row(
        lane=lane, tasks=len(waits), p50=percentile(waits, 0.5), p99=percentile(waits, 0.99), most=max(waits),
        own50=percentile(own, 0.5), own99=percentile(own, 0.99),
    )  # fmt: skip
    return percentile(waits, 0.99)


async def keep_on(lap: Lap, teams: list[str], stop: asyncio.Event) -> None:
    """Each team a task every EVERY_SECONDS, spread evenly."""
    number, pause = 0, EVERY_SECONDS / len(teams)
    running = set()
    while not stop.is_set():
        running.add(asyncio.ensure_future(lap.submit(teams[number % len(teams)], f"steady-{number}")))
        number += 1
        await asyncio.sleep(pause)
    await asyncio.gather(*running)
