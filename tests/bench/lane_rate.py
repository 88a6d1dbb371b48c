"""An open loop of tasks at a fixed rate: how long from the request for a task to its Job, and where that gives way."""

from bench_rig import Shape, at_rate, rig
from report import Line, Report
from ruler import Ruler, percentile

RATES = (5.0, 20.0, 50.0, 100.0, 200.0)
SECONDS = 20.0
KNEE_SECONDS = 1.0
COLUMNS = {
    "lane": "s", "tasks/s": ".0f", "made/s": ".1f", "p50 ms": ".0f", "p99 ms": ".0f", "max ms": ".0f",
    "operator CPU s/1000": ".2f", "generator behind s": ".2f",
}  # fmt: skip


async def main(rates: tuple[float, ...] = RATES, seconds: float = SECONDS) -> None:
    report, knee = Report("rate", COLUMNS), 0.0
    async with rig(Shape()) as made, made.lap() as lap:
        for rate in rates:
            count = max(20, int(rate * seconds))
            lap.ruler = Ruler.now(made.cluster.audit_log)
            own = lap.operator_seconds()
            behind = await at_rate(
                rate,
                count,
                lambda number, rate=rate: lap.submit(lap.teams[number % len(lap.teams)], f"r{rate:.0f}-{number}"),
            )
            await lap.until_jobs(count)
            await lap.until_statuses(count)
            waits = [lap.ruler.jobs[key] - asked for key, asked in lap.ruler.asked.items()]
            began, ended = min(lap.ruler.asked.values()), max(lap.ruler.jobs.values())
            if percentile(waits, 0.99) < KNEE_SECONDS:
                knee = max(knee, rate)
            report.row(
                lane="operator", rate=rate, made=count / (ended - began), p50=1000 * percentile(waits, 0.5),
                p99=1000 * percentile(waits, 0.99), most=1000 * max(waits),
                cpu=(lap.operator_seconds() - own) * 1000 / count, behind=behind,
            )  # fmt: skip
            await made.until_quiet(lap.operator)
    report.note(f"highest rate with p99 below {KNEE_SECONDS:.0f} s: {knee:.0f} tasks/s")
    report.save("tasks/s", [Line("operator", "p50 ms"), Line("operator", "p99 ms")], log=True)
