"""What becomes of running and waiting tasks while a part of the platform is away, and how soon all is caught up after.

    python tests/faults/outages.py                 all, at their full length (about 25 minutes)
    python tests/faults/outages.py --scale 0.1     each at a tenth of it
    python tests/faults/outages.py --only etcd

Before each outage three trainers run and two tasks wait for quota. Meanwhile one of the trainers ends, and where the
API server can be asked a task is submitted. Everything is caught up when the ended task is Completed, the next one
runs, one submitted at the return is done, and the observer finds nothing wrong. The ledger is on PostgreSQL throughout.
Exit code 1: a trainer that ended with the outage, an attempt that was burned, 60 s that did not suffice, a violation.
How soon the operator has made the Jobs that are due is told beside that: what comes after is Kubernetes' own.
Figures go to build/faults/outages.json.
"""

import argparse
import asyncio
import json
import math
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import trainer_words
from observer import Observer
from observer_sources import Journal
from outages_cases import CASES, ELECTED, Case, Kubelet, Outages
from player import Act
from rig import NODE, Rig
from stage import Stage

import postgres_server
from collabspace.api import names
from collabspace.kube import config
from collabspace.kube.client import KubeError
from collabspace.local.node.api import NodeClient

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "build" / "faults" / "outages.json"
CAUGHT_UP_SECONDS = 60.0
GIVE_UP_SECONDS = 120.0
RUNNING, WAITING = ("a", "b", "c"), ("d", "e")
AWAY, LATER = "during", "after"
TRAINER_PATIENCE = 600.0


class PatientNode(NodeClient):
    """A kubelet tries again for as long as it takes."""

    async def _request(self, method: str, path: str, *arguments: Any, **named: Any) -> Any:
        while True:
            try:
                return await super()._request(method, path, *arguments, **named)
            except KubeError as error:
                if not error.transient or method == "GET":
                    raise
            await asyncio.sleep(0.5)


@dataclass
class Outcome:
    """`ended` counts trainers that the outage ended, `burned` attempts, `restarts` operators that ended by themselves
    and were started again; `jobs` (until the operator has made all Jobs that are due) and `caught` are in seconds from
    the return, `last` is what came last."""

    outage: str
    seconds: float
    ended: int
    burned: int
    restarts: int
    jobs: float
    caught: float
    last: str
    violations: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.ended or self.burned or self.violations) and self.caught <= CAUGHT_UP_SECONDS


class Play:
    """One outage over five tasks of a team with quota for three."""

    def __init__(self, rig: Rig, outages: Outages, observer: Observer) -> None:
        self._rig, self._outages, self._observer = rig, outages, observer

    async def run(self, case: Case, scale: float) -> Outcome:
        stage = Stage(self._rig)
        await stage.set_up(gpus=len(RUNNING))
        seconds = max(1.0, case.seconds * scale)
        try:
            return await self._run(case, seconds, stage)
        finally:
            await stage.close()

    async def _run(self, case: Case, seconds: float, stage: Stage) -> Outcome:
        for name in (*RUNNING, *WAITING):
            stage.script(name, lambda _attempt: Act(seconds=None))
        for name in RUNNING:
            await stage.task(name)
        await stage.running(*RUNNING)
        for place, name in enumerate(WAITING):
            await stage.task(name, priority=-place)
        for name in WAITING:
            await stage.until(name, "WaitingForQuota")
        starts = self._rig.operator.starts
        async with case.outage(self._outages):
            await asyncio.sleep(seconds / 2)
            stage.release(RUNNING[0])
            if case.asked:
                await stage.task(AWAY, lambda _attempt: Act(), gpu=0)
            await asyncio.sleep(seconds / 2)
            ended = self._ended(stage)
        back = time.monotonic()
        await self._submitted(stage)
        done = (RUNNING[0], LATER, *((AWAY,) if case.asked else ()))
        made = asyncio.create_task(self._until_made(stage, (WAITING[0], *done[1:])))
        last, wrong = await self._until_caught_up(stage, done, back)
        caught = round(time.monotonic() - back, 1)
        restarts = self._rig.operator.starts - starts
        jobs = round(await made - back, 1)
        return Outcome(case.name, seconds, ended, self._burned(stage), restarts, jobs, caught, last, wrong)

    async def _submitted(self, stage: Stage) -> None:
        while True:
            try:
                await stage.task(LATER, lambda _attempt: Act(), gpu=0)
            except KubeError as error:
                if error.status == 409:  # an answer was lost
                    return
                if not error.transient and error.status != 403:  # an API server that has just started knows no roles
                    raise
            else:
                return
            await asyncio.sleep(0.1)

    async def _until_made(self, stage: Stage, tasks: tuple[str, ...]) -> float:
        """When each of these tasks had a Job, by the clock that only goes forward; infinite: not all ever had."""
        limit = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < limit:
            there = self._rig.eyes.objects("jobs", stage.team)
            if all(names.job_name(task, 1) in there for task in tasks):
                return time.monotonic()
            await asyncio.sleep(0.1)
        return math.inf

    async def _until_caught_up(self, stage: Stage, done: tuple[str, ...], back: float) -> tuple[str, list[str]]:
        """What was wrong last, and what is wrong still."""
        wanted = dict.fromkeys(done, "Completed")
        wanted |= dict.fromkeys((*RUNNING[1:], WAITING[0]), "Training") | {WAITING[1]: "WaitingForQuota"}
        last, wrong = "", [""]
        while time.monotonic() - back < GIVE_UP_SECONDS:
            last = wrong[0]
            if not self._rig.operator.running():
                self._rig.operator.start()  # as a cluster does
            told = {name: stage.seen(name).get("status", {}).get("reason", "") for name in wanted}
            wrong = [f"{name} is {told[name]}, not {reason}" for name, reason in wanted.items() if told[name] != reason]
            if not wrong:
                wrong = await asyncio.to_thread(self._observer.violations, list(stage.roles))
            if not wrong:
                return last, []
            await asyncio.sleep(0.2)
        return last, wrong

    def _ended(self, stage: Stage) -> int:
        """Trainers that ended, of those that nobody told to."""
        found = Journal(self._rig.journal).processes()
        ours = [one for one in found if one.namespace == stage.team and one.end is not None]
        return sum(not one.pod.startswith((f"{RUNNING[0]}-", f"{AWAY}-")) for one in ours)

    def _burned(self, stage: Stage) -> int:
        statuses: list[Mapping[str, Any]] = [
            item.get("status", {}) for item in self._rig.eyes.objects("tasks", stage.team).values()
        ]
        return sum(told.get("failedAttempts", 0) + max(0, len(told.get("attempts", [])) - 1) for told in statuses)


def run(scale: float, only: str, folder: Path) -> list[Outcome]:
    """All outages, told as they end."""
    trainer_words.PATIENCE_SECONDS = TRAINER_PATIENCE
    done: list[Outcome] = []
    with (
        postgres_server.running() as server,
        Rig(folder, lambda line: print(line, file=sys.stderr), arguments=ELECTED) as rig,
    ):
        password = folder / "password"
        password.write_text(postgres_server.PASSWORD)
        _onto_postgres(rig, server, password)
        rig.player._client = rig.call(_patient(rig))
        observer = Observer(
            rig.kubeconfig, rig.audit_log, server.url(), rig.store, rig.journal, logs=[rig.operator.log]
        )
        observer.start()
        kubelet = Kubelet(rig.cluster)
        kubelet.start()
        play = Play(rig, Outages(rig, server), observer)
        try:
            for case in CASES:
                if only in case.name:
                    done.append(rig.call(play.run(case, scale), None))
                    _tell(done[-1])
        finally:
            kubelet.stop()
            observer.stop()
            rig.call(rig.player._client.close())
    return done


def _onto_postgres(rig: Rig, server: postgres_server.PostgresServer, password: Path) -> None:
    rig.broker.stop()
    rig.broker.environment["COLLABSPACE_BROKER_LEDGER"] = server.url().partition("?")[0]
    rig.broker.environment["COLLABSPACE_BROKER_LEDGER_PASSWORD_FILE"] = str(password)
    rig.broker.start()
    rig._until_broker_is_ready()


async def _patient(rig: Rig) -> PatientNode:
    return PatientNode(config.load(rig.cluster.user(f"system:node:{NODE}", ("system:nodes",))))


def _tell(one: Outcome) -> None:
    print(
        f"{one.outage:26}{one.seconds:6.0f} s  trainers ended {one.ended}  attempts burned {one.burned}  "
        f"restarts {one.restarts}  Jobs after {one.jobs:5.1f} s  caught up after {one.caught:5.1f} s  "
        f"{'good' if one.good else 'BAD'}  ({one.last})",
        flush=True,
    )
    for line in one.violations[:20]:
        print(f"    {line}", flush=True)


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops it leaves no cluster behind
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", default="", metavar="WORDS", help="outages whose name has these")
    parser.add_argument("--keep", type=Path, help="folder for logs; it stays")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="outages-"))
    done = run(given.scale, given.only, folder)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps([asdict(one) for one in done], indent=1))
    if not all(one.good for one in done):
        print(f"logs are in {folder}")
        return 1
    if given.keep is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
