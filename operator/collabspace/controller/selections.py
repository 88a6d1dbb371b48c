"""One pass over one ModelSelection: observe from the caches, decide, carry out the plan."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from collabspace.api import names
from collabspace.api.conditions import Reason
from collabspace.api.task import ModelKind
from collabspace.controller import metrics, sources
from collabspace.controller.queue import WorkKey
from collabspace.controller.tasks import Hands
from collabspace.core.models import base_of
from collabspace.core.observed import Key, ObservedSelection, ObservedTask, Reference, selection_references
from collabspace.core.selection import decide_selection
from collabspace.core.selection_children import KIND, child_names
from collabspace.core.selection_world import Child, SelectionPlan, SelectionWorld
from collabspace.core.task_world import Refusal
from collabspace.kube import clock
from collabspace.kube.client import KubeError

REFUSAL_SECONDS = 30.0
NOT_FOUND, CONFLICT = 404, 409
log = logging.getLogger(__name__)


class Selections:
    """Reconciles ModelSelections. Remembers only refusals, for a short while; all else is in the cluster."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._refusals: dict[WorkKey, dict[str, tuple[Refusal, float]]] = {}

    async def reconcile(self, key: WorkKey) -> None:
        """Raises KubeError or BrokerError when one of them cannot answer; the same pass later is right then."""
        hands = self._hands
        selection = hands.world.selections.get((key.namespace, key.name))
        if selection is None:
            hands.statuses.forget(key)
            self._refusals.pop(key, None)
            return
        world = self._observe(key, selection)
        plan = decide_selection(selection, world, clock.now())
        if plan.promote is not None:
            answer = await hands.broker.promote(plan.promote)
            plan = decide_selection(selection, replace(world, answer=answer), clock.now())
        await self._execute(key, selection, plan)

    def _observe(self, key: WorkKey, selection: ObservedSelection) -> SelectionWorld:
        world, namespace = self._hands.world, selection.meta.namespace
        named = selection_references(selection.spec, namespace)
        models = sources.models(world, named | self._promoted(selection))
        champion = selection.status.champion
        stored = models.results.get((namespace, champion.task_name)) if champion is not None else None
        base = base_of(stored, self._hands.catalogue) if stored is not None else None
        if base is not None:
            named.add(Reference(base.source.kind, base.source.namespace, base.source.name))
        own = child_names(selection.meta.name, selection.spec) if selection.spec is not None else []
        return SelectionWorld(
            catalogue=self._hands.catalogue,
            datasets=sources.datasets(world, named),
            namespaces=world.namespace_uids,
            team=self._hands.teams.facts(namespace),
            models=models,
            children={name: child for name in own if (child := self._child((namespace, name))) is not None},
            refusals=self._fresh_refusals(key),
            broker_read=world.broker_read,
        )

    def _promoted(self, selection: ObservedSelection) -> set[Reference]:
        """The tasks behind its alias and its champion."""
        world, namespace, spec = self._hands.world, selection.meta.namespace, selection.spec
        if spec is None or spec.promotion is None:
            return set()
        alias, champion = world.alias((namespace, spec.promotion.alias)), selection.status.champion
        tasks = {alias.task if alias is not None else "", champion.task_name if champion is not None else ""}
        return {Reference(ModelKind.COLLAB_TASK, namespace, name) for name in tasks if name}

    def _child(self, key: Key) -> Child | None:
        packed = self._hands.world.tasks.get(key)
        if packed is None:
            return None
        return Child(packed.unpack(), packed.owner.uid if packed.owner is not None else "")

    def _fresh_refusals(self, key: WorkKey) -> dict[str, Refusal]:
        now = asyncio.get_running_loop().time()
        return {name: refusal for name, (refusal, until) in self._refusals.get(key, {}).items() if now < until}

    async def _execute(self, key: WorkKey, selection: ObservedSelection, plan: SelectionPlan) -> None:
        hands = self._hands
        for body in plan.children:
            await self._create(key, body)
        await self._suspend(plan.halt, suspend=True)
        await self._suspend(plan.resume, suspend=False)
        for task in plan.discard:
            await self._discard(task)

        def written() -> None:
            if plan.event is not None:
                hands.events.post(KIND, selection.meta, plan.event)

        await hands.statuses.execute(key, selection, plan, hands.world.selections, written)

    async def _create(self, key: WorkKey, body: dict[str, Any]) -> None:
        """A child; what is there already under its name is looked at in the next pass."""
        hands, name = self._hands, body["metadata"]["name"]
        try:
            made = await hands.client.create(task_path(key.namespace), body)
            metrics.TRIALS.labels(key.namespace).inc()
        except KubeError as error:
            if error.transient:
                raise
            if error.status == CONFLICT and error.reason == "AlreadyExists":
                made = await hands.client.get(task_path(key.namespace, name))
            else:
                words = f"the cluster refused CollabTask {name}: {error.message[:300]}"
                until = asyncio.get_running_loop().time() + REFUSAL_SECONDS
                self._refusals.setdefault(key, {})[name] = (Refusal(Reason.NOT_ALLOWED, words), until)
                hands.queue.add(key)
                return
        hands.world.tasks.apply("MODIFIED", made)
        hands.queue.add(key)

    async def _suspend(self, tasks: Sequence[ObservedTask], *, suspend: bool) -> None:
        for task in tasks:
            body = {"metadata": {"uid": task.meta.uid}, "spec": {"suspend": suspend}}
            try:
                made = await self._hands.client.merge(task_path(task.meta.namespace, task.meta.name), body)
            except KubeError as error:
                if error.status not in (NOT_FOUND, CONFLICT):
                    raise
                # It is gone, or another one of the same name is there: the watch tells.
                log.info("CollabTask %s/%s was not changed: %s", *task.key, error.reason)
                continue
            self._hands.world.tasks.apply("MODIFIED", made)

    async def _discard(self, task: ObservedTask) -> None:
        meta = task.meta
        try:
            path = task_path(meta.namespace, meta.name)
            await self._hands.client.delete(path, preconditions={"uid": meta.uid})
        except KubeError as error:
            if error.status not in (NOT_FOUND, CONFLICT):
                raise
            log.info("CollabTask %s/%s was not deleted: %s", *task.key, error.reason)


def task_path(namespace: str, name: str = "") -> str:
    base = f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.COLLAB_TASKS}"
    return f"{base}/{name}" if name else base
