"""kill -9 of the operator at random instants around a promotion: how many promotions there are in the end.

    python tests/bench/promotion.py [--instants 200] [--window 1.5]
    python tests/bench/promotion.py --together [--rounds 200] [--seconds 7200] [--seed 1]

Each instant is one selection: its last candidate ends, the operator is killed within the window (seconds) and started
again. There must be one promotion for each, to the winner's stored result, and the alias must say so once. Runs on a
control plane of its own, with a broker of a few lines; exit code 1 when one does not hold.

With --together the broker is the real one as well, on a whole cluster with models that were trained: operator, broker
or both are killed, and selection, alias, ledger and the bytes of the model must agree on one promotion.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration" / "operator"))

import promotion_together
from operator_harness import GROUPS, IDENTITY, FakeBroker, FakeNode, Teams, until
from replica_harness import Replica
from selection_harness import SELECTIONS, Selections

from collabspace.kube import config
from collabspace.kube.client import KubeClient, Object
from collabspace.local import binaries
from collabspace.local.cluster import LocalCluster
from collabspace.local.state import Options

ONE = [{"name": "linear", "method": "LogisticRegression"}]
BATCH = 20
LIMIT_SECONDS = 120.0


async def instants(selections: Selections, process: Replica, count: int, window: float) -> list[str]:
    """What went wrong, by selection."""
    faults: list[str] = []
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        selections.team = await selections.teams.ready()
        for number in numbers:
            await selections.make(name=f"s{number}", candidates=ONE, promotion={"alias": f"best-{number}"})
        for number in numbers:
            await selections.score(f"s{number}-linear", "0.9")
            await asyncio.sleep(random.uniform(0, window))
            await asyncio.to_thread(process.stop, signal.SIGKILL)
            await asyncio.to_thread(process.start)
            faults += await fault(selections, number)
        print(f"{numbers[-1] + 1} instants, {len(faults)} faults", flush=True)
    return faults


async def fault(selections: Selections, number: int) -> list[str]:
    path, name = SELECTIONS.format(selections.team), f"s{number}"

    def ended(item: Object) -> bool:
        return bool(item.get("status", {}).get("completionTime"))

    status = (await until(selections.admin, path, name, ended, LIMIT_SECONDS))["status"]
    alias = selections.broker.aliases.get((selections.team, f"best-{number}"), {"keys": [], "digest": None})
    state = status.get("promotion", {}).get("state")
    right = state == "Promoted" and len(alias["keys"]) == 1 and alias["digest"] == status["winner"]["resultDigest"]
    return [] if right else [f"{name}: {state}, alias {alias}"]


async def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--instants", type=int, default=200)
    options.add_argument("--window", type=float, default=1.5)
    options.add_argument("--together", action="store_true", help="real operator and real broker, both are killed")
    options.add_argument("--rounds", type=int, default=200, help="of --together")
    options.add_argument("--seconds", type=float, default=7_200.0, help="--together begins no round after these")
    options.add_argument("--seed", type=int, default=1, help="of the instants of --together")
    asked = options.parse_args()
    if asked.together:
        return await promotion_together.run(asked.rounds, asked.seconds, asked.seed)
    binaries.ensure(progress=print)
    folder = Path(tempfile.mkdtemp(prefix="promotion-"))
    cluster, broker = LocalCluster(f"bench-{os.getpid()}", folder / "state", lambda _line: None), FakeBroker()
    try:
        cluster.start_control_plane(Options())
        cluster.install()
        node = FakeNode(cluster.kubeconfig, "bench", {"cpu": "4000", "memory": "4000Gi"})
        await asyncio.to_thread(node.start)
        process = Replica(cluster.user(IDENTITY, GROUPS), broker.url, folder / "operator.log")
        process.environment["COLLABSPACE_INSTANCE"] = "killed"
        await asyncio.to_thread(process.start)
        async with KubeClient(config.load(cluster.kubeconfig)) as admin:
            selections = Selections(Teams(admin, broker), broker)
            faults = await instants(selections, process, asked.instants, asked.window)
        await asyncio.to_thread(process.stop)
        await asyncio.to_thread(node.stop)
    finally:
        broker.stop()
        cluster.down(wipe=True)
        shutil.rmtree(folder)
    extra = len(broker.promotions) - asked.instants
    print(f"{asked.instants} random instants: {len(broker.promotions)} promotions, {len(faults)} faults")
    for line in faults:
        print(line)
    return 1 if faults or extra else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
