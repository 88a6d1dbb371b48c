"""One pass over one CollabTask: observe from the caches, decide, carry out the plan."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from collabspace.api import names, timestamp
from collabspace.api.catalogue import Catalogue
from collabspace.api.conditions import Reason
from collabspace.client.protocol import Usage
from collabspace.controller import metrics
from collabspace.controller.admissions import Admissions
from collabspace.controller.broker import Broker
from collabspace.controller.events import EventPoster
from collabspace.controller.inspection import inspect
from collabspace.controller.queue import KeyQueue, WorkKey
from collabspace.controller.teams import Teams
from collabspace.controller.world import World
from collabspace.controller.writing import Statuses
from collabspace.core import job
from collabspace.core.observed import JobFacts, Key, NotRunning, ObservedTask, references
from collabspace.core.plan import Creation
from collabspace.core.task import Refusal, TaskPlan, TaskWorld, decide_task, has_started, is_final
from collabspace.kube import clock
from collabspace.kube.client import KubeClient, KubeError

REFUSAL_SECONDS = 30.0
INSPECTION_SECONDS = 25.0
# In a burst many pods are late for no other reason than the burst: looking at each would make it worse.
LOOK_SECONDS = 0.2
FORBIDDEN, NOT_FOUND, CONFLICT = 403, 404, 409
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hands:
    """What a pass works with: where it reads, and by whom it acts."""

    world: World
    queue: KeyQueue
    client: KubeClient
    admissions: Admissions
    teams: Teams
    statuses: Statuses
    broker: Broker
    events: EventPoster
    catalogue: Catalogue
    settings: job.JobSettings


class Tasks:
    """Reconciles CollabTasks. Remembers only what saves calls: refusals and looks at pods, both short-lived."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._refusals: dict[Key, tuple[Refusal, float]] = {}
        self._looks: dict[Key, _Look] = {}
        self._next_look = 0.0

    async def reconcile(self, key: WorkKey) -> None:
        """Raises KubeError when the API server cannot answer; the same pass later is right then."""
        hands, place = self._hands, (key.namespace, key.name)
        task = hands.world.task(place)
        if task is None or is_final(task.status):
            hands.admissions.drop(place)
            self._refusals.pop(place, None)
            self._looks.pop(place, None)
            hands.statuses.forget(key)
            return
        world = await self._observe(task)
        plan = decide_task(task, world, clock.now())
        if plan.inspect and world.job is not None and await self._look(world.job):
            world = await self._observe(task)
            plan = decide_task(task, world, clock.now())
        await self._execute(key, task, world, plan)

    async def _observe(self, task: ObservedTask) -> TaskWorld:
        world, meta = self._hands.world, task.meta
        facts = world.job_of(meta.uid)
        gone = (facts is not None or has_started(task.status)) and await self._is_gone(task, facts)
        facts = world.job_of(meta.uid)
        datasets = {key: found for key in references(task.spec) if (found := world.dataset(key)) is not None}
        return TaskWorld(
            catalogue=self._hands.catalogue,
            settings=self._hands.settings,
            datasets=datasets,
            namespaces=world.namespace_uids,
            team=self._hands.teams.facts(meta.namespace),
            verdict=self._hands.admissions.verdict(task.key, meta.uid),
            refusal=self._refusal(task.key),
            job=facts,
            job_gone=gone,
            pod=world.pod_of(facts) if facts is not None else None,
            record=world.attempt_of(meta.uid, _attempt_number(task, facts)),
            broker_known=world.broker_known,
            not_running=self._known_look(facts),
        )

    async def _is_gone(self, task: ObservedTask, facts: JobFacts | None) -> bool:
        """Whether the attempt's Job was deleted. A cache may lag, so what it lacks is asked for before it counts."""
        world, namespace = self._hands.world, task.meta.namespace
        name = names.job_name(task.meta.name, _attempt_number(task, facts))
        if world.jobs.get((namespace, name)) is not None or task.meta.deletion_timestamp is not None:
            return False
        try:
            world.jobs.apply(
                "MODIFIED", await self._hands.client.get(f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}")
            )
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise
            return True
        return world.job_of(task.meta.uid) is None

    async def _execute(self, key: WorkKey, task: ObservedTask, world: TaskWorld, plan: TaskPlan) -> None:
        hands = self._hands
        if plan.create is not None:
            await self._create(key, task, plan.create)
            return
        if plan.queued is not None and task.spec is not None:
            hands.admissions.put(task.meta, task.spec.priority, plan.queued)
        else:
            hands.admissions.drop(task.key)
        if plan.spent is not None:
            hands.broker.spend(
                task.meta.uid,
                plan.spent.attempt,
                Usage(
                    namespace=task.meta.namespace,
                    task=task.meta.name,
                    gpu_seconds=plan.spent.gpu_seconds,
                    cpu_seconds=plan.spent.cpu_seconds,
                    outcome=plan.spent.outcome,
                ),
            )

        def written() -> None:
            if plan.spent is not None:
                metrics.ATTEMPTS.labels(plan.spent.outcome).inc()
            if plan.event is not None:
                hands.events.post(job.KIND, task.meta, plan.event)

        await hands.statuses.execute(key, task, plan, hands.world.tasks, written)
        if world.refusal is not None:
            hands.queue.later(key, REFUSAL_SECONDS)

    async def _create(self, key: WorkKey, task: ObservedTask, creation: Creation) -> None:
        """The Job first; the status follows in a pass of its own, in a burst behind the Jobs of others."""
        hands, namespace = self._hands, task.meta.namespace
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        made: dict[str, Any] | None
        try:
            made = await hands.client.create(path, creation.job)
        except KubeError as error:
            if error.transient:
                raise
            made = await self._settle(error, path, task, creation)
        if made is not None:
            with hands.world.quietly():
                hands.world.jobs.apply("MODIFIED", made)
            waited = clock.now() - timestamp.parse(task.meta.creation_timestamp)
            metrics.ADMISSION_WAIT.observe(max(0.0, waited.total_seconds()))
        hands.queue.add(key, urgent=not hands.queue.pressed)

    async def _settle(
        self, error: KubeError, path: str, task: ObservedTask, creation: Creation
    ) -> dict[str, Any] | None:
        """After a refused POST: our own Job of before, when it says the same; else the task waits with the reason."""
        if error.status == CONFLICT and error.reason == "AlreadyExists":
            name = creation.job["metadata"]["name"]
            there = await self._hands.client.get(f"{path}/{name}")
            if job.read(there) is not None and job.document(there) == creation.run:
                return there
            refusal = Refusal(
                Reason.NAME_CONFLICT,
                f"a Job named {name} exists in namespace {task.meta.namespace} that the operator did not make for this "
                f"task; delete it (kubectl delete job {name}) or submit the task under another name",
            )
        else:
            refusal = Refusal(Reason.NOT_ALLOWED, f"the cluster refused the Job: {error.message[:500]}")
            if error.status == FORBIDDEN:
                self._hands.teams.doubt(task.meta.namespace)
        self._refusals[task.key] = (refusal, asyncio.get_running_loop().time() + REFUSAL_SECONDS)
        self._hands.admissions.drop(task.key)
        return None

    def _refusal(self, key: Key) -> Refusal | None:
        refusal, until = self._refusals.get(key, (None, 0.0))
        return refusal if asyncio.get_running_loop().time() < until else None

    async def _look(self, facts: JobFacts) -> bool:
        """Looks at the Job's pods, unless that was done just now or others were; whether there is news."""
        now = asyncio.get_running_loop().time()
        known = self._look_at(facts)
        if (known is not None and now - known.time < INSPECTION_SECONDS) or now < self._next_look:
            return False
        self._next_look = now + LOOK_SECONDS
        found = await inspect(self._hands.client, facts)
        self._looks[facts.namespace, facts.task] = _Look(facts.uid, found, now)
        return known is None or known.found != found

    def _look_at(self, facts: JobFacts) -> "_Look | None":
        known = self._looks.get((facts.namespace, facts.task))
        return known if known is not None and known.job == facts.uid else None

    def _known_look(self, facts: JobFacts | None) -> NotRunning | None:
        if facts is None:
            return None
        if facts.ready or facts.finished:
            self._looks.pop((facts.namespace, facts.task), None)
            return None
        known = self._look_at(facts)
        return known.found if known is not None else None


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look at the pods of a Job found, and when (seconds of the loop's clock)."""

    job: str
    found: NotRunning
    time: float


def _attempt_number(task: ObservedTask, facts: JobFacts | None) -> int:
    if facts is not None:
        return facts.attempt
    return max((each.number for each in task.status.attempts), default=1)
