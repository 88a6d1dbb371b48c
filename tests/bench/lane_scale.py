"""Ten thousand objects at rest: what a new operator does with them, and what one that has nothing to do costs."""

import asyncio
import signal
import time

from bench_rig import IDENTITY, Lap, Shape, cpu_seconds, memory, rig
from replica_harness import LEASE, LEASES
from report import Report
from ruler import Ruler

TASKS_AT_REST = 10_000
IDLE_SECONDS = 180.0
STARTS = 3
COLUMNS = {
    "lane": "s", "tasks": "d", "s to ready": ".1f", "s to caught up": ".1f", "writes": "d", "CPU s": ".1f",
    "MiB": ".0f", "calls/min": ".1f", "CPU share %": ".2f",
}  # fmt: skip


async def main(size: int = TASKS_AT_REST, idle: float = IDLE_SECONDS) -> None:
    report = Report("scale", COLUMNS)
    async with rig(Shape()) as made, made.lap() as lap:
        await lap.burst(size)
        await lap.until_jobs(size)
        await lap.until_statuses(size)
        await made.until_quiet(lap.operator)
        for _ in range(STARTS):
            await restart(lap, report, size)
        await rest(lap, report, size, idle)
    report.save()


async def restart(lap: Lap, report: Report, size: int) -> None:
    """kill -9, a new process under another name, until it has looked at everything."""
    await asyncio.to_thread(lap.operator.stop, signal.SIGKILL)
    await drop_lease(lap)
    ruler, began = Ruler.now(lap.rig.cluster.audit_log), time.monotonic()
    await asyncio.to_thread(lap.operator.start)
    ready = time.monotonic() - began
    while not await asyncio.to_thread(lap.operator.leads) or lap.operator.metric("collabspace_queue_depth") > 0:  # noqa: ASYNC110
        await asyncio.sleep(0.1)  # another process tells nobody
    caught_up = time.monotonic() - began
    await lap.rig.until_quiet(lap.operator)
    ruler.read()
    assert lap.operator.process is not None
    report.row(
        lane="restart", tasks=size, ready=ready, caught_up=caught_up, writes=writes(ruler),
        cpu=lap.operator_seconds(), mib=lap.operator_peak(), calls="-", share="-",
    )  # fmt: skip


async def drop_lease(lap: Lap) -> None:
    """As after an orderly end: what is measured is the catching up, not the wait for the Lease of a dead process."""
    path = f"{LEASES}/{LEASE}"
    await lap.admin.merge(path, {"spec": {"holderIdentity": ""}})


async def rest(lap: Lap, report: Report, size: int, seconds: float) -> None:
    assert lap.operator.process is not None
    pid = lap.operator.process.pid
    ruler, own, before = Ruler.now(lap.rig.cluster.audit_log), cpu_seconds(pid), memory(pid, "VmRSS")
    await asyncio.sleep(seconds)  # the time at rest is what is measured
    used = cpu_seconds(pid) - own
    ruler.read()
    calls = sum(
        count for (who, _, resource, _), count in ruler.calls.items() if who == IDENTITY and resource != "leases"
    )
    report.row(
        lane="idle", tasks=size, ready="-", caught_up="-", writes=writes(ruler), cpu=used, mib=memory(pid, "VmRSS"),
        calls=calls * 60 / seconds, share=used / seconds * 100,
    )  # fmt: skip
    report.note(f"resident set over {seconds:.0f} s at rest: {memory(pid, 'VmRSS') - before:+.1f} MiB")


def writes(ruler: Ruler) -> int:
    return ruler.writes(IDENTITY, "leases", "serviceaccounts/token", "events")
