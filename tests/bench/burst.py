"""How long a burst of tasks takes to have all its Jobs, as a ratio to a bare client that makes the same two writes.

    python tests/bench/burst.py [--tasks 500] [--rounds 2]

Both lanes in turn on one control plane of its own, without Job controller and scheduler: nothing but API server, etcd
and, in one lane, the operator works. The same number of tasks is created in both, by the same client with as many
requests at once. The bare lane then writes the Jobs itself, as the operator's account, byte for byte as the operator
wrote one; the other lane watches until the operator has written all. CPU is that of the operator's process.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration" / "operator"))

from operator_harness import GROUPS, IDENTITY, JOBS, TASKS, FakeBroker, FakeNode, Teams, reason, task_body, until
from replica_harness import Replica

from collabspace.kube import config
from collabspace.kube.client import KubeClient, Object
from collabspace.local import binaries
from collabspace.local.cluster import LocalCluster
from collabspace.local.state import Options

AT_ONCE = 16
CONNECTIONS = 32
LIMIT_SECONDS = 150.0
TEMPLATE = "template-of-the-bench"
STILL_TO_COME = ("", "Pending", "Valid")
MADE_BY_SERVER = ("selector",)
LABELS_OF_SERVER = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")


@dataclass
class Bench:
    """A control plane that only stores; `operator` writes as the operator's account."""

    cluster: LocalCluster
    admin: KubeClient
    operator: KubeClient
    teams: Teams
    team: str
    process: Replica
    template: str = ""
    template_uid: str = ""

    async def learn_job(self) -> None:
        """What the operator writes for a task, for the bare lane to write as well."""
        self.process.start()
        task = await self.teams.task(self.team, TEMPLATE)
        job = await until(self.admin, JOBS.format(self.team), f"{TEMPLATE}-1", bool, LIMIT_SECONDS)
        self.process.stop()
        self.template, self.template_uid = json.dumps(as_written(job)), task["metadata"]["uid"]
        await self.clear()

    def job(self, task: Object) -> Object:
        meta = task["metadata"]
        body: Object = json.loads(self.template.replace(TEMPLATE, meta["name"]).replace(self.template_uid, meta["uid"]))
        return body

    async def clear(self) -> None:
        """No task and no Job is left."""
        for path in (TASKS.format(self.team), JOBS.format(self.team)):
            await self.admin.delete(path)
            assert not (await self.admin.list(path))["items"]


def as_written(job: Object) -> Object:
    """The Job without what the API server adds to it."""
    kept = ("name", "labels", "annotations", "ownerReferences")
    meta = {key: job["metadata"][key] for key in kept if key in job["metadata"]}
    spec = {key: value for key, value in job["spec"].items() if key not in MADE_BY_SERVER}
    labels = spec["template"]["metadata"].get("labels", {})
    spec["template"]["metadata"]["labels"] = {k: v for k, v in labels.items() if k not in LABELS_OF_SERVER}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


async def at_once(calls: Iterable[Awaitable[object]]) -> None:
    """All of them, AT_ONCE at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(call: Awaitable[object]) -> None:
        async with gate:
            await call

    await asyncio.gather(*(one(call) for call in calls))


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    binaries.ensure(progress=print)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    cluster = LocalCluster(f"bench-{os.getpid()}", folder / "state", lambda _line: None)
    broker = FakeBroker()
    try:
        cluster.start_control_plane(Options(audit=False))
        cluster.install()
        node = FakeNode(cluster.kubeconfig, "bench", {"cpu": "100000", "memory": "100Ti", "nvidia.com/gpu": "100000"})
        await asyncio.to_thread(node.start)
        cluster.stop("kube-controller-manager")
        cluster.stop("kube-scheduler")
        account = cluster.user(IDENTITY, GROUPS)
        async with (
            KubeClient(config.load(cluster.kubeconfig), CONNECTIONS) as admin,
            KubeClient(config.load(account), CONNECTIONS) as operator,
        ):
            teams = Teams(admin, broker)
            process = Replica(account, broker.url, folder / "operator.log")
            yield Bench(cluster, admin, operator, teams, await teams.ready("100000"), process)
        await asyncio.to_thread(node.stop)
    finally:
        broker.stop()
        cluster.down(wipe=True)
        shutil.rmtree(folder)


def cpu_seconds(pid: int | None) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def server_cpu(cluster: LocalCluster) -> float:
    return sum(cpu_seconds(cluster.pid(name)) for name in ("kube-apiserver", "etcd"))


@dataclass(frozen=True)
class Lap:
    """Seconds to all Jobs; seconds to all statuses; CPU-seconds of the operator, and of API server and etcd."""

    jobs: float
    statuses: float
    operator: float
    server: float


async def bare(at: Bench, tasks: int) -> Lap:
    async def both(number: int) -> None:
        made = await at.admin.create(TASKS.format(at.team), task_body(f"bare-{number}", at.team, 1))
        await at.operator.create(JOBS.format(at.team), at.job(made))

    before, began = server_cpu(at.cluster), time.monotonic()
    await at_once(both(number) for number in range(tasks))
    took = time.monotonic() - began
    used = server_cpu(at.cluster) - before
    await at.clear()
    return Lap(took, 0.0, 0.0, used)


async def with_operator(at: Bench, tasks: int) -> Lap:
    at.process.start()
    await at.teams.task(at.team, "warm")
    await until(at.admin, JOBS.format(at.team), "warm-1", bool, LIMIT_SECONDS)
    process = at.process.process
    assert process is not None
    own, server, began = cpu_seconds(process.pid), server_cpu(at.cluster), time.monotonic()
    counting = asyncio.create_task(seen(at, JOBS, tasks, lambda _: True))
    told = asyncio.create_task(seen(at, TASKS, tasks, lambda item: reason(item) not in STILL_TO_COME))
    await at_once(
        at.admin.create(TASKS.format(at.team), task_body(f"task-{number}", at.team, 1)) for number in range(tasks)
    )
    jobs, statuses = await counting - began, await told - began
    lap = Lap(jobs, statuses, cpu_seconds(process.pid) - own, server_cpu(at.cluster) - server)
    at.process.stop()
    await at.clear()
    return lap


@asynccontextmanager
async def giving_up(at: Bench, reached: Callable[[], str]) -> AsyncIterator[None]:
    """Ends the bench after LIMIT_SECONDS, and says how far it came and what the tasks say themselves."""
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            yield
    except TimeoutError:
        tasks = (await at.admin.list(TASKS.format(at.team)))["items"]
        reasons = Counter(map(reason, tasks))
        raise SystemExit(f"not done after {LIMIT_SECONDS:.0f} s: {reached()}; {dict(reasons)}") from None


async def seen(at: Bench, path: str, wanted: int, good: Callable[[Object], bool]) -> float:
    """When so many objects of the burst are as they should be."""
    listing = await at.admin.list(path.format(at.team))
    version, found = listing["metadata"]["resourceVersion"], set[str]()
    async with giving_up(at, lambda: f"{len(found)} of {wanted} at {path}"):
        while len(found) < wanted:
            async for event in at.admin.watch(path.format(at.team), version):
                item = event["object"]
                version = item["metadata"]["resourceVersion"]
                if item["metadata"].get("name", "").startswith("task-") and good(item):
                    found.add(item["metadata"]["name"])
                if len(found) >= wanted:
                    break
    return time.monotonic()


async def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the control plane ends as well
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    print(f"load at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {options.tasks} tasks", flush=True)
    laps: dict[str, list[Lap]] = {"bare client": [], "operator": []}
    async with bench() as at:
        await at.learn_job()
        print("lane          s to all Jobs   s to all statuses   operator CPU s/1000   server CPU s/1000", flush=True)
        for _ in range(options.rounds):
            for lane, run in (("bare client", bare), ("operator", with_operator)):
                lap = await run(at, options.tasks)
                laps[lane].append(lap)
                scale = 1000 / options.tasks
                print(
                    f"{lane:14}{lap.jobs:13.2f}{lap.statuses:20.2f}"
                    f"{lap.operator * scale:22.2f}{lap.server * scale:20.2f}",
                    flush=True,
                )
    medians = {lane: statistics.median(lap.jobs for lap in of_lane) for lane, of_lane in laps.items()}
    ratio = medians["operator"] / medians["bare client"]
    print(f"ratio of medians, operator to bare client: {ratio:.2f}")
    print(f"load at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
