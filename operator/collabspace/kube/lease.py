"""Who may write, told by one Lease object: taken by the first, kept by renewing, taken over when it falls silent.

No clock but our own is read: a Lease is free when *we* have seen it unchanged for its duration, and we hold it only for
a time counted from before our last renewal was sent. So the holder has stopped before another begins.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collabspace.kube import clock
from collabspace.kube.client import KubeClient, KubeError, Object

NOT_FOUND, CONFLICT = 404, 409
# Written by programs of any release; a longer one would keep a dead holder's place for ever.
MAX_DURATION_SECONDS = 60.0
RACES = 3


@dataclass(frozen=True)
class Terms:
    """In seconds. A holder renews every `renew`, a try in vain again after `again`, and is sure of the Lease for
    `duration - margin` after; candidates look every `retry`, so a takeover takes at most about duration + 2 retries.
    `answer` is how long each request may take: as long as a busy server may need and still leave time for another try.
    """

    duration: int = 8
    renew: float = 1.5
    again: float = 0.25
    retry: float = 1.0
    answer: float = 3.0
    margin: float = 2.0


class Identity:
    """One process. `instance` is a name that no two live processes have at a time; None: there is none such.

    Whoever starts an instance vouches that the process before under this name is dead, so its Lease is free.
    """

    def __init__(self, instance: str | None, host: str) -> None:
        unique = uuid.uuid4().hex[:12]
        self._predecessors = f"{instance}:" if instance is not None else None
        self.name = f"{instance}:{unique}" if instance is not None else f"{host}_{unique}"

    def succeeds(self, holder: str) -> bool:
        """Whether the holder is a process of our instance, and therefore dead."""
        return self._predecessors is not None and holder.startswith(self._predecessors)


@dataclass(frozen=True, slots=True)
class Record:
    """What the Lease said when it was read."""

    version: str
    holder: str
    duration: float
    acquired: str | None
    transitions: int


class Sight:
    """The Lease as last seen, and since when it has been like that on our clock."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self._since = 0.0

    def see(self, record: Record | None, now: float) -> None:
        if record is None or self.record is None or record.version != self.record.version:
            self._since = now
        self.record = record

    def expired(self, now: float) -> bool:
        """Whether the holder has been silent for as long as it asked for."""
        return self.record is not None and now - self._since >= self.record.duration


class Lease:
    """One candidate for the Lease of this path's collection. Not safe for concurrent use."""

    def __init__(
        self,
        client: KubeClient,
        collection: str,
        name: str,
        identity: Identity,
        terms: Terms | None = None,
        elapsed: Callable[[], float] = clock.elapsed,
    ) -> None:
        self.identity = identity
        self.terms = terms or Terms()
        self._client = client
        self._collection = collection
        self._name = name
        self._elapsed = elapsed
        self._sight = Sight()
        self._fresh = False
        self._sure_until = float("-inf")
        self._held_before = False

    def remaining(self) -> float:
        """Seconds for which nobody else can hold it; zero or less: somebody may."""
        return self._sure_until - self._elapsed()

    @property
    def version(self) -> str:
        """The resourceVersion under which it was last seen; empty: never."""
        record = self._sight.record
        return record.version if record is not None else ""

    async def pursue(self) -> str:
        """Renews what is held, takes what is free, else only looks. The name of the holder. Raises KubeError."""
        for _ in range(RACES):
            if not self._fresh:
                await self._look()
            record = self._sight.record
            if record is not None and not self._may_take(record):
                self._fresh = False
                return record.holder
            if await self._write(record):
                return self.identity.name
        raise KubeError(CONFLICT, "Conflict", f"Lease {self._name} changed {RACES} times while it was being written")

    async def release(self) -> None:
        """Gives it up, so that another takes it at once; no write may be under way. Raises KubeError."""
        self._sure_until = float("-inf")
        # The answer to the last renewal may have been lost.
        await self._look()
        record = self._sight.record
        if record is not None and record.holder == self.identity.name:
            await self._client.replace(self._path, self._body(record, holder="", duration=1))

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self._name}"

    def _may_take(self, record: Record) -> bool:
        if record.holder in ("", self.identity.name):
            return True
        # Once we held it, another of our name is no predecessor.
        dead = self.identity.succeeds(record.holder) and not self._held_before
        return dead or (not self._held_before and self._sight.expired(self._elapsed()))

    async def _look(self) -> None:
        try:
            found = read(await self._client.get(self._path))
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise
            found = None
        self._sight.see(found, self._elapsed())

    async def _write(self, record: Record | None) -> bool:
        """Whether it is ours now; False when somebody was faster."""
        sent = self._elapsed()
        body = self._body(record, self.identity.name, self.terms.duration)
        try:
            if record is None:
                made = await self._client.create(self._collection, body)
            else:
                made = await self._client.replace(self._path, body)
        except KubeError as error:
            if error.status not in (CONFLICT, NOT_FOUND):
                raise
            self._fresh = False
            return False
        self._sight.see(read(made), self._elapsed())
        self._fresh = self._held_before = True
        self._sure_until = sent + self.terms.duration - self.terms.margin
        return True

    def _body(self, record: Record | None, holder: str, duration: int) -> Object:
        now = clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        same = record is not None and record.holder == holder
        metadata: Object = {"name": self._name}
        if record is not None:
            metadata["resourceVersion"] = record.version
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": duration,
                "acquireTime": record.acquired if record is not None and same and record.acquired else now,
                "renewTime": now,
                "leaseTransitions": 0 if record is None else record.transitions + (not same and holder != ""),
            },
        }


def read(raw: dict[str, Any]) -> Record:
    """The Lease as stored. What is missing or out of bounds counts as unheld or is cut."""
    spec = raw.get("spec") or {}
    duration = float(spec.get("leaseDurationSeconds") or 0)
    return Record(
        version=str(raw["metadata"]["resourceVersion"]),
        holder=str(spec.get("holderIdentity") or ""),
        duration=min(max(duration, 1.0), MAX_DURATION_SECONDS),
        acquired=spec.get("acquireTime"),
        transitions=int(spec.get("leaseTransitions") or 0),
    )
