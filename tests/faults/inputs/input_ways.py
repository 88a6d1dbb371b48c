"""The three ways of an input: as a new object, as an update of a good one that runs, and into storage past the schema.

Each gives a Trial: the object to look at afterwards, and what the API server said."""

import asyncio
import copy
import json
import uuid
from dataclasses import dataclass
from typing import Any

from bad_input import (
    CREATE,
    DATASET,
    JOB,
    NAMESPACE,
    PLURALS,
    POD,
    SELECTION,
    STORAGE,
    TASK,
    Case,
    Change,
    changed,
)
from input_stage import JOBS, NAMESPACES, Place, Stage, api_path, owned
from operator_harness import digest
from transitions import Delete, Transition, Write

from collabspace.api import names
from collabspace.cli import team_objects
from collabspace.kube import clock
from collabspace.kube.client import Object

CONFLICT = 409
READY_SECONDS = 240.0
OF_SERVER = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")


@dataclass
class Trial:
    """One case in one way. `refused` is the API server's message, None when it took the input. `existed`: the object
    had children before. `settles`: the operator is sure to write on it."""

    case: Case | Transition
    way: str
    kind: str
    namespace: str
    name: str
    uid: str = ""
    refused: str | None = None
    code: int = 0
    existed: bool = False
    settles: bool = True
    edits: int = 1


class Tries:
    """Applies cases in one namespace. Good objects that run are made in advance, and used again when an update of
    them was refused."""

    def __init__(self, stage: Stage, namespace: str) -> None:
        self._stage = stage
        self._namespace = namespace
        self._spare: dict[str, list[str]] = {TASK: [], DATASET: [], SELECTION: []}
        self._made = 0

    async def prepare(self, wanted: dict[str, int]) -> None:
        """So many good objects of each kind run when this returns."""
        made = [(kind, self._name("good")) for kind, count in wanted.items() for _ in range(count)]
        await _side_by_side(self._make(kind, name) for kind, name in made)
        late = list(made)

        def good() -> bool:
            late[:] = [each for each in late if not self._runs(*each)]
            return not late

        if not await self._stage.view.until(good, READY_SECONDS):
            raise AssertionError(f"good objects do not run: {late[:5]}")
        for kind, name in made:
            self._spare[kind].append(name)

    async def apply(self, case: Case | Transition, way: str) -> Trial:
        if isinstance(case, Transition):
            return await self._transition(case, way)
        if case.kind == NAMESPACE:
            return await self._team(case, way)
        if case.kind in (JOB, POD):
            return await self._child(case, way)
        if way == CREATE:
            return await self._create(case)
        if way == STORAGE:
            return await (self._overwrite(case) if case.running else self._put_new(case))
        return await self._update(case)

    async def _create(self, case: Case) -> Trial:
        item = changed(self._new(case.kind, self._name("new")), self._filled(case.change))
        trial = Trial(case, CREATE, case.kind, self._namespace, str(item["metadata"].get("name")))
        _told(trial, *await self._stage.door.send("POST", api_path(PLURALS[case.kind], self._namespace), item))
        if case.kind == DATASET and trial.refused is None:
            self._stage.teams.broker.publish(trial.uid, digest("one"))
        return trial

    async def _update(self, case: Case) -> Trial:
        name = await self._take(case.kind)
        trial = Trial(case, "update", case.kind, self._namespace, name, existed=True)
        _told(trial, *await self._write(case.kind, name, case.change))
        if trial.refused is not None:
            self._spare[case.kind].append(name)
        return trial

    async def _write(self, kind: str, name: str, change: Change) -> tuple[int, Object]:
        """An update of the object as it is."""
        path = api_path(PLURALS[kind], self._namespace, name)
        for _ in range(20):
            code, item = await self._stage.door.send("GET", path)
            if code != 200:
                return code, item
            code, answer = await self._stage.door.send("PUT", path, changed(item, self._filled(change)))
            if code != CONFLICT:
                break
        return code, answer

    async def _put_new(self, case: Case) -> Trial:
        item = changed(self._stored(case.kind, self._name("put")), self._filled(case.change))
        return await self._put(case, item)

    async def _put(self, case: Case | Transition, item: Object, way: str = STORAGE) -> Trial:
        meta = item["metadata"]
        if case.kind == DATASET:
            self._stage.teams.broker.publish(meta["uid"], digest("one"))
        place = (PLURALS[case.kind], self._namespace, meta["name"])
        await asyncio.to_thread(self._stage.etcd.put, place, item)
        return Trial(case, way, case.kind, self._namespace, meta["name"], meta["uid"])

    async def _overwrite(self, case: Case) -> Trial:
        name = await self._take(case.kind)
        uid = await self._rewrite(case.kind, name, case.change)
        settles = not any(path.startswith("metadata") for path in case.change)
        return Trial(case, STORAGE, case.kind, self._namespace, name, uid, existed=True, settles=settles)

    async def _rewrite(self, kind: str, name: str, change: Change) -> str:
        place = (PLURALS[kind], self._namespace, name)
        item = await asyncio.to_thread(self._stage.etcd.read, place)
        new = changed(item, self._filled(change))
        if "metadata/generation" not in change:
            new["metadata"]["generation"] = item["metadata"]["generation"] + 1
        await asyncio.to_thread(self._stage.etcd.put, place, new)
        return str(new["metadata"]["uid"])

    async def _transition(self, case: Transition, way: str) -> Trial:
        name = self._name("new") if way == CREATE else await self._take(case.kind)
        trial = Trial(case, way, case.kind, self._namespace, name, existed=way != CREATE)
        if way == CREATE:
            await self._make(case.kind, name)
        answers = [await self._step(case, way, name, step) for step in case.steps]
        trial.edits = sum(2 * step.again if isinstance(step, Write) else 2 for step in case.steps)
        if all(each is not None for each in answers):
            trial.refused = answers[0]
        if any(isinstance(step, Delete) for step in case.steps):
            trial.uid, trial.existed = await self._uid(case.kind, name), False
        return trial

    async def _step(self, case: Transition, way: str, name: str, step: Write | Delete) -> str | None:
        """The refusal, if it was one."""
        if isinstance(step, Delete):
            await self._delete(case, way, name, step)
            return None
        refusal: str | None = None
        rounds = [change for _ in range(step.again) for change in (step.change, step.undo) if change is not None]
        for change in rounds[: len(rounds) - (step.again > 1)]:
            spec = changed(self._new(case.kind, name), change)["spec"]
            if way == STORAGE:
                await self._rewrite(case.kind, name, {"spec": spec})
                continue
            code, answer = await self._write(case.kind, name, {"spec": spec})
            refusal = str(answer.get("message")) if code >= 400 else None
        return refusal

    async def _delete(self, case: Transition, way: str, name: str, step: Delete) -> None:
        place = (PLURALS[case.kind], self._namespace, name)
        if way == STORAGE:
            await asyncio.to_thread(self._stage.etcd.remove, place)
            if step.anew is not None:
                await self._put(case, changed(self._stored(case.kind, name), step.anew))
            return
        await self._stage.door.send("DELETE", api_path(*place))
        if step.anew is not None:
            item = changed(self._new(case.kind, name), step.anew)
            _, made = await self._stage.door.send("POST", api_path(*place[:2]), item)
            if case.kind == DATASET and "uid" in made.get("metadata", {}):
                self._stage.teams.broker.publish(made["metadata"]["uid"], digest("one"))

    async def _team(self, case: Case, way: str) -> Trial:
        name = f"bad-{uuid.uuid4().hex[:10]}"
        trial = Trial(case, way, TASK, name, "task")
        good = team_objects.namespace(name, {names.GPU_QUOTA: "4"}, labelled=True)
        if way == CREATE:
            return _told(trial, *await self._stage.door.send("POST", "/api/v1/namespaces", changed(good, case.change)))
        _, made = await self._stage.door.send("POST", "/api/v1/namespaces", good)
        if way != STORAGE:
            path = f"/api/v1/namespaces/{name}"
            return _told(trial, *await self._stage.door.send("PUT", path, changed(made, case.change)))
        await asyncio.to_thread(self._stage.etcd.put, (NAMESPACES, "", name), changed(made, case.change))
        code, made = await self._stage.door.send(
            "POST", api_path(names.COLLAB_TASKS, name), self._new(TASK, "task", name)
        )
        if code >= 400:
            raise AssertionError(made.get("message"))
        trial.uid = made["metadata"]["uid"]
        return trial

    async def _child(self, case: Case, way: str) -> Trial:
        """A Job or a pod of a task; the task is looked at."""
        name = await self._take(TASK)
        child = self._pod_of(name) if case.kind == POD else (JOBS, self._namespace, names.job_name(name, 1))
        _, item = await self._stage.door.send("GET", api_path(*child))
        uid = await self._uid(TASK, name)
        trial = Trial(case, way, TASK, self._namespace, name, uid, existed=True, settles=False)
        if way == STORAGE:
            await asyncio.to_thread(self._stage.etcd.put, child, changed(item, case.change))
        elif way == CREATE:
            return await self._forge(trial, child, item)
        else:
            path = api_path(*child) + ("/status" if any(each.startswith("status") for each in case.change) else "")
            _told(trial, *await self._stage.door.send("PUT", path, changed(item, case.change)))
        return trial

    async def _forge(self, trial: Trial, child: Place, item: Object) -> Trial:
        """A Job in the way of another task, made as if by the operator; a pod beside the one that there is."""
        donor, name = trial.name, self._name("new")
        if trial.case.kind == JOB:
            waiting = changed(self._new(TASK, name), {"spec/suspend": True})
            _, made = await self._stage.door.send("POST", api_path(names.COLLAB_TASKS, self._namespace), waiting)
            text = json.dumps(item).replace(trial.uid, made["metadata"]["uid"]).replace(donor, name)
            trial.name, trial.uid = name, made["metadata"]["uid"]
        else:
            text = json.dumps(item).replace(child[2], f"{child[2]}-forged")
        self._spare[TASK].append(donor)
        forged = _bare(json.loads(text))
        assert isinstance(trial.case, Case)
        path = api_path(child[0], self._namespace)
        _told(trial, *await self._stage.door.send("POST", path, changed(forged, trial.case.change)))
        if trial.case.kind == JOB:
            path = api_path(names.COLLAB_TASKS, self._namespace, name)
            await self._stage.door.merge(path, {"spec": {"suspend": False}})
        return trial

    def _pod_of(self, task: str) -> Place:
        job = self._stage.view.items[JOBS, self._namespace, names.job_name(task, 1)]
        return next(iter(self._stage.view.owned[job["metadata"]["uid"]]))

    async def _take(self, kind: str) -> str:
        if not self._spare[kind]:
            await self.prepare({kind: 4})
        return self._spare[kind].pop()

    async def _make(self, kind: str, name: str) -> None:
        path = api_path(PLURALS[kind], self._namespace)
        code, made = await self._stage.door.send("POST", path, self._new(kind, name))
        if code >= 400:
            raise AssertionError(f"a good object was refused: {made.get('message')}")
        if kind == DATASET:
            self._stage.teams.broker.publish(made["metadata"]["uid"], digest("one"))

    def _runs(self, kind: str, name: str) -> bool:
        view = self._stage.view
        item = view.get(PLURALS[kind], self._namespace, name)
        if item is None or not isinstance(item.get("status"), dict):
            return False
        if kind == DATASET:
            return any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"].get("conditions", ()))
        children = owned(view, kind, self._namespace, item["metadata"]["uid"])
        started = item["status"].get("reason") in ("Starting", "PodsPending")
        if kind == SELECTION or not children:
            return bool(children) and started
        return started and bool(view.owned[children[0]["metadata"]["uid"]])

    async def _uid(self, kind: str, name: str) -> str:
        code, item = await self._stage.door.send("GET", api_path(PLURALS[kind], self._namespace, name))
        return str(item["metadata"]["uid"]) if code == 200 else ""

    def _name(self, prefix: str) -> str:
        self._made += 1
        return f"{prefix}-x{self._made}"

    def _new(self, kind: str, name: str, namespace: str | None = None) -> Object:
        return self._stage.good(kind, namespace or self._namespace, name)

    def _stored(self, kind: str, name: str) -> Object:
        """As the API server would store it."""
        item = self._new(kind, name)
        item["metadata"] |= {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": clock.rfc3339(clock.now())}
        return item

    def _filled(self, change: Change) -> Change:
        """Where a change names the namespace that it is tried in."""
        return {path: _replaced(value, "{namespace}", self._namespace) for path, value in change.items()}


def _replaced(value: Any, word: str, by: str) -> Any:
    if isinstance(value, str):
        return value.replace(word, by)
    if isinstance(value, list):
        return [_replaced(each, word, by) for each in value]
    if isinstance(value, dict):
        return {key: _replaced(each, word, by) for key, each in value.items()}
    return value


def _told(trial: Trial, code: int, answer: Object) -> Trial:
    trial.code = code
    if code >= 400:
        trial.refused = str(answer.get("message"))
    elif not trial.uid:
        trial.uid = str(answer.get("metadata", {}).get("uid"))
    return trial


def _bare(item: Object) -> Object:
    """A manifest of the same, without what the API server and the Job controller filled in."""
    found = copy.deepcopy(item)
    found.pop("status", None)
    for key in OF_SERVER:
        found["metadata"].pop(key, None)
    found["spec"].pop("selector", None)
    pod = found["spec"].get("template", {}).get("metadata", found["metadata"])
    for labels in (found["metadata"].get("labels"), pod.get("labels")):
        for key in [each for each in labels or {} if not each.startswith(names.GROUP)]:
            labels.pop(key)
    return found


async def _side_by_side(calls: Any, at_once: int = 16) -> list[Any]:
    gate = asyncio.Semaphore(at_once)

    async def one(call: Any) -> Any:
        async with gate:
            return await call

    return await asyncio.gather(*(one(each) for each in calls))
