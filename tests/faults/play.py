"""One plan on a rig: the workload with its fault, and what is wrong afterwards."""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from plans import Plan, arm
from recorder import Recorder, Summary, differences, ledger, summary
from rig import Rig
from stage import Stage
from workloads import WORKLOADS

SETTLE_SECONDS = 60.0
LEDGER_SECONDS = 0.1
QUIET_SECONDS = 1.5
LOOK_SECONDS = 0.2


@dataclass
class Verdict:
    """`fired`: the fault happened; a run may take a course without the step that was meant. `violations` is empty when
    all is as it must be."""

    plan: str
    kind: str
    workload: str
    seconds: float
    fired: bool
    restarts: int
    violations: list[str] = field(default_factory=list)

    def line(self) -> dict[str, Any]:
        return asdict(self)


async def play(rig: Rig, plan: Plan, reference: Summary) -> tuple[Verdict, Stage]:
    """Runs on the rig's loop. The stage stays open: its namespaces are judged by observers, then closed."""
    stage = Stage(rig)
    recorder = Recorder(rig, stage.roles)
    begun, starts = time.monotonic(), rig.operator.starts
    recorder.open()
    armed = arm(plan, rig, recorder)
    violations: list[str] = []
    supervisor = asyncio.create_task(_supervise(rig, violations))
    try:
        await WORKLOADS[plan.workload](stage)
        await _settled(rig, stage, reference["end"])
        await armed.over()
        violations += await _settled(rig, stage, reference["end"])
    except TimeoutError as error:
        violations.append(f"I1: {error}")
        violations += [f"I18: {line}" for line in differences(reference["end"], summary(rig, stage.roles))]
    finally:
        supervisor.cancel()
        recorder.close()
        rig.api.clear()
        rig.broker_door.clear()
    violations += _excess(recorder, reference)
    seconds = time.monotonic() - begun
    return (
        Verdict(plan.id, plan.kind, plan.workload, seconds, armed.fired, rig.operator.starts - starts, violations),
        stage,
    )


async def record(rig: Rig, workload: str) -> Summary:
    """A run without fault: `writes`, `events` and `end`."""
    stage = Stage(rig)
    recorder = Recorder(rig, stage.roles)
    recorder.open()
    try:
        await WORKLOADS[workload](stage)
        await _quiet(rig, stage)
        return {"writes": recorder.calls.all, "events": recorder.events.all, "end": _end(rig, stage)}
    finally:
        recorder.close()
        await stage.close()


async def _quiet(rig: Rig, stage: Stage) -> None:
    """Nothing has changed for a while: the Job controller follows a second behind."""
    while True:
        known = _end(rig, stage)
        await asyncio.sleep(QUIET_SECONDS)
        if known == _end(rig, stage):
            return


def _end(rig: Rig, stage: Stage) -> Summary:
    return summary(rig, stage.roles) | ledger(rig, stage.roles)


async def _settled(rig: Rig, stage: Stage, end: Summary) -> list[str]:
    """Waits until all is as in the reference; else what is not."""
    objects = {key: value for key, value in end.items() if not key.startswith("ledger ")}
    deadline = time.monotonic() + SETTLE_SECONDS
    with suppress(TimeoutError):  # what differs is said below
        await rig.eyes.until(lambda: summary(rig, stage.roles) == objects, SETTLE_SECONDS, "the end")
    while True:
        wrong = differences(end, _end(rig, stage))
        if not wrong or time.monotonic() > deadline:
            return [f"I18: {line}" for line in wrong]
        await asyncio.sleep(LEDGER_SECONDS)  # the ledger's file tells nobody


async def _supervise(rig: Rig, ends: list[str]) -> None:
    """Starts the operator anew whenever it has ended by itself, as a cluster does; `ends` are its last words."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if not rig.operator.running():
            ends.append(f"the operator ended by itself: {rig.operator.words(1500)}")
            rig.operator.start()


def _excess(recorder: Recorder, reference: Summary) -> list[str]:
    """Objects that were written to far more often than in the reference."""
    usual, found = _by_object(reference["writes"]), _by_object(recorder.calls.all)
    return [
        f"I13: {count} writes `{target}`, {usual[target]} in the reference"
        for target, count in found.items()
        if count > 2 * usual[target] + 4
    ]


def _by_object(calls: list[str]) -> Counter[str]:
    return Counter(" ".join(call.partition("#")[0].split(" ")[:2]) for call in calls if "/events/" not in call)
