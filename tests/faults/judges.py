"""The independent observer beside the rig: asked after each plan what is wrong in the plan's namespaces."""

import importlib.util
import threading
import time
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

from plans import Plan
from play import Verdict, play
from recorder import Summary
from rig import Rig

SETTLE_SECONDS = 5.0
PLAN_SECONDS = 240


class Judge:
    """Starts the observer with the rig and stops it before."""

    def __init__(self, rig: Rig) -> None:
        self._observer: Any = None
        if importlib.util.find_spec("observer") is not None:
            from observer import Observer

            self._observer = Observer(rig.kubeconfig, rig.audit_log, rig.ledger, rig.store, rig.journal)

    def __enter__(self) -> Self:
        if self._observer is not None:
            self._observer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._observer is not None:
            self._observer.stop()

    def violations(self, namespaces: Collection[str]) -> list[str]:
        """What is wrong there and stays so: an observer's watches are a moment behind those of the rig."""
        if self._observer is None:
            return []
        deadline = time.monotonic() + SETTLE_SECONDS
        while (found := list(self._observer.violations(namespaces))) and time.monotonic() < deadline:
            threading.Event().wait(0.2)
        self._observer.forget(namespaces)
        return found


def judged(rig: Rig, judge: Judge, plan: Plan, known: Summary) -> Verdict:
    """One plan, with the observer's judgement; its namespaces are removed."""
    verdict, stage = rig.call(play(rig, plan, known), PLAN_SECONDS)
    verdict.violations += judge.violations(stage.roles)
    rig.call(stage.close())
    return verdict
