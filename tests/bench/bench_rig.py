"""The rig of all lanes: the embedded control plane with fake nodes and teams, in the same state before each lap."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration" / "operator"))

import fake_nodes
from bench_broker import RESULT, BenchBroker
from fake_nodes import Play
from operator_harness import GROUPS, IDENTITY, JOBS, TASKS, end_record, task_body
from replica_harness import Replica
from ruler import Ruler

from collabspace.api import names
from collabspace.cli import team_objects
from collabspace.kube import config
from collabspace.kube.client import KubeClient, Object
from collabspace.local import binaries
from collabspace.local.cluster import LocalCluster
from collabspace.local.state import Options

AT_ONCE = 16
WARM_UP = 8
QUIET_SHARE = 0.12
LIMIT_SECONDS = 900.0
SERVERS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
# Equal for all lanes, and far above what two cores can use: no lane is to be measured by its client's limit.
ARGUMENTS = {"kube-controller-manager": ("--controllers=*,-node-lifecycle-controller", "--concurrent-job-syncs=50")}
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
TEMPLATE = "template-of-the-bench"
WARM_TEAM = "team-that-warms-up"
MADE_BY_SERVER = ("selector",)
LABELS_OF_SERVER = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")


@dataclass(frozen=True)
class Shape:
    """How large the world of a lane is, and how its pods go. Without `controllers` there is only what stores objects:
    no pod is made but by the lane itself."""

    nodes: int = 1300
    teams: int = 50
    gpu_quota: int = 100_000
    cpu_quota: int | None = None
    play: Play = field(default_factory=Play)
    controllers: bool = True


@dataclass
class Lap:
    """One measurement: a fresh copy of the world, servers running, machine quiet before."""

    rig: "Rig"
    admin: KubeClient
    writer: KubeClient
    broker: BenchBroker
    operator: Replica
    ruler: Ruler
    tasks: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def teams(self) -> list[str]:
        return self.rig.teams

    async def submit(self, team: str, name: str, **spec: object) -> Object:
        """Creates a task as a person does."""
        made = await self.admin.create(TASKS.format(team), task_body(name, team, **{"gpu": 1, **spec}))  # type: ignore[arg-type]
        self.tasks[team, name] = made["metadata"]["uid"]
        return made

    async def write_both(self, team: str, name: str) -> None:
        """The floor: the task, then the Job that it owns."""
        task = await self.admin.create(TASKS.format(team), task_body(name, team, 1))
        await self.writer.create(JOBS.format(team), self.rig.job(task))

    async def store_results(self) -> None:
        """Until cancelled: the broker knows the result of each task soon after its Job was made."""
        told = set[tuple[str, str]]()
        while True:
            self.ruler.read()
            for key in self.ruler.jobs.keys() - told:
                told.add(key)
                if key in self.tasks:
                    await self.broker.stored(self.tasks[key])
            await asyncio.sleep(0.2)  # a file of another program tells nobody

    async def burst(self, count: int) -> None:
        """So many tasks, over all teams in turn, AT_ONCE at a time."""
        teams = self.teams
        await at_once(self.submit(teams[number % len(teams)], f"t{number}") for number in range(count))

    async def until_over(self, count: int, seconds: float = LIMIT_SECONDS, *, warm: bool = False) -> None:
        """So many tasks have succeeded, by the operator's own count."""
        limit = time.monotonic() + seconds
        while (done := await asyncio.to_thread(self.succeeded, warm)) < count:
            if time.monotonic() > limit:
                raise SystemExit(f"not reached in {seconds:.0f} s: {done:.0f} of {count} tasks succeeded")
            await asyncio.sleep(0.5)
        self.ruler.read()

    def succeeded(self, warm: bool = False) -> float:
        """Tasks that did, as the operator's metrics say: those of the teams, or those of the warm-up."""
        lines = self.operator.probe("/metrics")[1].splitlines()
        found = [line for line in lines if line.startswith("collabspace_tasks{") and 'state="Succeeded"' in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found if (WARM_TEAM in line) == warm)

    async def until_jobs(self, count: int, seconds: float = LIMIT_SECONDS) -> None:
        ruler = self.ruler
        await ruler.until(lambda: len(ruler.jobs) >= count, seconds, lambda: f"{len(ruler.jobs)} of {count} Jobs")

    async def until_statuses(self, count: int, times: int = 1, seconds: float = LIMIT_SECONDS) -> None:
        """Each task has had so many status writes."""
        ruler = self.ruler

        def done() -> int:
            return sum(len(each) >= times for each in ruler.statuses.values())

        await ruler.until(lambda: done() >= count, seconds, lambda: f"{done()} of {count} tasks with {times} statuses")

    def server_seconds(self) -> float:
        return sum(cpu_seconds(self.rig.cluster.pid(name)) for name in self.rig.servers)

    def operator_seconds(self) -> float:
        assert self.operator.process is not None
        return cpu_seconds(self.operator.process.pid)

    def operator_peak(self) -> float:
        """MiB, the highest resident set of the operator's process."""
        assert self.operator.process is not None
        return memory(self.operator.process.pid, "VmHWM")


class Rig:
    """Made once; each lap starts from the same saved state of etcd."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.folder, self.shape = folder, shape
        self.cluster = LocalCluster(f"bench-{os.getpid()}", folder / "state", lambda _line: None)
        self.teams = [f"team-{number}" for number in range(shape.teams)]
        self.datasets: list[str] = []
        self.template = self.template_uid = ""

    async def prepare(self) -> None:
        """Nodes, teams with data, and how the operator writes a Job."""
        self.cluster.start_control_plane(Options(audit=True, arguments=ARGUMENTS))
        self.cluster.install()
        self.account = self.cluster.user(IDENTITY, GROUPS)
        async with self._client() as admin:
            await at_once(fake_nodes.add_node(admin, number) for number in range(self.shape.nodes))
            await at_once(self._team(admin, team) for team in [*self.teams, WARM_TEAM])
        self._stop_servers()
        self._copy(self.cluster._state.folder / "etcd", self.folder / "saved")
        async with self.lap() as lap:
            await self._learn_job(lap)

    @property
    def servers(self) -> tuple[str, ...]:
        return SERVERS if self.shape.controllers else SERVERS[:2]

    @asynccontextmanager
    async def lap(self, *, operator: bool = True, policies: bool = True) -> AsyncIterator[Lap]:
        """The world as prepared. With `operator` it runs, and has worked a little; without `policies` ours are lifted,
        for figures to put beside those of others."""
        self._stop_servers()
        self._copy(self.folder / "saved", self.cluster._state.folder / "etcd")
        self.cluster.audit_log.write_bytes(b"")
        for name in self.servers:
            self.cluster.start(name)
        pods = None
        if self.shape.controllers:
            pods = fake_nodes.Pods(self.cluster.kubeconfig, self.folder, self.shape.play, end_record(RESULT))
        broker, trainers = BenchBroker(self.datasets), list[asyncio.Task[None]]()
        await broker.start()
        process = Replica(self.account, broker.url, self.folder / "operator.log")
        try:
            async with self._client() as admin, self._client(self.account) as writer:
                lap = Lap(self, admin, writer, broker, process, Ruler.now(self.cluster.audit_log))
                if self.shape.controllers and self.shape.play.seconds is not None:
                    trainers.append(asyncio.create_task(lap.store_results()))
                if not policies:
                    await admin.delete(BINDINGS)
                if operator:
                    await asyncio.to_thread(process.start)
                    await self._warm_up(lap)
                await self.until_quiet(process)
                lap.ruler = Ruler.now(self.cluster.audit_log)
                yield lap
        finally:
            for each in trainers:
                each.cancel()
            process.end()
            await broker.stop()
            if pods is not None:
                pods.stop()

    def end(self) -> None:
        self.cluster.down(wipe=True)

    def job(self, task: Object) -> Object:
        """The Job that the operator would write for the task, byte for byte."""
        meta = task["metadata"]
        text = self.template.replace(TEMPLATE, meta["name"]).replace(WARM_TEAM, meta["namespace"])
        body: Object = json.loads(text.replace(self.template_uid, meta["uid"]))
        return body

    def _client(self, kubeconfig: Path | None = None) -> KubeClient:
        return KubeClient(
            config.load(kubeconfig or self.cluster.kubeconfig),
            4 * AT_ONCE,
            request_seconds=LIMIT_SECONDS,
            user_agent="bench",
        )

    async def _team(self, admin: KubeClient, name: str) -> None:
        quota = {names.GPU_QUOTA: str(self.shape.gpu_quota)}
        if self.shape.cpu_quota is not None:
            quota[names.CPU_QUOTA] = str(self.shape.cpu_quota)
        await admin.create("/api/v1/namespaces", team_objects.namespace(name, quota, labelled=True))
        for path, item in team_objects.contents(name, {"url": "http://127.0.0.1:1", "ca.crt": "-"}):
            await admin.apply(path, item, "bench")
        path = f"/apis/{names.API_VERSION}/namespaces/{name}/{names.SHARED_DATASETS}"
        spec = {"format": "Tabular", "contract": {"target": {"column": "y", "kind": "Class"}}}
        body = {"apiVersion": names.API_VERSION, "kind": "SharedDataset", "metadata": {"name": "table"}, "spec": spec}
        self.datasets.append((await admin.create(path, body))["metadata"]["uid"])

    async def _warm_up(self, lap: Lap) -> None:
        await at_once(lap.submit(WARM_TEAM, f"warm-{number}") for number in range(WARM_UP))
        # With pods that end: started, running, over.
        if self.shape.controllers and self.shape.play.seconds is not None:
            await lap.until_over(WARM_UP, 120, warm=True)
        else:
            await lap.until_statuses(WARM_UP, 1, 120)
        lap.tasks.clear()

    async def _learn_job(self, lap: Lap) -> None:
        task = await lap.submit(WARM_TEAM, TEMPLATE)
        self.template_uid = task["metadata"]["uid"]
        await lap.until_statuses(1, 1, 120)
        self.template = json.dumps(as_written(await lap.admin.get(f"{JOBS.format(WARM_TEAM)}/{TEMPLATE}-1")))

    def _stop_servers(self) -> None:
        for name in reversed(SERVERS):
            self.cluster.stop(name)

    def _copy(self, source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)

    async def until_quiet(self, operator: Replica) -> None:
        """The servers and the operator have done what they had to do."""
        pids = [self.cluster.pid(name) for name in self.servers]
        if operator.running() and operator.process is not None:
            pids.append(operator.process.pid)
        limit = time.monotonic() + 120
        while time.monotonic() < limit:
            before = sum(map(cpu_seconds, pids))
            await asyncio.sleep(1)
            if sum(map(cpu_seconds, pids)) - before < QUIET_SHARE * (os.cpu_count() or 1):
                return
        raise SystemExit("the servers did not become quiet in 120 s")


@asynccontextmanager
async def rig(shape: Shape) -> AsyncIterator[Rig]:
    binaries.ensure(progress=print)
    fake_nodes.program()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    made = Rig(folder, shape)
    try:
        await made.prepare()
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)


async def at_once(calls: Iterable[Awaitable[object]], width: int = AT_ONCE) -> None:
    """All of them, in their order, so many at a time."""
    rest = iter(calls)

    async def work() -> None:
        for call in rest:
            await call

    await asyncio.gather(*(work() for _ in range(width)))


async def at_rate(rate: float, count: int, call: Callable[[int], Awaitable[object]]) -> float:
    """An open loop: so many calls a second, whether or not the ones before are done. Seconds that it fell behind."""
    loop = asyncio.get_running_loop()
    start, running, late = loop.time(), set[asyncio.Future[object]](), 0.0
    for number in range(count):
        await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
        late = max(late, loop.time() - start - number / rate)
        running.add(asyncio.ensure_future(call(number)))
    await asyncio.gather(*running)
    return late


def as_written(job: Object) -> Object:
    """The Job without what the API server adds to it."""
    kept = ("name", "labels", "annotations", "ownerReferences")
    meta = {key: job["metadata"][key] for key in kept if key in job["metadata"]}
    spec = {key: value for key, value in job["spec"].items() if key not in MADE_BY_SERVER}
    labels = spec["template"]["metadata"].get("labels", {})
    spec["template"]["metadata"]["labels"] = {k: v for k, v in labels.items() if k not in LABELS_OF_SERVER}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def cpu_seconds(pid: int | None) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, what: str) -> float:
    """MiB of a process: VmRSS now, VmHWM at its highest."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024
