"""How long two operators leave the platform without a leader, and what one operator does without API server or ears.

    python tests/bench/takeover.py [--kills 20] [--freezes 20] [--outage 120] [--deaf]

Times a takeover from the kill or freeze of the leader to the first Job that its successor makes; counts what a thawed
leader still wrote, by the API server's audit log. Runs on a control plane of its own; see docs/decisions/0006.
In the background start it with setsid: when its shell ends, the kernel thaws what is frozen in the shell's group.
"""

import argparse
import asyncio
import math
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration" / "operator"))

import operator_harness
from api_proxy import ApiProxy
from operator_harness import GROUPS, IDENTITY, JOBS, FakeBroker, FakeNode, Teams, until
from replica_harness import Pair, Replica, out_of_turn, writes

from collabspace.controller.watches import patiently
from collabspace.kube import clock, config
from collabspace.kube.client import KubeClient, KubeError
from collabspace.local import binaries
from collabspace.local.cluster import LocalCluster
from collabspace.local.state import Options

APISERVER = "kube-apiserver"
LIMIT_SECONDS = 300.0
BURST = 10


@dataclass
class Bench:
    """A control plane with a node that holds pods, and a team."""

    cluster: LocalCluster
    admin: KubeClient
    broker: FakeBroker
    teams: Teams
    team: str
    folder: Path
    kubeconfig: Path
    made: int = 0

    def replica(self, name: str, kubeconfig: Path | None = None) -> Replica:
        return Replica(kubeconfig or self.kubeconfig, self.broker.url, self.folder / f"{name}.log")

    async def until_job(self) -> None:
        """Submits a task and waits for its Job."""
        self.made += 1
        name = f"probe-{self.made}"
        await patiently("task", lambda: self._submit(name))
        await until(self.admin, JOBS.format(self.team), f"{name}-1", bool, LIMIT_SECONDS)

    async def _submit(self, name: str) -> None:
        try:
            await self.teams.task(self.team, name)
        except KubeError as error:
            if error.reason != "AlreadyExists":  # an answer was lost
                raise

    async def burst(self) -> None:
        """Gives the leader something to be in the midst of."""
        numbers = range(self.made + 1, self.made + BURST + 1)
        self.made += BURST
        await asyncio.gather(*(self.teams.task(self.team, f"burst-{number}") for number in numbers))


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    binaries.ensure(progress=print)
    folder = Path(tempfile.mkdtemp(prefix="takeover-"))
    cluster = LocalCluster(f"bench-{os.getpid()}", folder / "state", lambda _line: None)
    broker = FakeBroker()
    try:
        cluster.start_control_plane(Options(audit=True))
        cluster.install()
        node = FakeNode(cluster.kubeconfig, "bench", {"cpu": "4000", "memory": "4000Gi"})
        await asyncio.to_thread(node.start)
        async with KubeClient(config.load(cluster.kubeconfig)) as admin:
            teams = Teams(admin, broker)
            kubeconfig = cluster.user(IDENTITY, GROUPS)
            yield Bench(cluster, admin, broker, teams, await teams.ready(), folder, kubeconfig)
        await asyncio.to_thread(node.stop)
    finally:
        broker.stop()
        cluster.down(wipe=True)
        shutil.rmtree(folder)


async def takeovers(at: Bench, kills: int, freezes: int) -> None:
    """Both kinds in turn, at random moments of the renewal; interrupted, it reports what it has."""
    rounds = [kind for pair in zip_longest(["kill"] * kills, ["freeze"] * freezes) for kind in pair if kind]
    pair = Pair(at.replica("one"), at.replica("two"))
    late_writes = exits = 0
    times: dict[str, list[float]] = {"kill": [], "freeze": []}
    since = at.cluster.audit_log.stat().st_size
    try:
        for kind in rounds:
            leader, _ = await asyncio.to_thread(pair.roles)
            identity = leader.identity
            await asyncio.sleep(random.uniform(0, 2.5))
            burst = asyncio.create_task(at.burst())
            await asyncio.sleep(random.uniform(0, 0.3))
            start = time.monotonic()
            if kind == "kill":
                leader.stop(signal.SIGKILL)
            else:
                leader.freeze()
            await burst
            await at.until_job()
            times[kind].append(time.monotonic() - start)
            if kind == "freeze":
                thawed = clock.now()
                leader.thaw()
                exits += await asyncio.to_thread(leader.wait) == 1
                found = writes(at.cluster.audit_log, since)
                late_writes += sum(write.process == identity and write.received > thawed for write in found)
            print(f"{kind:7}{times[kind][-1]:6.1f} s", flush=True)
    finally:
        pair.end()
        wrong = out_of_turn(writes(at.cluster.audit_log, since))
        print("\ntakeover      n    p50    p99    max   (s, to the successor's first Job)")
        for kind, taken in times.items():
            if taken:
                print(
                    f"{kind:10}{len(taken):5}{statistics.median(taken):7.1f}{percentile(taken):7.1f}{max(taken):7.1f}"
                )
        print(f"thawed leaders that ended: {exits}; their writes after the thaw: {late_writes}")
        print(f"writes by a process that did not hold the Lease: {len(wrong)}", *wrong, sep="\n  ")


def percentile(values: list[float]) -> float:
    """The 99th; of few values that is the largest."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


async def outage(at: Bench, seconds: float) -> None:
    """The API server killed, and later hung, for so long under a single operator."""
    replica = at.replica("alone")
    try:
        await asyncio.to_thread(replica.start)
        await at.until_job()
        print("\nAPI server away      exits   caught up after (s, to the next Job)")
        for kind in ("killed", "hung"):
            pid = at.cluster.pid(APISERVER)
            assert pid is not None
            if kind == "killed":
                at.cluster.kill(APISERVER)
            else:
                os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(seconds)
            alive = replica.running()
            if kind == "killed":
                await asyncio.to_thread(at.cluster.start, APISERVER)
            else:
                os.kill(pid, signal.SIGCONT)
            start = time.monotonic()
            await at.until_job()
            print(f"{kind:8}{seconds:6.0f} s{0 if alive else 1:11}{time.monotonic() - start:10.1f}", flush=True)
    finally:
        replica.end()


async def deaf(at: Bench) -> None:
    """Streams through which nothing comes any more: once (a new one would do), and for ever (a new process must)."""
    proxies = [ApiProxy(at.cluster, at.kubeconfig, at.folder) for _ in range(3)]
    replicas = [at.replica(f"deaf-{number}", proxy.kubeconfig) for number, proxy in enumerate(proxies)]
    try:
        for replica in replicas:
            await asyncio.to_thread(replica.start)
        print("\ndeaf watch                      found after (s)", flush=True)
        await asyncio.gather(
            asyncio.to_thread(until_exit, "kopf's of collabtasks, for ever", replicas[1], proxies[1], "/collabtasks"),
            asyncio.to_thread(until_exit, "our own of jobs, for ever", replicas[2], proxies[2], "/jobs"),
            until_healed(at, replicas[0], proxies[0]),
        )
    finally:
        for replica in replicas:
            replica.end()
        for proxy in proxies:
            proxy.stop()


def until_exit(title: str, replica: Replica, proxy: ApiProxy, kind: str) -> None:
    start = time.monotonic()
    proxy.deafen(lambda target: kind in target, ever=True)
    code = replica.wait(LIMIT_SECONDS)
    print(f"{title:34}{time.monotonic() - start:8.1f}   exit code {code}", flush=True)


async def until_healed(at: Bench, replica: Replica, proxy: ApiProxy) -> None:
    """The first of the three leads; what its deaf streams hide it sees through their successors."""
    assert replica.leads()
    proxy.deafen(lambda _target: True, ever=False)
    start = time.monotonic()
    await at.until_job()
    print(f"{'all streams, once':34}{time.monotonic() - start:8.1f}   healed, exits: {int(not replica.running())}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--freezes", type=int, default=20)
    parser.add_argument("--outage", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--deaf", action="store_true")
    options = parser.parse_args()
    operator_harness.START_SECONDS = LIMIT_SECONDS
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    print(f"load at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    async with bench() as at:
        if options.kills or options.freezes:
            await takeovers(at, options.kills, options.freezes)
        if options.outage:
            await outage(at, options.outage)
        if options.deaf:
            await deaf(at)
    print(f"load at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
