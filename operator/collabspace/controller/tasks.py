"""One pass over one CollabTask: observe from the caches, decide, carry out the plan."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from collabspace.api import names, timestamp
from collabspace.api.catalogue import Catalogue
from collabspace.api.conditions import Reason
from collabspace.controller import metrics, sources
from collabspace.controller.admissions import Admissions
from collabspace.controller.broker import Broker
from collabspace.controller.events import EventPoster
from collabspace.controller.inspection import none_left
from collabspace.controller.looks import Looks
from collabspace.controller.queue import KeyQueue, WorkKey
from collabspace.controller.teams import Teams
from collabspace.controller.world import World
from collabspace.controller.writing import Statuses
from collabspace.core import adoption, attempt, job
from collabspace.core.observed import JobFacts, Key, ObservedTask, PodFacts, references
from collabspace.core.outcome import NOTHING, Remains
from collabspace.core.plan import Creation, Stop
from collabspace.core.task import decide_task, litter
from collabspace.core.task_plan import TaskPlan, is_final
from collabspace.core.task_world import Refusal, TaskWorld
from collabspace.kube import clock
from collabspace.kube.client import KubeClient, KubeError

REFUSAL_SECONDS = 30.0
FORBIDDEN, NOT_FOUND, CONFLICT, INVALID = 403, 404, 409, 422
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
        self._looks = Looks(hands.client)

    async def reconcile(self, key: WorkKey) -> None:
        """Raises KubeError when the API server cannot answer; the same pass later is right then."""
        hands, place = self._hands, (key.namespace, key.name)
        task = hands.world.task(place)
        if task is None or is_final(task.status):
            hands.admissions.drop(place)
            self._refusals.pop(place, None)
            self._looks.forget(place)
            hands.statuses.forget(key)
        if task is None:
            return
        world = await self._observe(task)
        plan = decide_task(task, world, clock.now())
        if plan.confirm:
            await self._refresh(plan.confirm)
            world = await self._observe(task)
            plan = decide_task(task, world, clock.now())
        if plan.inspect and world.job is not None and await self._looks.look(world.job):
            world = await self._observe(task)
            plan = decide_task(task, world, clock.now())
        if plan.create is not None and await self._has_earlier(task, plan.create):
            world = await self._observe(task)
            plan = decide_task(task, world, clock.now())
        await self._execute(key, task, world, plan)

    async def _has_earlier(self, task: ObservedTask, creation: Creation) -> bool:
        """Whether the attempt before, of which only the broker tells, has a Job after all: a list may have been old."""
        world, meta, number = self._hands.world, task.meta, creation.run.execution.attempt - 1
        if number < 1 or any(each.number == number for each in task.status.attempts):
            return False
        if await self._is_gone(meta.namespace, names.job_name(meta.name, number)):
            return False
        facts = world.job_of(meta.uid, number)
        if facts is None:  # of another task of that name
            return False
        self._hands.admissions.drop(task.key)
        world.account(facts)
        return True

    async def _observe(self, task: ObservedTask) -> TaskWorld:
        world, meta = self._hands.world, task.meta
        open_number = attempt.open_number(task.status, world.job_of(meta.uid))
        remains = NOTHING
        if open_number is not None and meta.deletion_timestamp is None and not is_final(task.status):
            remains = await self._remains(task, open_number)
        facts = world.job_of(meta.uid)
        last = attempt.newest(task.status)
        number = open_number or (last.number if last is not None else 0)
        named = references(task.spec, meta.namespace)
        return TaskWorld(
            catalogue=self._hands.catalogue,
            settings=self._hands.settings,
            datasets=sources.datasets(world, named),
            namespaces=world.namespace_uids,
            team=self._hands.teams.facts(meta.namespace),
            verdict=self._hands.admissions.verdict(task.key, meta.uid),
            refusal=self._refusal(task.key),
            job=facts,
            jobs=world.jobs_of(meta.uid),
            pod=self._pod(meta.uid, number),
            remains=remains,
            record=world.attempt_of(meta.uid, number),
            broker_known=world.broker_known,
            broker_attempt=world.newest_attempt_of(meta.uid),
            still_seconds=world.beats.still(meta.uid, number),
            not_running=self._looks.known(facts),
            offers=world.offers,
            models=sources.models(world, named),
        )

    def _pod(self, uid: str, number: int) -> PodFacts | None:
        facts = self._hands.world.job_of(uid, number)
        return self._hands.world.pod_of(facts) if facts is not None else None

    async def _remains(self, task: ObservedTask, number: int) -> Remains:
        """What is left of an attempt whose end the caches do not tell; a cache may lag, so the cluster is asked."""
        world, meta = self._hands.world, task.meta
        facts = world.job_of(meta.uid, number)
        gone = await self._is_gone(meta.namespace, names.job_name(meta.name, number))
        if facts is not None and world.pod_of(facts) is not None:
            return Remains(job_gone=gone)
        if gone or (facts is not None and facts.halted):
            return Remains(gone, await none_left(self._hands.client, meta.namespace, meta.uid, number))
        look = self._looks.known(facts)
        stuck = look.stuck_on if look is not None else ""
        return Remains(stuck_on=stuck) if stuck and not world.is_ready(stuck) else NOTHING

    async def _is_gone(self, namespace: str, name: str) -> bool:
        """Whether the Job was deleted."""
        jobs = self._hands.world.jobs
        if jobs.get((namespace, name)) is not None:
            return False
        try:
            jobs.apply("MODIFIED", await self._hands.client.get(f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}"))
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise
            return True
        return jobs.get((namespace, name)) is None

    async def _refresh(self, keys: Iterable[Key]) -> None:
        """What ends work for good is not decided on the word of a cache."""
        datasets = self._hands.world.datasets
        for namespace, name in keys:
            path = f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.SHARED_DATASETS}/{name}"
            try:
                datasets.apply("MODIFIED", await self._hands.client.get(path))
            except KubeError as error:
                if error.status != NOT_FOUND:
                    raise
                known = datasets.get((namespace, name))
                if known is not None:
                    datasets.apply("DELETED", {"metadata": known.meta.model_dump(by_alias=True)})

    async def _execute(self, key: WorkKey, task: ObservedTask, world: TaskWorld, plan: TaskPlan) -> None:
        hands = self._hands
        for facts in plan.remove:
            await self._remove(facts)
        if plan.create is not None:
            await self._create(key, task, plan.create)
            return
        if plan.stop is not None:
            await self._stop(plan.stop)
        if plan.expired:
            await self._expire(task)
        if plan.queued is not None and task.spec is not None:
            hands.admissions.put(task.meta, task.spec.priority, plan.queued)
        else:
            hands.admissions.drop(task.key)
        if plan.spent is not None:
            hands.broker.spend(task.meta, plan.spent)

        def written() -> None:
            if plan.spent is not None:
                hands.world.release(task.meta.uid, plan.spent.attempt)
                metrics.ATTEMPTS.labels(plan.spent.outcome).inc()
            if plan.status is not None and litter(plan.status, world.jobs):
                hands.queue.add(key)  # they may go now that the end is on record, and no event need come any more
            if plan.event is not None:
                hands.events.post(job.KIND, task.meta, plan.event)

        await hands.statuses.execute(key, task, plan, hands.world.tasks, written)
        if world.refusal is not None:
            hands.queue.later(key, REFUSAL_SECONDS)

    async def _stop(self, stop: Stop) -> None:
        """Suspends the Job: the Job controller then ends the pod, with grace, and makes no other."""
        facts = stop.job
        try:
            made = await self._hands.client.merge(job_path(facts), job.halt(stop))
        except KubeError as error:
            if error.status == INVALID:
                # Stored in a form that the API server accepts no change of: it can only go.
                await self._remove(facts)
                return
            # After a conflict its pod may run on: only that it is gone ends the asking.
            if error.status != NOT_FOUND:
                raise
            log.info("Job %s/%s could not be stopped: %s", facts.namespace, facts.name, error.reason)
            return
        with self._hands.world.quietly():
            self._hands.world.jobs.apply("MODIFIED", made)

    async def _remove(self, facts: JobFacts) -> None:
        if await self._delete(job_path(facts), {"uid": facts.uid}):
            gone = {"namespace": facts.namespace, "name": facts.name, "uid": facts.uid}
            with self._hands.world.quietly():
                self._hands.world.jobs.apply("DELETED", {"metadata": gone})

    async def _expire(self, task: ObservedTask) -> None:
        """Deletes a task that ended long enough ago, unless it has changed since it was read."""
        meta = task.meta
        path = f"/apis/{names.API_VERSION}/namespaces/{meta.namespace}/{names.COLLAB_TASKS}/{meta.name}"
        await self._delete(path, {"uid": meta.uid, "resourceVersion": meta.resource_version})

    async def _delete(self, path: str, preconditions: dict[str, str]) -> bool:
        try:
            await self._hands.client.delete(path, preconditions=preconditions)
        except KubeError as error:
            if error.status not in (NOT_FOUND, CONFLICT):
                raise
            return error.status == NOT_FOUND
        return True

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
            if creation.run.execution.attempt == 1:
                waited = clock.now() - timestamp.parse(task.meta.creation_timestamp)
                metrics.ADMISSION_WAIT.observe(max(0.0, waited.total_seconds()))
        hands.queue.add(key, urgent=not hands.queue.pressed)

    async def _settle(
        self, error: KubeError, path: str, task: ObservedTask, creation: Creation
    ) -> dict[str, Any] | None:
        """After a refused POST: our own Job of before, when it says the same; else the task waits with the reason."""
        if error.status == CONFLICT and error.reason == "AlreadyExists":
            name = creation.job["metadata"]["name"]
            try:
                there = await self._hands.client.get(f"{path}/{name}")
            except KubeError as gone:
                if gone.status != NOT_FOUND:
                    raise
                # That of a deleted task of this name, which went just now: the next pass makes its own.
                return None
            if adoption.is_of(there, creation):
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


def job_path(facts: JobFacts) -> str:
    return f"/apis/batch/v1/namespaces/{facts.namespace}/jobs/{facts.name}"
