"""Why a Job's pod does not run, as the last look at it said: looks cost calls, so they are few and remembered."""

import asyncio
import math
from dataclasses import dataclass

from collabspace.controller.inspection import inspect
from collabspace.core.observed import JobFacts, Key, NotRunning
from collabspace.kube.client import KubeClient

INSPECTION_SECONDS = 25.0
# In a burst many pods are late for no other reason than the burst: looking at each would make it worse. One look at a
# time, then this pause.
LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look at the pods of a Job found, and when (seconds of the loop's clock)."""

    job: str
    found: NotRunning
    time: float


class Looks:
    """The newest look for each task."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._looks: dict[Key, _Look] = {}
        self._next = 0.0

    async def look(self, facts: JobFacts) -> bool:
        """Looks at the Job's pods, unless that was done just now or others are; whether there is news."""
        now = asyncio.get_running_loop().time()
        known = self._of(facts)
        if (known is not None and now - known.time < INSPECTION_SECONDS) or now < self._next:
            return False
        self._next = math.inf
        try:
            found = await inspect(self._client, facts)
        finally:
            self._next = asyncio.get_running_loop().time() + LOOK_SECONDS
        self._looks[facts.namespace, facts.task] = _Look(facts.uid, found, now)
        return known is None or known.found != found

    def known(self, facts: JobFacts | None) -> NotRunning | None:
        """What the last look at this Job said; None when there was none, or its pod runs by now."""
        if facts is None:
            return None
        if facts.ready or facts.finished:
            self.forget((facts.namespace, facts.task))
            return None
        known = self._of(facts)
        return known.found if known is not None else None

    def forget(self, key: Key) -> None:
        self._looks.pop(key, None)

    def _of(self, facts: JobFacts) -> _Look | None:
        known = self._looks.get((facts.namespace, facts.task))
        return known if known is not None and known.job == facts.uid else None
