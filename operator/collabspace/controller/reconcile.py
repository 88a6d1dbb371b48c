"""The workers: take a key, look at it, and let no object's trouble reach another."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from collabspace.api import names
from collabspace.controller import metrics
from collabspace.controller.broker import BrokerError
from collabspace.controller.queue import WorkKey
from collabspace.controller.selections import Selections
from collabspace.controller.tasks import Hands, Tasks
from collabspace.controller.world import ADMISSION, DATASET, DRAIN, SELECTION, TASK, TEAM
from collabspace.core.dataset import decide_dataset, sources_of
from collabspace.kube import clock
from collabspace.kube.client import KubeError

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
DRAIN_SECONDS = 2.0
RUNNING_PHASES = "status.phase!=Succeeded,status.phase!=Failed"
log = logging.getLogger(__name__)


class Reconciler:
    """Any number of workers may run at once: the queue gives a key to one of them only."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._tasks = Tasks(hands)
        self._selections = Selections(hands)
        self._failures: dict[WorkKey, int] = {}
        self._by_kind: dict[str, Callable[[WorkKey], Awaitable[None]]] = {
            TASK: self._tasks.reconcile,
            DATASET: self._dataset,
            SELECTION: self._selections.reconcile,
            TEAM: self._team,
            ADMISSION: self._admission,
            DRAIN: self._drain,
        }
        for kind in self._by_kind:
            for result in ("ok", "error"):
                metrics.RECONCILE.labels(kind, result)

    async def work(self) -> None:
        """Until cancelled."""
        while True:
            key = await self._hands.queue.get()
            try:
                await self._guarded(key)
            finally:
                self._hands.queue.done(key)

    async def _guarded(self, key: WorkKey) -> None:
        """The one place where whatever goes wrong with one key is caught: counted, named and tried again later."""
        start = asyncio.get_running_loop().time()
        result = "ok"
        try:
            await self._by_kind[key.kind](key)
            self._failures.pop(key, None)
        except Exception as error:
            result = "error"
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            pause = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            self._hands.queue.later(key, pause)
            if isinstance(error, KubeError):
                log.warning("%s %s/%s: %s %s; again in %.1f s", *key, error.status, error.reason, pause)
            elif isinstance(error, BrokerError):
                log.warning("%s %s/%s: the broker %s; again in %.1f s", *key, error, pause)
            else:
                log.exception("%s %s/%s failed; again in %.1f s", *key, pause)
        metrics.RECONCILE.labels(key.kind, result).observe(asyncio.get_running_loop().time() - start)

    async def _dataset(self, key: WorkKey) -> None:
        hands = self._hands
        found = hands.world.datasets.get((key.namespace, key.name))
        if found is None:
            hands.statuses.forget(key)
            return
        sources = sources_of(found, hands.world.record(found), hands.world.datasets.get)
        plan = decide_dataset(found, hands.world.record(found), hands.world.namespace_uids, clock.now(), sources)
        await hands.statuses.execute(key, found, plan, hands.world.datasets)

    async def _team(self, key: WorkKey) -> None:
        self._hands.queue.later(key, await self._hands.teams.look(key.name))

    async def _admission(self, key: WorkKey) -> None:
        self._hands.queue.later(key, self._hands.admissions.run())

    async def _drain(self, key: WorkKey) -> None:
        """The quota of an attempt whose Job was deleted is free when its pod is gone; world.drain_key made the key."""
        uid, _, attempt = key.name.rpartition(".")
        if self._hands.world.holdings.attempt(uid) != int(attempt):
            return
        pods = await self._hands.client.list(
            f"/api/v1/namespaces/{key.namespace}/pods",
            {
                "labelSelector": f"{names.TASK_UID_LABEL}={uid},{names.ATTEMPT_LABEL}={attempt}",
                "fieldSelector": RUNNING_PHASES,
            },
        )
        if pods["items"]:
            self._hands.queue.later(key, DRAIN_SECONDS)
        else:
            self._hands.world.release(uid, int(attempt))
