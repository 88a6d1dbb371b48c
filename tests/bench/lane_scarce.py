"""Eight times as much work as there are GPUs: how much of them is used, and how soon a freed one is taken again."""

import time

from bench_rig import IDENTITY, Lap, Shape, rig
from fake_nodes import Play
from report import Report
from ruler import percentile

TEAMS, GPUS, TASKS, SECONDS = 10, 8, 640, 20.0
COLUMNS = {
    "lane": "s", "tasks": "d", "s to all over": ".1f", "ideal s": ".0f", "running %": ".1f", "bound %": ".1f",
    "steady running %": ".1f", "steady bound %": ".1f", "refill p50 s": ".2f", "p90 s": ".2f", "p99 s": ".2f",
    "writes/task": ".2f",
}  # fmt: skip


async def main(tasks: int = TASKS) -> None:
    report = Report("scarce", COLUMNS)
    # A second until a pod runs, as in the run of Kueue that this is put beside.
    shape = Shape(nodes=TEAMS, teams=TEAMS, gpu_quota=GPUS, play=Play(1.0, SECONDS))
    async with rig(shape) as made, made.lap() as lap:
        await measure(lap, report, tasks)
    report.note("Kueue, the same work on the same kind of machine: 79 % running, 83 % bound, refill p99 3.16 s")
    report.save()


async def measure(lap: Lap, report: Report, tasks: int) -> None:
    slots = TEAMS * GPUS
    began = time.time()
    await lap.burst(tasks)
    await lap.until_over(tasks)
    ruler = lap.ruler
    ran = {key: (ruler.pods[key], times[0], times[-1]) for key, times in ruler.pod_statuses.items() if key in lap.tasks}
    over = max(end for _, _, end in ran.values())
    starts, ends = sorted(ruler.jobs[key] for key in ran), sorted(end for _, _, end in ran.values())
    # The k-th freed GPU is taken by the (slots + k)-th start.
    refill = [start - end for end, start in zip(ends, starts[slots:], strict=False)]
    first, last = starts[slots - 1], starts[-1]
    steady = slots * (last - first)
    report.row(
        lane="operator", tasks=tasks, over=over - began, ideal=tasks / slots * SECONDS,
        running=percent(sum(end - run for _, run, end in ran.values()), slots * (over - began)),
        bound=percent(sum(end - bound for bound, _, end in ran.values()), slots * (over - began)),
        steady_running=percent(sum(within(run, end, first, last) for _, run, end in ran.values()), steady),
        steady_bound=percent(sum(within(bound, end, first, last) for bound, _, end in ran.values()), steady),
        p50=percentile(refill, 0.5), p90=percentile(refill, 0.9), p99=percentile(refill, 0.99),
        writes=ruler.task_writes(IDENTITY) / tasks,
    )  # fmt: skip


def within(start: float, end: float, first: float, last: float) -> float:
    return max(0.0, min(end, last) - max(start, first))


def percent(part: float, whole: float) -> float:
    return 100 * part / whole
