"""Every fault at every step of every workload, made from what the reference runs recorded (after Sieve, OSDI 2022).

A plan's id, such as `revoked/crash-after/W4`, stays as long as the reference does; W4 is the fourth write of the
reference run of that workload, E7 its seventh watch event.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import proxy_faults
from proxy_messages import Event, EventFault, EventRule, Fault, Forward, Reply, Request, Rule, Stream
from recorder import Recorder
from rig import Rig

HIDDEN_SECONDS = 0.6
DELAY_SECONDS = 0.8
ACTS_SECONDS = 0.25
"""How long the operator may act on an event before it starts anew and is shown the world before it."""
STALE_SECONDS = 1.2
LATE_SECONDS = 0.3
LASTS = {
    "hide": HIDDEN_SECONDS + 0.3,
    "delay": DELAY_SECONDS + 0.1,
    "reorder": DELAY_SECONDS + 0.1,
    "stale-restart": ACTS_SECONDS + STALE_SECONDS + 0.3,
}
"""Seconds from a fault's beginning until all that was held back has come."""
AT_WRITES = ("crash-before", "crash-after", "lost-reply", "status-409", "status-429", "status-500", "status-503")
AT_EVENTS = ("hide", "duplicate", "delay", "reorder", "replay", "truncate", "stale-restart")
KINDS = (*AT_WRITES, *AT_EVENTS)


@dataclass(frozen=True)
class Plan:
    """One fault at one step of a workload. `target` is the step's name."""

    workload: str
    kind: str
    number: str
    target: str

    @property
    def id(self) -> str:
        return f"{self.workload}/{self.kind}/{self.number}"


class UnknownPlanError(Exception):
    """There is no plan of this id."""


def generated(reference: Mapping[str, Any]) -> list[Plan]:
    """All plans, in a fixed order."""
    found = []
    for workload, record in reference.items():
        for number, write in enumerate(record["writes"], 1):
            found += [Plan(workload, kind, f"W{number}", write) for kind in AT_WRITES if _applies(kind, write)]
        for number, event in enumerate(record["events"], 1):
            found += [Plan(workload, kind, f"E{number}", event) for kind in AT_EVENTS if _applies(kind, event)]
    return found


def chosen(reference: Mapping[str, Any], ids: list[str]) -> list[Plan]:
    """The plans of these ids. Raises UnknownPlanError."""
    known = {plan.id: plan for plan in generated(reference)}
    missing = [each for each in ids if each not in known]
    if missing:
        raise UnknownPlanError(f"no plan {missing[0]}; `python tests/faults/run.py --list` prints all")
    return [known[each] for each in ids]


def sampled(plans: list[Plan], count: int, seed: int) -> list[Plan]:
    """As many of each kind of fault as go into `count`, drawn by the seed."""
    dice = random.Random(seed)
    by_kind = {kind: [plan for plan in plans if plan.kind == kind] for kind in KINDS}
    for found in by_kind.values():
        dice.shuffle(found)
    drawn: list[Plan] = []
    while len(drawn) < count and any(by_kind.values()):
        drawn += [found.pop() for found in by_kind.values() if found]
    return sorted(drawn[:count], key=plans.index)


def _applies(kind: str, step: str) -> bool:
    if "/events/" in step:
        return kind in ("crash-before", "crash-after")  # told to people, and nobody's state
    if kind == "status-409":
        return not step.startswith("PUT ")  # the broker's conflicts mean something else each
    # An object's first event has none before it.
    return kind != "replay" or " ADDED" not in step


class Armed:
    """A fault that is set. `fired`: it has happened."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._at: float | None = None

    @property
    def fired(self) -> bool:
        return self._at is not None

    def meant(self, step: str) -> bool:
        """Whether this is the step, once."""
        if step != self._plan.target or self.fired:
            return False
        self._at = asyncio.get_running_loop().time()
        return True

    async def over(self) -> None:
        """Returns when the fault goes on no more; one at the last step may be just about to come."""
        loop = asyncio.get_running_loop()
        if not self.fired:
            await asyncio.sleep(LATE_SECONDS)
        if self._at is not None:
            await asyncio.sleep(self._at + LASTS.get(self._plan.kind, 0.0) - loop.time())


def arm(plan: Plan, rig: Rig, recorder: Recorder) -> Armed:
    """Sets the fault."""
    armed = Armed(plan)
    if plan.number.startswith("W"):
        proxy = rig.broker_door if plan.target.startswith("PUT ") else rig.api
        proxy.rules.append(Rule(lambda _request: armed.meant(recorder.calls.current), _request_fault(plan, rig)))
    else:
        fault = _event_fault(plan, rig, recorder)
        rig.api.event_rules.append(EventRule(lambda _event: armed.meant(recorder.events.current), fault))
    return armed


def _request_fault(plan: Plan, rig: Rig) -> Fault:
    if plan.kind in ("crash-before", "crash-after"):
        return proxy_faults.strike(lambda: restart(rig), after=plan.kind == "crash-after")
    if plan.kind == "lost-reply":
        return proxy_faults.lost_reply
    status = int(plan.kind.removeprefix("status-"))
    reason = "AlreadyExists" if status == 409 and plan.target.startswith("POST") else None
    return proxy_faults.answer(status, retry_after=1 if status == 429 else None, reason=reason)


def _event_fault(plan: Plan, rig: Rig, recorder: Recorder) -> EventFault:
    faults: dict[str, EventFault] = {
        "hide": proxy_faults.hidden(HIDDEN_SECONDS),
        "duplicate": proxy_faults.duplicated,
        "delay": proxy_faults.delayed(DELAY_SECONDS),
        "reorder": proxy_faults.reordered(DELAY_SECONDS),
        "replay": proxy_faults.followed_by(lambda event: recorder.older[event.object["metadata"]["uid"]][:1]),
        "truncate": proxy_faults.truncated,
        "stale-restart": _stale_restart(rig),
    }
    return faults[plan.kind]


def restart(rig: Rig) -> None:
    rig.operator.kill()
    rig.operator.start()


def _stale_restart(rig: Rig) -> EventFault:
    """The operator sees the event and acts on it, is killed, and the one that follows is shown the lists of before the
    event, and for a while no news."""

    async def fault(_stream: Stream, event: Event) -> list[bytes]:
        stale = rig.views.before_newest()
        asyncio.get_running_loop().call_later(ACTS_SECONDS, _show_again, rig, stale)
        return [event.raw]

    return fault


def _show_again(rig: Rig, stale: Mapping[str, bytes]) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + STALE_SECONDS

    async def show(request: Request, forward: Forward) -> Reply:
        if request.watch:
            await asyncio.sleep(until - loop.time())
            return await forward()
        return Reply(200, proxy_faults.JSON, stale[request.listing])

    rig.api.rules.append(Rule(lambda request: request.listing in stale and loop.time() < until, show, times=None))
    restart(rig)
