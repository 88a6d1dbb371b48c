"""The admission queue: which tasks wait, what the last pass said about each, and when the next pass runs."""

import asyncio
import math
from collections.abc import Mapping

from collabspace.api import timestamp
from collabspace.api.resource import ObjectMeta
from collabspace.controller import metrics
from collabspace.controller.queue import KeyQueue, WorkKey
from collabspace.controller.world import ADMISSION_KEY, TASK, World
from collabspace.core.admission import Decision, Quota, Verdict, Waiting, decide
from collabspace.core.observed import Key
from collabspace.core.plan import Queued
from collabspace.kube import clock

# Nobody notices that a pass comes so many seconds later.
REST_SECONDS = 0.05
# A verdict whose words alone changed is passed on this often, and so many of them a second at most: in a long queue the
# numbers of every task change all the time, and writes are for those that start.
WORDS_SECONDS = 60.0
WORDS_A_SECOND = 2.0


class Admissions:
    """Runs on the event loop alone. A pass is one synchronous call; its verdicts are told by waking the tasks."""

    def __init__(self, world: World, queue: KeyQueue) -> None:
        self._world = world
        self._queue = queue
        self._waiting: dict[Key, Waiting] = {}
        # Those of them that no pass has admitted yet: in a burst thousands are admitted and wait for their Job.
        self._pending: dict[Key, Waiting] = {}
        self._verdicts: dict[Key, Verdict] = {}
        self._told: dict[Key, float] = {}
        self._rest_until = 0.0

    def verdict(self, key: Key, uid: str) -> Verdict | None:
        """What the last pass said about the task; None: no pass saw it yet."""
        known = self._waiting.get(key)
        return self._verdicts.get(key) if known is not None and known.uid == uid else None

    def put(self, meta: ObjectMeta, priority: int, queued: Queued) -> None:
        """The task waits for admission of an attempt, at its age; a change of what it asks for is judged anew."""
        key = (meta.namespace, meta.name)
        created = timestamp.parse(meta.creation_timestamp)
        entry = Waiting(meta.uid, meta.namespace, queued.amount, priority, created, queued.attempt)
        known = self._waiting.get(key)
        if known == entry:
            return
        if known is not None:
            self._leave(key)
        self._waiting[key] = self._pending[key] = entry
        self._queue.add(ADMISSION_KEY)

    def drop(self, key: Key) -> None:
        """The task does not wait any more: it has its Job, or it may not start after all."""
        if key in self._waiting:
            self._leave(key)

    def _leave(self, key: Key) -> None:
        entry = self._waiting.pop(key)
        self._pending.pop(key, None)
        verdict = self._verdicts.pop(key, None)
        self._told.pop(key, None)
        admitted = verdict is not None and verdict.decision is Decision.ADMIT
        newest = self._world.job_of(entry.uid)
        if admitted and (newest is None or newest.attempt < entry.attempt):
            self._world.release(entry.uid, entry.attempt)

    def run(self) -> float | None:
        """One pass. Seconds until the next is due, or None when only a change can make a difference."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        if start < self._rest_until:
            return self._rest_until - start
        nodes = list(self._world.nodes.values())
        held = self._world.holdings.counts()
        verdicts = decide(self._pending.values(), held, self._quotas(), nodes, clock.now())
        again = self._tell(verdicts, start)
        taken = loop.time() - start
        self._rest_until = loop.time() + _rest_after(taken)
        metrics.ADMISSION_PASS.observe(taken)
        return again

    def _tell(self, verdicts: Mapping[str, Verdict], now: float) -> float | None:
        again: float | None = None
        rest = max(WORDS_SECONDS, len(self._waiting) / WORDS_A_SECOND)
        for key, entry in list(self._pending.items()):
            verdict = verdicts.get(entry.uid)
            before = self._verdicts.get(key)
            if verdict is None or verdict == before:
                continue
            same = before is not None and (before.decision, before.reason) == (verdict.decision, verdict.reason)
            age = now - self._told.get(key, -math.inf)
            if same and age < rest:
                again = min(again or rest, rest - age)
                continue
            self._verdicts[key] = verdict
            self._told[key] = now
            if not same:
                metrics.ADMISSION_DECISIONS.labels(verdict.reason.value).inc()
            if verdict.decision is Decision.ADMIT:
                del self._pending[key]
                self._world.holdings.hold(entry.uid, entry.attempt, entry.team, entry.amount)
            self._queue.add(WorkKey(TASK, *key))
        return again

    def _quotas(self) -> dict[str, Quota]:
        found = {}
        for facts in self._world.namespaces.values():
            if facts.team is not None:
                cpus = facts.team.cpu_quota
                found[facts.team.namespace] = Quota(facts.team.gpu_quota, None if cpus is None else cpus * 1000)
        return found


def _rest_after(taken: float) -> float:
    """Seconds without a pass after one that took so long: each new task asks for one, and it takes longer with more
    tasks. Nine tenths of the loop are left to other work while nobody notices that, and three quarters beyond."""
    return max(3 * taken, min(9 * taken, REST_SECONDS))
