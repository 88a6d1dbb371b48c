"""A node whose trainers are played: pods run, read and store through the real broker, and end as a workload asks.

The player is a kubelet in the API server's eyes (its own Node and Lease, the Node authorizer and NodeRestriction hold)
and a trainer in the broker's: the token is bound to the pod, data is read, a result is committed, the end is told.
What ran when stands in a journal, the ground truth of observers.
"""

import asyncio
import json
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from trainer_words import Acted, result_of, work

from collabspace.api import names
from collabspace.api.run import RUN_VARIABLE, ExitCode, RunDocument
from collabspace.kube import clock
from collabspace.kube.client import KubeError, Object
from collabspace.local.node.api import NodeClient
from collabspace.local.node.environment import Machine
from collabspace.local.node.registration import Offer, Registration

GPUS = 64
MACHINE = Machine(cpus=256, memory_bytes=1 << 40)
LEASE_SECONDS = 40
PODS = "/api/v1/pods"
OVER = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Act:
    """What the trainer of one attempt does: reads its data, works for `seconds` (None: until the task is released by
    Player.release, or told to go), and ends with `code`.

    `killed`: the kernel's or the kubelet's reason, such as OOMKilled or Evicted, instead of an end of its own.
    `metrics` are rows of its end record; `saves`: on SIGTERM it stores a checkpoint first."""

    seconds: float | None = 0.05
    code: int = 0
    message: str = ""
    killed: str = ""
    metrics: tuple[Object, ...] = ()
    saves: bool = False


Script = Callable[[int], Act]
"""Attempt -> what is played."""


def always(_attempt: int) -> Act:
    return Act()


@dataclass
class _Life:
    """One pod as the player knows it."""

    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Journal:
    """One JSON line for each start and end of a trainer process, as the embedded node writes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def write(self, event: str, pod: Object, run: RunDocument, **more: Any) -> None:
        meta = pod["metadata"]
        line = {
            "event": event,
            "at": clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "namespace": meta["namespace"],
            "pod": meta["name"],
            "uid": meta["uid"],
            "container": names.TRAINER_CONTAINER,
            "run": meta["uid"],
            "task": run.task.name,
            "taskUid": run.task.uid,
            "attempt": run.execution.attempt,
            "rank": 0,
            **more,
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class Player:
    """One node. `scripts` holds what tasks do by (namespace, task); others do `always`."""

    def __init__(self, client: NodeClient, node: str, broker_url: str, broker_ca: str, folder: Path) -> None:
        self.node = node
        self.scripts: dict[tuple[str, str], Script] = {}
        self.journal = Journal(folder / "journal.jsonl")
        self.registered = asyncio.Event()
        self._client = client
        self._broker = (broker_url, broker_ca)
        self._folder = folder
        self._lives: dict[str, _Life] = {}
        self._released: dict[tuple[str, str], asyncio.Event] = {}
        self._at_work: dict[tuple[str, str], asyncio.Event] = {}
        self._group = asyncio.TaskGroup()

    def forget(self, namespace: str) -> None:
        """No scripts of this namespace any more."""
        for known in (self.scripts, self._released, self._at_work):
            for key in [key for key in known if key[0] == namespace]:
                del known[key]

    def release(self, namespace: str, task: str) -> None:
        """Trainers of this task that work for no set time end now, and those that come later at once."""
        self._gate(namespace, task).set()

    def _gate(self, namespace: str, task: str) -> asyncio.Event:
        return self._released.setdefault((namespace, task), asyncio.Event())

    def at_work(self, namespace: str, task: str) -> asyncio.Event:
        """Set once a trainer of this task has read its data."""
        return self._at_work.setdefault((namespace, task), asyncio.Event())

    async def run(self) -> None:
        """Until cancelled."""
        registration = Registration(
            self._client, self.node, Offer(MACHINE, GPUS, 10250), LEASE_SECONDS, self._nothing_to_catch_up
        )
        async with self._group as group:
            group.create_task(registration.run())
            group.create_task(self._follow())

    async def _nothing_to_catch_up(self) -> None:
        self.registered.set()

    async def _follow(self) -> None:
        only = {"fieldSelector": f"spec.nodeName={self.node}"}
        while True:
            # Some plans take the API server away.
            with suppress(KubeError):
                listing = await self._client.list(PODS, only)
                for pod in listing["items"]:
                    self._see("ADDED", pod)
                version = listing["metadata"]["resourceVersion"]
                while True:
                    async for event in self._client.watch(PODS, version, only):
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            self._see(event["type"], event["object"])
            await asyncio.sleep(0.2)

    def _see(self, kind: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        life = self._lives.get(uid)
        if kind == "DELETED":
            if life is not None:
                life.gone.set()
                life.leaving.set()
            return
        if life is None:
            if names.TASK_UID_LABEL not in pod["metadata"].get("labels", {}):
                return
            life = self._lives[uid] = _Life()
            self._group.create_task(self._live(pod, life))
        if pod["metadata"].get("deletionTimestamp"):
            life.leaving.set()

    async def _live(self, pod: Object, life: _Life) -> None:
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        run = _run_of(pod)
        try:
            # The Job controller deletes pods at times before they have run.
            if not life.leaving.is_set() and pod.get("status", {}).get("phase") not in OVER:
                await self._play(path, pod, run, life)
            await life.leaving.wait()
            if not life.gone.is_set():
                body: Object = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
                await self._client._request("DELETE", path, body)
        except KubeError as error:
            if error.status not in (404, 409):
                raise
        finally:
            del self._lives[meta["uid"]]

    async def _play(self, path: str, pod: Object, run: RunDocument, life: _Life) -> None:
        meta = pod["metadata"]
        act = self.scripts.get((meta["namespace"], run.task.name), always)(run.execution.attempt)
        started = clock.now()
        self.journal.write("start", pod, run)
        code: int | None = None
        acted = Acted(int(ExitCode.TRANSIENT), "")
        try:
            await self._status(path, pod, _running(started))
            acted = await self._act(pod, run, act, life)
            code = acted.code
        finally:
            # A process ends in any case; what is not its own end is a kill.
            self.journal.write("end", pod, run, exitCode=code if code is not None else 137)
        if not life.gone.is_set():
            await self._status(path, pod, _ended(started, act, acted))

    async def _act(self, pod: Object, run: RunDocument, act: Act, life: _Life) -> Acted:
        token = await self._token(pod)
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            room = Path(scratch)
            read = await asyncio.to_thread(work, self._broker, token, run, room)
            if read.code:
                return read
            place = pod["metadata"]["namespace"], run.task.name
            self.at_work(*place).set()
            await self._work(act, life, self._gate(*place))
            if act.killed and not life.leaving.is_set():
                return Acted(137, "")
            stopped = life.leaving.is_set()
            return await asyncio.to_thread(result_of, self._broker, token, run, room, act, stopped)

    async def _work(self, act: Act, life: _Life, gate: asyncio.Event) -> None:
        ends = [asyncio.ensure_future(life.leaving.wait())]
        if act.seconds is None:
            ends.append(asyncio.ensure_future(gate.wait()))
        await asyncio.wait(ends, timeout=act.seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in ends:
            each.cancel()

    async def _token(self, pod: Object) -> str:
        """The Node authorizer learns of the pod's binding a moment after us."""
        meta = pod["metadata"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        spec: Object = {"audiences": [names.BROKER_AUDIENCE], "expirationSeconds": 600, "boundObjectRef": bound}
        path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{names.TRAINER_ACCOUNT}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        for _ in range(50):
            with suppress(KubeError):
                return str((await self._client.create(path, body))["status"]["token"])
            await asyncio.sleep(0.05)
        return str((await self._client.create(path, body))["status"]["token"])

    async def _status(self, path: str, pod: Object, status: Object) -> None:
        await self._client.patch_status(path, pod["metadata"]["uid"], status)


def _run_of(pod: Object) -> RunDocument:
    variables = pod["spec"]["containers"][0]["env"]
    return RunDocument.model_validate(orjson.loads(next(v["value"] for v in variables if v["name"] == RUN_VARIABLE)))


def _container(state: Object, *, ready: bool) -> Object:
    image = names.TRAINER_IMAGE
    return {
        "name": names.TRAINER_CONTAINER,
        "state": state,
        "ready": ready,
        "image": image,
        "imageID": image,
        "restartCount": 0,
        "containerID": f"process://{uuid.uuid4()}",
    }


def _running(started: Any) -> Object:
    now = clock.rfc3339(started)
    return {
        "phase": "Running",
        "startTime": now,
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [_container({"running": {"startedAt": now}}, ready=True)],
    }


def _ended(started: Any, act: Act, acted: Acted) -> Object:
    begun, now = clock.rfc3339(started), clock.rfc3339(clock.now())
    why = (
        act.killed if acted.code == 137 and act.killed == "OOMKilled" else ("Completed" if not acted.code else "Error")
    )
    end = {"exitCode": acted.code, "reason": why, "startedAt": begun, "finishedAt": now, "message": acted.message}
    conditions = [{"type": "Ready", "status": "False"}]
    more: Object = {}
    if act.killed == "Evicted" and acted.code == 137:
        conditions.append({"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"})
        more = {"reason": "Evicted", "message": "The node was low on memory."}
    return {
        "phase": "Failed" if acted.code else "Succeeded",
        "startTime": begun,
        "conditions": conditions,
        "containerStatuses": [_container({"terminated": end}, ready=False)],
        **more,
    }
