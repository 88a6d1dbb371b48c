"""Which fault of the proxies a step stands for, and which requests it is meant for."""

from collections.abc import Callable
from typing import Any

import proxy_faults
from proxy_messages import EventFault, Fault, Request
from random_steps_plan import Step


def meant(which: str) -> Callable[[Request], bool]:
    """Any request, reads or writes; never a watch, whose events have faults of their own."""
    reads = ("GET",)
    if which == "a":
        return lambda request: not request.watch
    return lambda request: not request.watch and (request.method in reads) is (which == "r")


def request_fault(step: Step) -> Fault:
    said = step.said
    faults: dict[str, Callable[[], Any]] = {
        "status": lambda: proxy_faults.answer(said["status"], 1 if said["status"] == 429 else None),
        "latency": lambda: proxy_faults.latency(said["seconds"]),
        "reset": lambda: proxy_faults.reset,
        "lost reply": lambda: proxy_faults.lost_reply,
        "cut short": lambda: proxy_faults.cut_short(),
        "black hole": lambda: proxy_faults.black_hole,
    }
    found: Fault = faults[step.kind.partition(" ")[2]]()
    return found


def event_fault(step: Step) -> EventFault:
    said = step.said
    faults: dict[str, Callable[[], EventFault]] = {
        "event dropped": lambda: proxy_faults.hidden(said["seconds"]),
        "event duplicated": lambda: proxy_faults.duplicated,
        "event delayed": lambda: proxy_faults.delayed(said["seconds"]),
        "event reordered": lambda: proxy_faults.reordered(said["seconds"]),
        "event truncated": lambda: proxy_faults.truncated,
    }
    return faults[step.kind]()
