"""Tasks of two teams on a cluster whose parts are killed at moments drawn from a seed, and restarted each time."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos_observer import Observer, Wanted

from collabspace.local.cluster import LocalCluster
from collabspace.local.state import Options

OWNER, TEAMS = "owner", ("team-a", "team-b")
PARTS = ("operator", "broker", "node")
QUOTA = 3
END_SECONDS = 900.0
SETTLE_SECONDS = 60.0
LONGEST_ABSENCE = 4.0


@dataclass(frozen=True)
class Plan:
    """What one run does. Faults and deletions are drawn over the first `window` seconds."""

    seed: int
    tasks: int
    kills_each: int
    deletions: int
    window: float
    evictions: int = 0
    epochs: int = 60


@dataclass(frozen=True)
class Fault:
    """At `moment` seconds `part` is killed, to be started again after `absence` seconds; `task` is deleted;
    or, when neither is named, the pod of some running attempt is deleted."""

    moment: float
    part: str = ""
    absence: float = 0.0
    task: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Outcome:
    """What came of a run: kills done, seconds until all tasks had ended, how long it took to settle, what was wrong."""

    kills: int
    deleted: int
    attempts: int
    overlaps: int
    seconds: float
    violations: list[str]


class Stage:
    """A cluster with a dataset that two teams may train on, and an observer."""

    def __init__(self, name: str, home: Path, say: Callable[[str], None]) -> None:
        self.cluster = LocalCluster(name, home, say)
        self._say = say
        self._home = home

    def open(self) -> None:
        self.cluster.up(Options(gpus=2 * QUOTA + 2, audit=True))
        self.kubectl = [str(self.cluster.kubectl), f"--kubeconfig={self.cluster.kubeconfig}"]
        self.collab("teams", "add", OWNER, "--member", "olga")
        for team in TEAMS:
            self.collab("teams", "add", team, "--gpu-quota", str(QUOTA))
        table = self._home / "table.csv"
        dice = random.Random(0)
        rows = [(dice.gauss(0, 1), dice.gauss(0, 1), dice.gauss(0, 1)) for _ in range(300)]
        lines = [f"{a:.4f},{b:.4f},{c:.4f},{'yes' if a + b * c > 0 else 'no'}" for a, b, c in rows]
        table.write_text("\n".join(["a,b,c,answer", *lines, ""]))
        made = ("--create", "--format", "tabular", "--target", "answer")
        self.collab("push", "table", str(table), *made, "-n", OWNER)
        for team in TEAMS:
            self.collab("grants", "add", "table", "--to", team, "--use", "Train", "--use", "Evaluate", "-n", OWNER)

    def close(self) -> None:
        if hasattr(self, "observer"):
            self.observer.close()
        self.cluster.down(wipe=True)

    def play(self, plan: Plan) -> Outcome:
        """One run; the stage may be used for others before and after."""
        self.watch_anew()
        dice = random.Random(plan.seed)
        tasks = self._submit(plan)
        doomed = dice.sample(tasks[1:], plan.deletions)
        for namespace, name in tasks:
            if (namespace, name) not in doomed:
                bad = (namespace, name) == tasks[0]
                self.observer.wanted[namespace, name] = Wanted("InvalidParameter" if bad else "Completed", not bad)
        faults = [Fault(dice.uniform(0, plan.window), task=task) for task in doomed]
        for part in PARTS:
            faults += [
                Fault(dice.uniform(0, plan.window), part, dice.uniform(0, LONGEST_ABSENCE))
                for _ in range(plan.kills_each)
            ]
        faults += [Fault(dice.uniform(0, plan.window)) for _ in range(plan.evictions)]
        begun = time.monotonic()
        self._perform(sorted(faults, key=lambda fault: fault.moment))
        self.observer.wait(self.observer.all_ended, END_SECONDS)
        seconds = time.monotonic() - begun
        self.observer.wait(lambda: next(self.observer.violations(), None) is None, SETTLE_SECONDS)
        ours = {self._uid(task) for task in tasks}
        processes = [one for one in self.observer.processes() if one.task_uid in ours]
        return Outcome(
            plan.kills_each * len(PARTS),
            len(doomed),
            len(processes),
            self.observer.overlaps(),
            seconds,
            list(self.observer.violations()),
        )

    def watch_anew(self) -> None:
        """An observer for one run: the API server ends every watch after half an hour at the
        earliest, an hour at most."""
        if hasattr(self, "observer"):
            self.observer.close()
        self.observer = Observer(self.kubectl, self.cluster.state, dict.fromkeys(TEAMS, QUOTA))

    def _submit(self, plan: Plan) -> list[tuple[str, str]]:
        """The first of the tasks has a parameter that no trainer takes: it must end badly, once."""
        tasks = [(TEAMS[number % 2], f"s{plan.seed}-{number}") for number in range(plan.tasks)]
        items = [self.manifest(plan, *task, number) for number, task in enumerate(tasks)]
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        self.run([*self.kubectl, "apply", "-f", "-"], given)
        return tasks

    def manifest(self, plan: Plan, namespace: str, name: str, number: int) -> dict[str, Any]:
        return {
            "apiVersion": "collabspace.io/v1alpha1",
            "kind": "CollabTask",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "task": "Tabular",
                "method": "NeuralNetwork",
                "initialization": "Random",
                "seed": number,
                "datasets": [{"name": "t", "datasetRef": {"namespace": OWNER, "name": "table"}}],
                "parameters": {"epochs": plan.epochs if number else 0},
                "resourcesPerNode": {"cpu": "100m", "memory": "2Gi", "nvidia.com/gpu": 1},
            },
        }

    def _perform(self, faults: list[Fault]) -> None:
        """Each at its moment; a part that is still away when its next kill comes is brought back first."""
        begun = time.monotonic()
        moment = threading.Event()
        returns: dict[str, float] = {}

        def now() -> float:
            return time.monotonic() - begun

        def bring_back(before: float) -> None:
            for part, due in sorted(returns.items(), key=lambda item: item[1]):
                if due <= before:
                    moment.wait(max(0.0, due - now()))
                    self._say(f"{now():6.1f} s  start {part}")
                    self.cluster.start(part)
                    del returns[part]

        for fault in faults:
            bring_back(fault.moment)
            moment.wait(max(0.0, fault.moment - now()))
            if fault.part:
                if fault.part in returns:
                    bring_back(returns[fault.part])
                self._say(f"{now():6.1f} s  kill -9 {fault.part}")
                self.cluster.kill(fault.part)
                returns[fault.part] = now() + fault.absence
            elif any(fault.task):
                self._delete(fault.task)
            else:
                self._evict()
        bring_back(float("inf"))

    def _delete(self, task: tuple[str, str]) -> None:
        self._say(f"delete {'/'.join(task)}")
        self.observer.deleted[self._uid(task)] = time.time()
        namespace, name = task
        self.run([*self.kubectl, "delete", "collabtask", name, f"--namespace={namespace}", "--wait=false"])

    def _evict(self) -> None:
        """The task must go on in another attempt, or end if it was about to."""
        running = [one for one in self.observer.processes() if one.end is None]
        if running:
            oldest = min(running, key=lambda one: one.start)
            self._say(f"evict {oldest.namespace}/{oldest.pod}")
            where = [oldest.pod, f"--namespace={oldest.namespace}", "--wait=false", "--ignore-not-found"]
            self.run([*self.kubectl, "delete", "pod", *where])

    def _uid(self, task: tuple[str, str]) -> str:
        found = self.observer.uid(*task)
        assert found is not None, f"{task} was never seen"
        return found

    def collab(self, *arguments: str) -> None:
        program = Path(sys.executable).parent / "collabspace"
        self.run([str(program), *arguments, f"--kubeconfig={self.cluster.kubeconfig}"])

    @staticmethod
    def run(command: list[str], given: str = "") -> None:
        out = subprocess.PIPE
        done = subprocess.run(command, input=given, stdout=out, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}"
