"""Random steps of five teams under random faults, judged by an observer: a seed reproduces the steps.

    python tests/faults/random_steps.py --steps 500 --seed 1
    python tests/faults/random_steps.py --steps 500 --seeds 1-20
    python tests/faults/random_steps.py --seed 7 --steps 500 --episode 3      one episode of it alone

After every 100 steps all faults end. Within 60 s everything must be at rest, and stay there, with no invariant broken;
the bystander's tasks must have ended as they do without faults. Exit code 1: a violation, named. Figures go to
build/faults/random_steps.json.
"""

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from observer import Observer, differences
from random_steps_doing import Doing
from random_steps_operators import Operators
from random_steps_plan import BYSTANDER, EPISODE, Step, episodes
from rig import ForkServer, Rig

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "build" / "faults" / "random_steps.json"
REST_SECONDS = 60.0
QUIET_SECONDS = 2.0
LOOK_SECONDS = 0.4
SWEEP_SECONDS = 3
# Reasons of tasks that are on their way to another one by themselves.
MOVING = {"", "Pending", "Starting", "Stopping", "Confirming"}
# The product's own pauses may be longer than ours; whether they are true is the observer's to say (I1).
PAUSING = "RetryBackoff"
THREADS = 32


@dataclass
class Episode:
    """What became of one. `rest` is how many seconds the system took to come to rest."""

    seed: int
    number: int
    steps: int
    kinds: Counter[str]
    faults: int
    seconds: float
    rest: float
    refused: dict[int, int]
    starts: int
    ends: Counter[str]
    violations: list[str] = field(default_factory=list)


class Runner:
    """Plays episodes on one rig."""

    def __init__(self, rig: Rig, observer: Observer, operators: Operators) -> None:
        self._rig = rig
        self._observer = observer
        self._operators = operators
        self._left: list[str] = []

    async def play(self, seed: int, number: int, steps: Sequence[Step]) -> Episode:
        doing = Doing(self._rig, self._operators)
        self._observer.rest(begins=False)
        namespaces = await doing.set_up()
        begun = time.monotonic()
        for step in steps:
            await asyncio.sleep(step.pause)
            await doing.do(step)
        played = time.monotonic() - begun
        await doing.calm()
        rest, violations = await self._judge([*namespaces, *self._left], namespaces, steps)
        ends = Counter(text.partition(" ")[0] for text in self._observer.ends(namespaces).values())
        self._observer.forget(self._left)
        await doing.leave()
        self._left = namespaces
        kinds = Counter(step.kind for step in steps)
        return Episode(
            seed,
            number,
            len(steps),
            kinds,
            sum(step.is_fault for step in steps),
            played,
            rest,
            dict(doing.refused),
            sum(program.starts for program in self._operators.programs),
            ends,
            violations,
        )

    async def finish(self) -> list[str]:
        """What is left of the last teams, a minute after their deletion at the latest; and the auditors' verdict."""
        self._observer.rest(begins=False)
        _, violations = await self._judge(self._left, [], [])
        return [*violations, *await asyncio.to_thread(self._observer.verify_ledger)]

    async def _judge(self, namespaces: list[str], present: list[str], steps: Sequence[Step]) -> tuple[float, list[str]]:
        """Seconds until all was right and quiet, or REST_SECONDS and what was wrong then."""
        calm = time.monotonic()
        ended = self._operators.unasked
        wrong: list[str] = []
        while time.monotonic() - calm < REST_SECONDS:
            self._operators.revive()
            if self._operators.unasked > ended + 1:  # the last fault may end it a moment later, nothing may at rest
                return time.monotonic() - calm, ["I13 the operator ended more than once without a fault"]
            wrong = await self._look(namespaces, present, steps)
            if not wrong and not await self._pauses(present):
                rest = time.monotonic() - calm
                self._observer.rest()
                await asyncio.sleep(QUIET_SECONDS)
                wrong = await self._look(namespaces, present, steps)
                if not wrong:
                    return rest, []
                self._observer.rest(begins=False)
            await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - calm, wrong

    async def _pauses(self, present: list[str]) -> bool:
        found = await asyncio.to_thread(self._observer.ends, present)
        return any(text.startswith(PAUSING) for text in found.values())

    async def _look(self, namespaces: list[str], present: list[str], steps: Sequence[Step]) -> list[str]:
        wrong = await asyncio.to_thread(self._observer.violations, namespaces)
        found = await asyncio.to_thread(self._observer.ends, present)
        moving = [f"I13 {key} is still {text}" for key, text in found.items() if text.partition(" ")[0] in MOVING]
        if present:
            bystander = f"tasks/{present[BYSTANDER]}/"
            wanted = {
                f"{bystander}{step.name}": "Completed True True" for step in steps if step.kind == "bystander's task"
            }
            wrong += differences(wanted, {key: text for key, text in found.items() if key.startswith(bystander)})
        return [*wrong, *moving]


def run(seeds: Sequence[int], count: int, only: int | None, folder: Path) -> list[Episode]:
    """All episodes of these seeds, told as they end."""
    done: list[Episode] = []
    with Rig(folder, lambda line: print(line, file=sys.stderr)) as rig:
        rig.loop.set_default_executor(ThreadPoolExecutor(THREADS))
        server = ForkServer("faults.random_steps_clock")
        operators = Operators(rig, server, folder)
        logs = [program.log for program in (*operators.programs, rig.broker)]
        observer = Observer(rig.kubeconfig, rig.audit_log, rig.ledger, rig.store, rig.journal, logs=logs)
        try:
            _prepare(rig, operators)
            observer.start()
            runner = Runner(rig, observer, operators)
            for seed in seeds:
                for number, steps in enumerate(episodes(seed, count)):
                    if only is None or number == only:
                        done.append(rig.call(runner.play(seed, number, steps), None))
                        _tell(done[-1])
            if done:
                done[-1].violations += rig.call(runner.finish(), None)
        finally:
            observer.stop()
            for program in operators.programs:
                program.kill()
            server.close()
    return done


def _prepare(rig: Rig, operators: Operators) -> None:
    """Our own operators instead of the rig's, and a broker that sweeps often."""
    rig.operator.stop()
    rig.broker.stop()
    rig.broker.environment["COLLABSPACE_BROKER_SWEEP_SECONDS"] = str(SWEEP_SECONDS)
    rig.broker.environment["COLLABSPACE_BROKER_REQUESTS_PER_SECOND"] = "1000"
    rig.broker.start()
    rig._until_broker_is_ready()
    rig.operator = operators.programs[0]
    rig.metrics_port = int(rig.operator.environment["COLLABSPACE_METRICS_PORT"])
    rig.operator.start()
    rig.call(rig.until_operator_is_ready())


def _tell(one: Episode) -> None:
    print(
        f"seed {one.seed:3} episode {one.number:3}: {one.steps} steps, {one.faults} faults in {one.seconds:5.1f} s, "
        f"at rest after {one.rest:5.1f} s, violations: {len(one.violations)}",
        flush=True,
    )
    for line in one.violations[:20]:
        print(f"    {line}", flush=True)


def report(done: Sequence[Episode], seconds: float) -> dict[str, Any]:
    """Sums, for people and for the file."""
    kinds: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for one in done:
        kinds += one.kinds
        ends += one.ends
        refused.update({str(status): times for status, times in one.refused.items()})
    rests = sorted(one.rest for one in done)
    steps = sum(one.steps for one in done)
    return {
        "seeds": sorted({one.seed for one in done}),
        "steps": steps,
        "faults": sum(one.faults for one in done),
        "stepsPerSecond": round(steps / seconds, 2),
        "seconds": round(seconds, 1),
        "restSeconds": {"median": round(rests[len(rests) // 2], 1), "max": round(rests[-1], 1)} if rests else {},
        "operatorStarts": done[-1].starts if done else 0,
        "kinds": dict(kinds.most_common()),
        "refused": dict(refused),
        "ends": dict(ends.most_common()),
        "violations": [f"seed {one.seed} episode {one.number}: {line}" for one in done for line in one.violations],
    }


def show(figures: dict[str, Any]) -> None:
    print(f"\n{'step':24}{'times':>7}")
    for kind, times in figures["kinds"].items():
        print(f"{kind:24}{times:7}")
    print("\ntasks and selections ended or stood at rest as:")
    print("  " + ", ".join(f"{reason} {times}" for reason, times in figures["ends"].items()))
    print(
        f"\n{figures['steps']} steps, {figures['faults']} of them faults, seeds {figures['seeds']}, "
        f"{figures['stepsPerSecond']} steps/s; at rest after {figures['restSeconds']} s; "
        f"{figures['operatorStarts']} starts of operators; violations: {len(figures['violations'])}"
    )


def parse_seeds(text: str) -> list[int]:
    """`3`, or `1-20`."""
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops it leaves no cluster behind
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help=f"of each seed, in episodes of {EPISODE}")
    parser.add_argument("--seed", "--seeds", dest="seeds", type=parse_seeds, default=[1], metavar="N[-M]")
    parser.add_argument("--episode", type=int, help="this one alone")
    parser.add_argument("--keep", type=Path, help="folder for logs, ledger and journal; it stays")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="random-steps-"))
    begun = time.monotonic()
    done = run(given.seeds, given.steps, given.episode, folder)
    figures = report(done, time.monotonic() - begun)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(figures, indent=1))
    show(figures)
    if figures["violations"]:
        print(f"logs, ledger and journal are in {folder}")
        return 1
    if given.keep is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
