"""N tasks at once over 50 teams: how long until all have their Jobs, beside a bare client that writes both itself."""

import math
import time

from bench_rig import IDENTITY, JOBS, Lap, Rig, Shape, at_once, rig
from report import Line, Report, processor_ticks, stolen_since
from ruler import percentile

# Lanes with this at the end run without our admission policies, as those of others did.
BARE_OF_POLICIES = ", no policies"
SIZES = (1_000, 2_000, 5_000, 10_000)
# Without Kubernetes' controllers: what operator and bare client do is all that the API server has to do.
ALONE = Shape(controllers=False)
COLUMNS = {
    "lane": "s", "tasks": "d", "s to all Jobs": ".1f", "s to all statuses": ".1f", "p50 s create to Job": ".2f",
    "p99 s": ".2f", "writes/task": ".2f", "reads/task": ".3f", "operator CPU s/1000": ".2f", "peak MiB": ".0f",
    "servers' CPU ms/task": ".1f", "stolen %": ".0f",
}  # fmt: skip


async def plain(lap: Lap, count: int) -> None:
    """A: Jobs alone."""
    teams = lap.teams

    async def one(number: int) -> None:
        team = teams[number % len(teams)]
        task = {"metadata": {"name": f"t{number}", "namespace": team, "uid": lap.rig.template_uid}}
        job = lap.rig.job(task)
        del job["metadata"]["ownerReferences"]
        await lap.writer.create(JOBS.format(team), job)

    await at_once(one(number) for number in range(count))


async def bare(lap: Lap, count: int) -> None:
    """A2: the task, then the Job that it owns."""
    teams = lap.teams
    await at_once(lap.write_both(teams[number % len(teams)], f"t{number}") for number in range(count))


async def measure(made: Rig, report: Report, lane: str, count: int) -> float:
    """One lap; seconds to all Jobs."""
    kind = lane.removesuffix(BARE_OF_POLICIES)
    async with made.lap(operator=kind == "operator", policies=kind == lane) as lap:
        server, began, ticks = lap.server_seconds(), time.time(), processor_ticks()
        own = lap.operator_seconds() if kind == "operator" else 0.0
        await {"plain Jobs": plain, "bare client": bare, "operator": Lap.burst}[kind](lap, count)
        await lap.until_jobs(count)
        ruler = lap.ruler
        jobs = max(ruler.jobs.values()) - began
        statuses = operator = peak = 0.0
        if kind == "operator":
            await lap.until_statuses(count)
            statuses = max(each[0] for each in ruler.statuses.values()) - began
            operator, peak = (lap.operator_seconds() - own) * 1000 / count, lap.operator_peak()
        waits = [ruler.jobs[key] - asked for key, asked in ruler.asked.items()] or [math.nan]
        # The bare client's own task is one of its two writes.
        created = count if kind == "bare client" else 0
        report.row(
            lane=lane, tasks=count, jobs=jobs, statuses=statuses, p50=percentile(waits, 0.5),
            p99=percentile(waits, 0.99), writes=(ruler.task_writes(IDENTITY) + created) / count,
            reads=ruler.reads(IDENTITY) / count, cpu=operator, peak=peak,
            server=(lap.server_seconds() - server) * 1000 / count, stolen=100 * stolen_since(ticks),
        )  # fmt: skip
        return jobs


async def main(sizes: tuple[int, ...] = SIZES, name: str = "burst", shape: Shape | None = None) -> None:
    report = Report(name, COLUMNS)
    lanes = ("bare client", "operator")
    async with rig(shape or Shape()) as made:
        for size in sizes:
            bare_seconds, seconds = [await measure(made, report, lane, size) for lane in lanes]
            report.note(f"{size} tasks: operator / bare client = {seconds / bare_seconds:.2f}")
    if len(set(sizes)) > 1:
        exponents(report)
    report.save("tasks", [Line(lane, "s to all Jobs") for lane in lanes], log=True)


def exponents(report: Report) -> None:
    """How time, CPU and memory grow from the smallest to the largest burst: the power of N."""
    rows = sorted((row for row in report.rows if row["lane"] == "operator"), key=lambda row: row["tasks"])
    if not rows:
        return
    low, high = rows[0], rows[-1]
    steps = math.log(float(high["tasks"]) / float(low["tasks"]))
    for what, per_task in (("s to all Jobs", 0), ("s to all statuses", 0), ("operator CPU s/1000", 1), ("peak MiB", 0)):
        power = math.log(float(high[what]) / float(low[what])) / steps + per_task
        report.note(f"growth of {what.removesuffix('/1000')}: N^{power:.2f}")
