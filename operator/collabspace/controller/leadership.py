"""Being alone: one process of all that run leads and may write, the others stand by with warm caches.

docs/decisions/0006-leadership.md says why a leader without API server pauses and only a deposed one exits.
"""

import asyncio
import logging
import random

from collabspace.controller import metrics
from collabspace.controller.exits import exit_at_once
from collabspace.controller.probes import Health
from collabspace.kube.client import KubeError
from collabspace.kube.lease import Lease

# So long without any answer is an outage, after which watches need time to find their way back. One request that is
# never answered ends after 10 s, and is none.
OUTAGE_SECONDS = 15.0
log = logging.getLogger(__name__)


class Leadership:
    """Campaigns for the Lease and says at any moment whether this process may write."""

    def __init__(self, lease: Lease, health: Health) -> None:
        self.looked = asyncio.Event()
        self._lease = lease
        self._health = health
        self._gained, self._lost = asyncio.Event(), asyncio.Event()
        self._led = self._failing = False
        self._holder: str | None = None
        self._heard_at = self._reached_since = float("-inf")
        health.words["process"] = lease.identity.name
        self._become(False, "not a candidate yet")

    @property
    def leading(self) -> bool:
        return self._gained.is_set() and self._lease.remaining() > 0

    def version(self) -> str:
        """The resourceVersion of the Lease as last seen: an older list lacks what the leader before did."""
        return self._lease.version

    def permit(self) -> float:
        """Seconds for which this process may write. Raises KubeError when it may not."""
        left = self._lease.remaining() if self._gained.is_set() else 0.0
        if left <= 0:
            raise KubeError(0, "NotLeading", "another process leads, or may: nothing is written")
        return left

    def reachable(self) -> float:
        """For how many seconds the API server has answered about the Lease; a try in vain now and then counts not."""
        now = asyncio.get_running_loop().time()
        return now - self._reached_since if now - self._heard_at < OUTAGE_SECONDS else 0.0

    async def gained(self) -> None:
        await self._gained.wait()

    async def lost(self) -> None:
        await self._lost.wait()

    async def run(self) -> None:
        """Campaigns until cancelled; the process ends at once when it led and another does now."""
        terms = self._lease.terms
        while True:
            try:
                self._heard(await self._lease.pursue())
            except KubeError as error:
                self._unheard(error)
            pause = terms.retry
            if self.leading:
                pause = terms.again if self._failing else terms.renew
            # Jitter keeps candidates from asking in step for ever.
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311

    async def resign(self) -> None:
        """Hands over at once, if this process leads; `run` must have ended."""
        if not self._gained.is_set():
            return
        self._become(False, "resigned")
        try:
            await self._lease.release()
        except KubeError as error:
            log.warning("the Lease could not be released (%s %s); it runs out by itself", error.status, error.reason)

    def _heard(self, holder: str) -> None:
        self._failing = False
        if not self.reachable():
            self._reached_since = asyncio.get_running_loop().time()
        self._heard_at = asyncio.get_running_loop().time()
        if holder == self._lease.identity.name:
            self._led = True
            if not self._gained.is_set():
                log.info("leading as %s", holder)
                self._become(True, f"leading as {holder}")
        elif self._led:
            exit_at_once(f"{holder} leads now, and this process ({self._lease.identity.name}) did before")
        elif holder != self._holder:
            log.info("standing by: %s leads", holder)
            self._become(False, f"standing by, {holder} leads")
        self._holder = holder
        self.looked.set()

    def _unheard(self, error: KubeError) -> None:
        if not self._failing:
            log.warning("the Lease cannot be read or written (%s %s)", error.status, error.reason)
        self._failing = True
        if self._gained.is_set() and self._lease.remaining() <= 0:
            log.error("the Lease could not be renewed in time: nothing is written until it is ours again")
            self._become(False, "paused, the Lease could not be renewed in time")
        elif not self.looked.is_set():
            self._health.words["leadership"] = f"the Lease cannot be read or written ({error.status} {error.reason})"

    def _become(self, leading: bool, words: str) -> None:
        event, other = (self._gained, self._lost) if leading else (self._lost, self._gained)
        event.set()
        other.clear()
        metrics.LEADER.set(leading)
        self._health.words["leadership"] = words
