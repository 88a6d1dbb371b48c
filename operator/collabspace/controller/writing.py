"""When a status is written: only if it differs, small changes at most once a minute, a conflict is judged anew."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from collabspace.api import names
from collabspace.controller import metrics
from collabspace.controller.queue import KeyQueue, WorkKey
from collabspace.controller.world import DATASET, SELECTION, TASK, World
from collabspace.core.observed import Observed
from collabspace.core.plan import Plan
from collabspace.core.status import MINOR_SECONDS, is_minor
from collabspace.kube.client import KubeClient
from collabspace.kube.status import StatusWriter, Write
from collabspace.kube.watch import Sink

CONFLICT_SECONDS = 0.2
# A status that the API server's rules do not take; soon again at first, as the rules may be about to change.
REFUSED_SECONDS = (5.0, 20.0, 80.0, 300.0)
PLURALS = {TASK: names.COLLAB_TASKS, DATASET: names.SHARED_DATASETS, SELECTION: names.MODEL_SELECTIONS}

Spec = TypeVar("Spec", bound=BaseModel)
Status = TypeVar("Status", bound=BaseModel)


class Statuses:
    """Carries out the status part of plans and plans the next look."""

    def __init__(self, world: World, queue: KeyQueue, client: KubeClient) -> None:
        self._world = world
        self._queue = queue
        self._writers = {kind: StatusWriter(client, plural, _refused) for kind, plural in PLURALS.items()}
        self._written: dict[WorkKey, float] = {}
        self._refusals: dict[WorkKey, int] = {}

    async def execute(
        self,
        key: WorkKey,
        observed: Observed[Spec, Status],
        plan: Plan[Status],
        sink: Sink,
        written: Callable[[], None] = lambda: None,
    ) -> None:
        """Writes `plan.status` if it is due and calls `written` when the API server has it. Raises KubeError."""
        requeue = plan.requeue_after
        if plan.status is not None:
            now = asyncio.get_running_loop().time()
            due_in = self._written.get(key, now - MINOR_SECONDS) + MINOR_SECONDS - now
            if due_in > 0 and is_minor(observed.status, plan.status):
                requeue = min(due_in, requeue if requeue is not None else due_in)
            else:
                requeue = await self._write(key, observed, plan.status, sink, written, requeue)
        self._queue.later(key, requeue)

    async def _write(
        self,
        key: WorkKey,
        observed: Observed[Spec, Status],
        status: Status,
        sink: Sink,
        written: Callable[[], None],
        requeue: float | None,
    ) -> float | None:
        answer = await self._writers[key.kind].write(observed.meta, status)
        if answer.write is Write.CONFLICT and answer.object is not None:
            sink.apply("MODIFIED", answer.object)
            return CONFLICT_SECONDS
        if answer.write is Write.GONE:
            # Its deletion was missed, and whoever takes it for alive would write to it again and again.
            sink.apply("DELETED", {"metadata": observed.meta.model_dump(by_alias=True)})
            return None
        if answer.write is Write.REFUSED:
            times = self._refusals.get(key, 0)
            self._refusals[key] = times + 1
            return REFUSED_SECONDS[min(times, len(REFUSED_SECONDS) - 1)]
        self._refusals.pop(key, None)
        if answer.object is not None:
            self._written[key] = asyncio.get_running_loop().time()
            with self._world.quietly():
                sink.apply("MODIFIED", answer.object)
            written()
        return requeue

    def forget(self, key: WorkKey) -> None:
        """The object is gone."""
        self._written.pop(key, None)
        self._refusals.pop(key, None)
        self._queue.later(key, None)


def _refused(plural: str, code: int) -> None:
    metrics.STATUS_REFUSED.labels(plural, str(code)).inc()
