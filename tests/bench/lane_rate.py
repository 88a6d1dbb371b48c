"""An open loop of tasks at a fixed rate: how long from the request for a task to its Job, and where that gives way.

Beside it the floor: a bare client that creates the Job itself as soon as it knows the task.
"""

from bench_rig import Lap, Shape, at_rate, rig
from report import Line, Report
from ruler import Ruler, percentile

RATES = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
SECONDS = 20.0
KNEE_SECONDS = 1.0
COLUMNS = {
    "lane": "s", "tasks/s": ".0f", "made/s": ".1f", "p50 ms": ".0f", "p99 ms": ".0f", "max ms": ".0f",
    "operator CPU s/1000": ".2f", "servers' CPU ms/task": ".1f", "generator behind s": ".2f",
}  # fmt: skip


async def main(rates: tuple[float, ...] = RATES, seconds: float = SECONDS) -> None:
    report = Report("rate", COLUMNS)
    async with rig(Shape()) as made:
        for lane in ("bare client", "operator"):
            async with made.lap(operator=lane == "operator") as lap:
                knee = 0.0
                for rate in rates:
                    if await measure(lap, report, lane, rate, max(20, int(rate * seconds))) < KNEE_SECONDS:
                        knee = max(knee, rate)
                    await made.until_quiet(lap.operator)
                report.note(f"{lane}: highest rate with p99 below {KNEE_SECONDS:.0f} s: {knee:.0f} tasks/s")
    report.save(
        "tasks/s", [Line(lane, f"p{share} ms") for lane in ("bare client", "operator") for share in (50, 99)], log=True
    )


async def measure(lap: Lap, report: Report, lane: str, rate: float, count: int) -> float:
    """One rate; the 99th percentile in seconds."""
    lap.ruler = ruler = Ruler.now(lap.rig.cluster.audit_log)
    operated, server = lane == "operator", lap.server_seconds()
    own = lap.operator_seconds() if operated else 0.0

    write = lap.submit if operated else lap.write_both
    behind = await at_rate(
        rate, count, lambda number: write(lap.teams[number % len(lap.teams)], f"r{rate:.0f}-{number}")
    )
    await lap.until_jobs(count)
    if operated:
        await lap.until_statuses(count)
    waits = [ruler.jobs[key] - asked for key, asked in ruler.asked.items()]
    report.row(
        lane=lane, rate=rate, made=count / (max(ruler.jobs.values()) - min(ruler.asked.values())),
        p50=1000 * percentile(waits, 0.5), p99=1000 * percentile(waits, 0.99), most=1000 * max(waits),
        cpu=(lap.operator_seconds() - own) * 1000 / count if operated else 0.0,
        server=(lap.server_seconds() - server) * 1000 / count, behind=behind,
    )  # fmt: skip
    return percentile(waits, 0.99)
