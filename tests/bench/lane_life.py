"""Whole lives: create, run, succeed, delete; what each costs in requests, and whether anything is left behind."""

import asyncio
import time

from bench_rig import IDENTITY, JOBS, TASKS, WARM_TEAM, Lap, Shape, rig
from fake_nodes import Play
from report import Report
from ruler import percentile

SIZES = (1_000,)
COLUMNS = {
    "lane": "s", "tasks": "d", "s to all Jobs": ".1f", "s to all over": ".1f", "pod over to told p50 s": ".2f",
    "p99 s": ".2f", "writes/task": ".2f", "events/task": ".2f", "reads/task": ".3f", "operator CPU s/1000": ".2f",
    "s to delete": ".1f", "left": "d",
}  # fmt: skip


async def main(sizes: tuple[int, ...] = SIZES) -> None:
    report = Report("life", COLUMNS)
    async with rig(Shape(play=Play(seconds=5.0))) as made:
        for size in sizes:
            async with made.lap() as lap:
                await life(lap, report, size)
    report.save()


async def life(lap: Lap, report: Report, size: int) -> None:
    began, own = time.time(), lap.operator_seconds()
    await lap.burst(size)
    await lap.until_over(size)
    ruler = lap.ruler
    over = {key: times[-1] for key, times in ruler.pod_statuses.items()}
    told = [ruler.statuses[key][-1] - over[key] for key in lap.tasks]
    writes = ruler.task_writes(IDENTITY)
    events = ruler.calls[IDENTITY, "create", "events", True] + ruler.calls[IDENTITY, "patch", "events", True]
    reads, cpu = ruler.reads(IDENTITY), lap.operator_seconds() - own
    deleting = time.monotonic()
    for team in lap.teams:
        await lap.admin.delete(TASKS.format(team))
    left = await gone(lap)
    report.row(
        lane="operator", tasks=size, jobs=max(ruler.jobs.values()) - began,
        over=max(each[-1] for each in ruler.statuses.values()) - began, p50=percentile(told, 0.5),
        p99=percentile(told, 0.99), writes=writes / size, events=events / size, reads=reads / size,
        cpu=cpu * 1000 / size, deleted=time.monotonic() - deleting, left=left,
    )  # fmt: skip


async def gone(lap: Lap, seconds: float = 300.0) -> int:
    """Jobs and pods that are still there when none is left or the time is over."""
    limit = time.monotonic() + seconds
    while True:
        left = 0
        for path in ("/apis/batch/v1/jobs", "/api/v1/pods"):
            listing = await lap.admin.get(path, {"limit": "1"})
            items = listing.get("items") or []
            # Those of the warm-up stay.
            left += len(items) + int(listing["metadata"].get("remainingItemCount") or 0)
        warm = len((await lap.admin.list(JOBS.format(WARM_TEAM)))["items"])
        left -= 2 * warm
        if left <= 0 or time.monotonic() > limit:
            return max(0, left)
        await asyncio.sleep(0.5)
