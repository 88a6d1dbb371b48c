"""Results that trainers of a team have stored at a broker, to promote, to read and to share."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker_harness import BrokerProcess, Pin, Pod, World, raw_manifest, written
from published_notes import Published

from collabspace.api.task import ModelKind
from collabspace.client.protocol import AliasChange


@dataclass(frozen=True)
class Result:
    namespace: str
    task: str
    uid: str
    digest: str
    files: dict[str, bytes]

    def change(self, key: str, replaces: str | None = None) -> AliasChange:
        return AliasChange(key=key, task_uid=self.uid, digest=self.digest, replaces=replaces)

    def source(self, kind: ModelKind = ModelKind.COLLAB_TASK, name: str = "") -> dict[str, Any]:
        """As a task's spec names it to start from."""
        return {"kind": kind.value, "namespace": self.namespace, "name": name or self.task, "digest": self.digest}


def result_files(task: str) -> dict[str, bytes]:
    return {
        "metrics.json": b'{"f1": "0.8"}',
        "run.json": b"{}",
        "report.txt": b"fine\n",
        "counts/notes-test.safetensors": b"counted",
        "predictions/notes-test.jsonl": b"{}\n",
        "model/config.json": b'{"model_type": "bert"}',
        "model/model.safetensors": f"weights of {task} ".encode() * 200,
        "DONE": b"{}",
    }


async def stored(
    world: World,
    broker: BrokerProcess,
    data: Published,
    folder: Path,
    task: str = "ner",
    *,
    namespace: str | None = None,
    files: dict[str, bytes] | None = None,
    parents: list[str] | None = None,
    **more: Any,
) -> tuple[Pod, Result]:
    """A task of the team (the data's owner, unless said) with one stored result, and its pod."""
    pod = await world.trainer(namespace or data.owner, [Pin(data.owner, data.uid, data.digest)], task=task, **more)
    return pod, await stored_by(broker, pod, files or result_files(task), parents or [], folder / f"result-of-{task}")


async def stored_by(
    broker: BrokerProcess, pod: Pod, files: dict[str, bytes], parents: list[str], folder: Path
) -> Result:
    """The result of a pod that is there."""
    manifest = raw_manifest(pod.task.uid, files).model_copy(update={"parents": parents})
    with broker.client(await pod.token()) as client:
        await asyncio.to_thread(client.publish_result, pod.task, 1, written(folder, files), manifest)
    return Result(pod.namespace, pod.task.name, pod.task.uid, manifest.digest, files)
