"""The teams of one plan, and what people do in them: the verbs that workloads are made of."""

import asyncio
import tempfile
import uuid
from pathlib import Path
from typing import Any

from player import Script
from rig import Rig

from collabspace.api import names
from collabspace.api.manifest import DatasetFormat
from collabspace.client.client import BrokerClient
from collabspace.client.protocol import UploadTarget
from collabspace.formats import SplitRule, prepare
from collabspace.kube.client import Object

SECONDS = 60.0
TASKS = f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.COLLAB_TASKS}"
DATASETS = f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.SHARED_DATASETS}"
SELECTIONS = f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.MODEL_SELECTIONS}"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
PODS = "/api/v1/namespaces/{}/pods"


class Stage:
    """The teams of one plan: `owner` has the dataset `notes`, `team` is where tasks run. `roles` maps namespaces to
    these words."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.roles: dict[str, str] = {}
        self.uids: dict[str, str] = {}

    @property
    def owner(self) -> str:
        return self._named("owner")

    @property
    def team(self) -> str:
        return self._named("team")

    def _named(self, role: str) -> str:
        return next(name for name, known in self.roles.items() if known == role)

    async def set_up(self, gpus: int = 8, *, granted: bool = True, fresh: bool = False) -> None:
        """A new team, and the dataset with one version, granted to it. Its owner serves all plans of a rig, since each
        version costs a second of checks at the broker; with `fresh` it is new as well."""
        if fresh or self.rig.owner is None:
            owner = await self._team("owner", gpus)
            await self.publish("one")
            if not fresh:
                self.rig.owner = owner
        else:
            self.roles[self.rig.owner] = "owner"
        await self._team("team", gpus)
        await (self.grant() if granted else self.revoke())

    async def _team(self, role: str, gpus: int) -> str:
        name = f"{role}-{uuid.uuid4().hex[:8]}"
        self.roles[name] = role
        return await self.rig.team(name=name, gpus=gpus)

    async def close(self) -> None:
        for namespace in list(self.roles):
            if namespace != self.rig.owner:
                await self.rig.remove(namespace)

    async def uid(self, namespace: str) -> str:
        if namespace not in self.uids:
            self.uids[namespace] = (await self.rig.admin.get(f"/api/v1/namespaces/{namespace}"))["metadata"]["uid"]
        return self.uids[namespace]

    async def publish(self, words: str, name: str = "notes") -> str:
        """A version of the dataset, which is made when it is not there; its digest."""
        found = self.rig.eyes.objects("datasets", self.owner).get(name)
        if found is None:
            spec = {"format": "TokenClassification"}
            found = await self.rig.admin.create(DATASETS.format(self.owner), kind("SharedDataset", name, spec))
        token = await self.rig.publisher_token(self.owner)
        return await asyncio.to_thread(self._push, token, found["metadata"]["uid"], name, words)

    def _push(self, token: str, uid: str, name: str, words: str) -> str:
        with tempfile.TemporaryDirectory(dir=self.rig.folder) as scratch:
            raw = Path(scratch) / "raw"
            raw.mkdir()
            for split in ("train", "validation", "test"):
                (raw / f"{split}.conll").write_text(f"{split}\tO\n{words}\tB-Disease\n.\tO\n\n")
            ready = Path(scratch) / "ready"
            done = prepare(raw, DatasetFormat.TOKEN_CLASSIFICATION, ready, owner_uid=uid, split=SplitRule())
            target = UploadTarget(kind="Dataset", namespace=self.owner, name=name, uid=uid)
            with BrokerClient(self.rig.broker_url, lambda: token, self.rig.broker_ca) as client:
                return client.push(target, done.manifest, ready).digest

    async def grant(self, name: str = "notes", **changes: Any) -> None:
        """Makes this the dataset's only grant."""
        grant = {
            "name": "g",
            "namespace": self.team,
            "namespaceUID": await self.uid(self.team),
            "uses": ["Train", "Evaluate"],
            **changes,
        }
        await self._give(name, [grant])

    async def revoke(self, name: str = "notes") -> None:
        await self._give(name, [])

    async def _give(self, name: str, grants: list[Object]) -> None:
        """Returns when the operator knows the grants and the versions."""
        path = f"{DATASETS.format(self.owner)}/{name}"
        generation = (await self.rig.admin.merge(path, {"spec": {"grants": grants}}))["metadata"]["generation"]

        def known() -> bool:
            status = self.rig.eyes.objects("datasets", self.owner).get(name, {}).get("status", {})
            return status.get("observedGeneration", 0) >= generation and bool(status.get("versions"))

        await self.rig.eyes.until(known, SECONDS, f"dataset {name}: generation {generation} is known")

    async def task(self, name: str, script: Script | None = None, gpu: int = 1, **spec: Any) -> Object:
        """Submits a task; `script` is what its trainers do."""
        if script is not None:
            self.script(name, script)
        body = {
            "task": "TokenClassification",
            "method": "FullFineTuning",
            "initialization": "Random",
            "datasets": [{"name": "notes", "datasetRef": {"namespace": self.owner, "name": "notes"}}],
            "resourcesPerNode": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": str(gpu)},
            **spec,
        }
        given = {key: value for key, value in body.items() if value is not None}
        return await self.rig.admin.create(TASKS.format(self.team), kind("CollabTask", name, given))

    async def selection(self, name: str, candidates: list[Object], **spec: Any) -> Object:
        body = {
            "task": "TokenClassification",
            "datasets": [{"name": "notes", "datasetRef": {"namespace": self.owner, "name": "notes"}}],
            "objective": {"metric": "entity_micro_f1"},
            "candidates": candidates,
            "parallelism": 2,
            **spec,
        }
        return await self.rig.admin.create(SELECTIONS.format(self.team), kind("ModelSelection", name, body))

    def script(self, task: str, script: Script) -> None:
        """What trainers of this task do."""
        self.rig.player.scripts[self.team, task] = script

    def release(self, task: str) -> None:
        """Its trainers, which work until then, end now."""
        self.rig.player.release(self.team, task)

    async def change(self, task: str, **spec: Any) -> None:
        await self.rig.admin.merge(f"{TASKS.format(self.team)}/{task}", {"spec": spec})

    async def quota(self, gpus: int) -> None:
        annotations = {names.GPU_QUOTA: str(gpus)}
        await self.rig.admin.merge(f"/api/v1/namespaces/{self.team}", {"metadata": {"annotations": annotations}})

    async def delete(self, path: str, name: str) -> None:
        """`path` is one of the collections above."""
        await self.rig.admin.delete(f"{path}/{name}")

    async def gone(self, *kinds: str) -> None:
        """Nothing of these kinds is left in the team."""
        seen = self.rig.eyes
        await seen.until(lambda: not any(seen.objects(each, self.team) for each in kinds), SECONDS, f"{kinds} gone")

    async def running(self, *tasks: str) -> None:
        """Their trainers have read their data, and the operator knows that they run."""
        for task in tasks:
            await self.until(task, "Training")
            async with asyncio.timeout(SECONDS):
                await self.rig.player.at_work(self.team, task).wait()

    async def selected(self, name: str, reason: str) -> None:
        seen = self.rig.eyes
        await seen.until(
            lambda: seen.objects("selections", self.team).get(name, {}).get("status", {}).get("reason") == reason,
            SECONDS,
            f"selection {name}: reason {reason}",
        )

    def seen(self, name: str) -> Object:
        return self.rig.eyes.objects("tasks", self.team).get(name, {})

    async def until(self, name: str, *reasons: str) -> None:
        """The task says one of these reasons."""
        await self.rig.eyes.until(
            lambda: self.seen(name).get("status", {}).get("reason") in reasons,
            SECONDS,
            f"task {name}: reason {' or '.join(reasons)}",
        )

    async def completed(self, *tasks: str) -> None:
        for task in tasks:
            await self.until(task, "Completed")


def kind(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
