"""Promotions by the real operator and the real broker while one of them, or both, are killed at random instants.

The candidates are trained and compared once, by real trainers. Each round is another ModelSelection of the same name
that owns these ended tasks, so that only its promotion is left to do, to an alias of its own.
"""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from operator_harness import TASKS, until
from promotion_checks import broken, promotions, told_wrong
from selection_harness import SELECTIONS

from collabspace.api import names
from collabspace.api.task import ModelKind
from collabspace.broker.aliases import pointer_name
from collabspace.cli import broker as brokers
from collabspace.cli.options import Where
from collabspace.client.client import BrokerClient
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError, Object
from collabspace.local.cluster import LocalCluster
from collabspace.local.state import Options

LAB, NAME, ROWS = "lab", "sel", 300
VICTIMS = (("operator",), ("broker",), ("operator", "broker"))
TRAINING_SECONDS, ROUND_SECONDS = 600.0, 180.0
LONGEST_ABSENCE = 1.0
UNHARMED = 3
CANDIDATES = [
    {"name": "linear", "method": "LogisticRegression"},
    {"name": "other", "method": "LogisticRegression", "parameters": {"C": "0.01"}},
]


@dataclass(frozen=True)
class Round:
    """One selection: who was killed and how the matter stood just then, how long it took to end, what was wrong."""

    alias: str
    victims: tuple[str, ...]
    stood: str
    seconds: float
    faults: tuple[str, ...]


class Together:
    """A cluster with one team, whose two candidates are trained."""

    def __init__(self, cluster: LocalCluster, admin: KubeClient, dice: random.Random) -> None:
        self._cluster = cluster
        self._admin = admin
        self._dice = dice
        self._path = SELECTIONS.format(LAB)
        self._tasks: list[str] = []
        # Seconds from the resumption to Promoting, and from there to the end, when nobody is killed.
        self._before, self._during = 1.0, 1.0

    async def prepare(self) -> None:
        """Data, a first selection that trains, compares and promotes, and a few more to know how long it takes."""
        await asyncio.to_thread(self._publish)
        await self._admin.create(self._path, selection("first", suspend=False))
        await until(self._admin, self._path, NAME, has_ended, TRAINING_SECONDS)
        self._tasks = sorted(each["metadata"]["name"] for each in (await self._admin.list(TASKS.format(LAB)))["items"])
        self._say(f"trained and compared: {', '.join(self._tasks)}")
        spans = [await self._unharmed(f"unharmed-{number}") for number in range(UNHARMED)]
        # The shortest: on a busy machine the others hold waits of ours.
        self._before, self._during = (min(each) for each in zip(*spans, strict=True))
        self._say(f"unharmed: Promoting after {self._before:.2f} s, done {self._during:.2f} s later")

    async def rounds(self, count: int, seconds: float) -> list[Round]:
        """As many as were asked for, or as the time allows."""
        done: list[Round] = []
        deadline = time.monotonic() + seconds
        while len(done) < count and time.monotonic() < deadline:
            found = await self._round(f"best-{len(done)}", VICTIMS[len(done) % len(VICTIMS)], late=len(done) % 2 == 1)
            done.append(found)
            said = "; ".join(found.faults) or "one promotion, whole"
            who = "+".join(found.victims)
            self._say(f"{len(done):4}  kill -9 {who:15}  {found.stood:32}  {found.seconds:5.1f} s  {said}")
        return done

    async def judge_ledger(self, rounds: list[Round]) -> list[str]:
        """Once more over all: the ledger is whole, and has one promotion for each alias and none beside."""
        return await asyncio.to_thread(self._judge_ledger, [each.alias for each in rounds])

    async def _unharmed(self, alias: str) -> tuple[float, float]:
        begun = await self._begin(alias)
        await self._promoting()
        promoting = time.monotonic()
        await until(self._admin, self._path, NAME, has_ended, ROUND_SECONDS)
        faults = await self._faults(alias)
        assert not faults, faults
        return promoting - begun, time.monotonic() - promoting

    async def _round(self, alias: str, victims: tuple[str, ...], *, late: bool) -> Round:
        """`late`: the instant is drawn from when it is seen to say Promoting on, else from the resumption on."""
        begun = await self._begin(alias)
        if late:
            await self._promoting()
        # The end is told long before it is seen here, so half of what was measured already reaches beyond it.
        soonest, latest = (0.0, self._during / 2) if late else (self._before / 2, self._before + self._during / 4)
        await asyncio.sleep(self._dice.uniform(soonest, latest))
        for victim in victims:
            await asyncio.to_thread(self._cluster.kill, victim)
        stood = await self._stood(alias)
        for victim in self._dice.sample(victims, len(victims)):
            await asyncio.sleep(self._dice.uniform(0, LONGEST_ABSENCE))
            await asyncio.to_thread(self._cluster.start, victim)
        await until(self._admin, self._path, NAME, has_ended, ROUND_SECONDS)
        seconds = time.monotonic() - begun
        return Round(alias, victims, stood, seconds, tuple(await self._faults(alias)))

    async def _begin(self, alias: str) -> float:
        """Another selection takes the ended tasks over while it is suspended, and is resumed."""
        for task in self._tasks:
            await self._admin.merge(f"{TASKS.format(LAB)}/{task}", {"metadata": {"ownerReferences": None}})
        await self._admin.delete(f"{self._path}/{NAME}")
        made = await self._create(selection(alias, suspend=True))
        owner = {"apiVersion": names.API_VERSION, "kind": "ModelSelection", "name": NAME, "controller": True}
        owners = [owner | {"uid": made["metadata"]["uid"]}]
        for task in self._tasks:
            await self._admin.merge(f"{TASKS.format(LAB)}/{task}", {"metadata": {"ownerReferences": owners}})
        await until(self._admin, self._path, NAME, lambda item: reason(item) == "Suspended", ROUND_SECONDS)
        await self._admin.merge(f"{self._path}/{NAME}", {"spec": {"suspend": False}})
        return time.monotonic()

    async def _create(self, body: Object) -> Object:
        async with asyncio.timeout(ROUND_SECONDS):
            while True:
                try:
                    return await self._admin.create(self._path, body)
                except KubeError as error:
                    if error.reason != "AlreadyExists":
                        raise
                    await asyncio.sleep(0.05)

    async def _promoting(self) -> None:
        seen = ("Promoting", "Completed")
        await until(self._admin, self._path, NAME, lambda item: reason(item) in seen, ROUND_SECONDS)

    async def _stood(self, alias: str) -> str:
        """How the matter stands: what the selection says, and whether the alias is there."""
        item = await self._admin.get(f"{self._path}/{NAME}")
        store = self._cluster.state / "broker" / "store"
        there = any(path.name.startswith(pointer_name(alias)) for path in store.rglob("*"))
        return f"{reason(item)}, alias {'set' if there else 'not set'}"

    async def _faults(self, alias: str) -> list[str]:
        item = await self._admin.get(f"{self._path}/{NAME}")
        with tempfile.TemporaryDirectory() as scratch:
            return await asyncio.to_thread(self._judge, item, alias, Path(scratch))

    def _judge(self, item: Object, alias: str, scratch: Path) -> list[str]:
        """What is wrong about the selection, its alias, its record in the ledger and the model behind it."""
        with closing(self._reader()) as client:
            state = next((each for each in client.aliases(LAB) if each.alias == alias), None)
            records = promotions(client, alias)
            faults = told_wrong(item, state, records)
            if state is not None:
                manifest = client.fetch_result(LAB, ModelKind.ALIAS, alias, scratch)
                if manifest.digest != state.digest:
                    faults.append(f"the model is {manifest.digest}, the alias says {state.digest}")
                faults += broken(scratch)
        return faults

    def _judge_ledger(self, aliases: list[str]) -> list[str]:
        with closing(self._reader()) as client:
            verdict = client.verify_ledger()
            found = Counter(record.reason for record in promotions(client))
        faults = [f"chain {chain.chain}: {chain.problem}" for chain in verdict.chains if not chain.ok]
        wanted = Counter([*aliases, "first", *(f"unharmed-{number}" for number in range(UNHARMED))])
        return faults + ([f"promotions on record: {found - wanted} too many"] if found != wanted else [])

    def _reader(self) -> BrokerClient:
        return brokers.connect(Where(LAB, None, self._cluster.kubeconfig), names.READER_ACCOUNT)

    def _publish(self) -> None:
        self._collab("teams", "add", LAB)
        dice = random.Random(0)
        rows = [(dice.gauss(0, 1), dice.gauss(0, 1)) for _ in range(ROWS)]
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder, "table.csv")
            lines = [f"{a:.4f},{b:.4f},{'yes' if a + b > 0 else 'no'}" for a, b in rows]
            table.write_text("\n".join(["a,b,answer", *lines, ""]))
            self._collab(
                "push", "table", str(table), "--create", "--format", "tabular", "--target", "answer", "-n", LAB
            )

    def _collab(self, *arguments: str) -> None:
        command = [str(Path(sys.executable).parent / "collabspace"), *arguments]
        subprocess.run([*command, f"--kubeconfig={self._cluster.kubeconfig}"], check=True)

    @staticmethod
    def _say(line: str) -> None:
        print(line, flush=True)


def selection(alias: str, *, suspend: bool) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelSelection",
        "metadata": {"name": NAME},
        "spec": {
            "task": "Tabular",
            "datasets": [{"name": "train", "datasetRef": {"namespace": LAB, "name": "table"}}],
            "objective": {"metric": "accuracy"},
            "candidates": CANDIDATES,
            "parallelism": len(CANDIDATES),
            "promotion": {"alias": alias},
            "suspend": suspend,
        },
    }


def reason(item: Object) -> str:
    return str(item.get("status", {}).get("reason", ""))


def has_ended(item: Object) -> bool:
    return bool(item.get("status", {}).get("completionTime"))


def table(rounds: list[Round]) -> str:
    """Rounds and faults by who was killed, and by how the matter stood then."""
    kills = Counter(("+".join(each.victims), each.stood) for each in rounds)
    bad = Counter(("+".join(each.victims), each.stood) for each in rounds if each.faults)
    lines = [f"{who:16}  {stood:36}  {count:6}  {bad[who, stood]:6}" for (who, stood), count in sorted(kills.items())]
    head = f"{'killed':16}  {'the selection was, the alias was':36}  {'rounds':>6}  {'faults':>6}"
    return "\n".join([head, *lines, f"{'all':16}  {'':36}  {len(rounds):6}  {sum(bad.values()):6}"])


async def run(count: int, seconds: float, seed: int) -> int:
    """The whole; the exit status."""
    with tempfile.TemporaryDirectory(prefix="together-") as home:
        cluster = LocalCluster(f"together-{os.getpid()}", Path(home), lambda _line: None)
        try:
            await asyncio.to_thread(cluster.up, Options(gpus=0))
            async with KubeClient(config.load(cluster.kubeconfig)) as admin:
                together = Together(cluster, admin, random.Random(seed))
                await together.prepare()
                rounds = await together.rounds(count, seconds)
                faults = await together.judge_ledger(rounds)
        finally:
            await asyncio.to_thread(lambda: cluster.down(wipe=True))
    print(table(rounds))
    print(*faults or ["the ledger is intact, with one promotion for each selection"], sep="\n")
    return 1 if faults or any(each.faults for each in rounds) else 0
