"""Kueue's own baseline: 15,000 short tasks over 30 queues, made at the rates of its generator.

Five cohorts of six queues, each with a quota of 20 CPU; per queue 350 small tasks (1 CPU, 200 ms, every 100 ms), 100
medium ones (5 CPU, 500 ms, every 500 ms) and 50 large ones (20 CPU, 1 s, every 1,200 ms), with rising priorities. As
there, nothing runs: when a task is started, the lane itself reports its end after its time. Here that takes a pod,
which is made by the Job controller's account and has ended when it is reported. Teams do not lend quota to each other;
since all queues have equal work, the lower bound of 66 s (1,320 CPU-seconds a queue over 20 CPU) is the same.
"""

import asyncio
import time
from dataclasses import dataclass

from bench_broker import RESULT
from bench_rig import IDENTITY, Lap, Shape, at_once, rig
from operator_harness import end_record
from report import Report
from ruler import percentile

from collabspace.kube import clock, config
from collabspace.kube.client import KubeClient, KubeError, Object

QUEUES, CPUS = 30, 20
CONTROLLER = "system:serviceaccount:kube-system:job-controller"
COLUMNS = {
    "class": "s", "tasks": "d", "mean s to Job": ".1f", "p50 s": ".1f", "max s": ".1f",
}  # fmt: skip


@dataclass(frozen=True)
class Class:
    name: str
    count: int
    every: float
    cpus: int
    seconds: float
    priority: int


CLASSES = (
    Class("small", 350, 0.1, 1, 0.2, 50),
    Class("medium", 100, 0.5, 5, 0.5, 100),
    Class("large", 50, 1.2, 20, 1.0, 200),
)


async def main(divide: int = 1) -> None:
    """`divide`: so many times fewer tasks of each class, for a trial."""
    report = Report("baseline", COLUMNS)
    shape = Shape(nodes=50, teams=QUEUES, cpu_quota=CPUS, controllers=False)
    async with rig(shape) as made, made.lap() as lap:
        await measure(lap, report, divide)
    report.note("Kueue, in its own CI: 351 s; large 16.5, medium 76.8, small 215 s on average; usage 55.9 %")
    report.save()


async def measure(lap: Lap, report: Report, divide: int) -> None:
    plan = [(n * each.every, each, n) for each in CLASSES for n in range(each.count // divide)]
    plan.sort(key=lambda one: (one[0], one[1].name))
    player = Player(lap)
    playing = asyncio.create_task(player.run())
    began, loop = time.time(), asyncio.get_running_loop()
    start = loop.time()
    for moment, kind, number in plan:
        await asyncio.sleep(max(0.0, start + moment - loop.time()))
        await at_once(create(lap, team, kind, number) for team in lap.teams)
    made = time.time()
    total = len(plan) * QUEUES
    await lap.until_over(total)
    playing.cancel()
    ruler = lap.ruler
    over = max(player.ended.values())
    for kind in CLASSES:
        waits = [ruler.jobs[key] - asked for key, asked in ruler.asked.items() if key[1].startswith(kind.name)]
        report.row(kind=kind.name, tasks=len(waits), mean=sum(waits) / len(waits), p50=percentile(waits, 0.5),
                   most=max(waits))  # fmt: skip
    bound = sum(each.count // divide * each.cpus * each.seconds for each in CLASSES) / CPUS
    report.note(f"all made after {made - began:.0f} s, all pods over after {over - began:.0f} s, all told after "
                f"{max(times[-1] for times in ruler.statuses.values()) - began:.0f} s")  # fmt: skip
    report.note(f"makespan {over - began:.0f} s = {total / (over - began):.0f} tasks/s; lower bound {bound:.0f} s; "
                f"usage {100 * bound / (over - began):.1f} %")  # fmt: skip
    report.note(f"operator: {ruler.task_writes(IDENTITY) / total:.2f} writes a task, "
                f"{lap.operator_seconds() * 1000 / total:.2f} CPU s per 1,000 tasks")  # fmt: skip


async def create(lap: Lap, team: str, kind: Class, number: int) -> None:
    resources = {"cpu": str(kind.cpus), "memory": "1Gi"}
    await lap.submit(team, f"{kind.name}-{number}", gpu=0, priority=kind.priority,
                     resourcesPerNode=resources)  # fmt: skip


class Player:
    """Ends each Job's only pod after the time of its class."""

    def __init__(self, lap: Lap) -> None:
        self._lap = lap
        account = lap.rig.cluster.user(CONTROLLER, ("system:serviceaccounts", "system:serviceaccounts:kube-system"))
        self._controller = KubeClient(config.load(account), 64, user_agent="bench-player")
        self._running: set[asyncio.Task[None]] = set()
        self.ended: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        async with self._controller:
            listing = await self._lap.admin.get("/apis/batch/v1/jobs", {"limit": "1"})
            version = listing["metadata"]["resourceVersion"]
            while True:
                async for event in self._lap.admin.watch("/apis/batch/v1/jobs", version):
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] == "ADDED":
                        task = asyncio.create_task(self._play(event["object"]))
                        self._running.add(task)
                        task.add_done_callback(self._running.discard)

    async def _play(self, job: Object) -> None:
        meta = job["metadata"]
        kind = next(each for each in CLASSES if meta["name"].startswith(each.name))
        began = clock.rfc3339(clock.now())
        await self._lap.broker.stored(self._lap.tasks[meta["namespace"], meta["name"].removesuffix("-1")])
        await asyncio.sleep(kind.seconds)
        path, name = f"/api/v1/namespaces/{meta['namespace']}/pods", f"{meta['name']}-bench"
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
        template = job["spec"]["template"]
        body = {
            "metadata": {"name": name, "labels": template["metadata"]["labels"], "ownerReferences": [owner]},
            "spec": {**template["spec"], "nodeName": "node-1"},
        }
        try:
            await self._controller.create(path, body)
            await self._lap.admin.merge(f"{path}/{name}/status", {"status": ended(began)})
        except KubeError as error:
            print(f"player: {name}: {error.status} {error.message[:300]}", flush=True)
            return
        self.ended[meta["namespace"], meta["name"]] = time.time()


def ended(began: str) -> Object:
    state = {"exitCode": 0, "reason": "Completed", "startedAt": began, "finishedAt": clock.rfc3339(clock.now())}
    container = {
        "name": "trainer", "image": "i", "imageID": "i", "restartCount": 0, "ready": False,
        "state": {"terminated": state | {"message": end_record(RESULT)}},
    }  # fmt: skip
    return {"phase": "Succeeded", "startTime": began, "containerStatuses": [container]}
