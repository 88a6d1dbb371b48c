"""Checkpoints of running tasks: listed to the task's own pods, the newest two kept, complete or not there at all."""

import asyncio
import re

from starlette.requests import Request
from starlette.responses import Response

from collabspace.api import names
from collabspace.api.run import CheckpointReference
from collabspace.broker import metrics
from collabspace.broker.access import Why
from collabspace.broker.custody import CheckpointRow
from collabspace.broker.gate import invalid
from collabspace.broker.identity import AccessDenied, entry_of_trainer
from collabspace.broker.parts import Parts
from collabspace.broker.store import Store
from collabspace.broker.versions import read_manifest
from collabspace.client.protocol import Checkpoint, Checkpoints, UploadTarget
from collabspace.kube import clock

KEPT = 2
FORMAT = "Checkpoint"
REPLACED = "Replaced"
IDENTITY = re.compile(r"[0-9a-f]{64}")


class CheckpointRoutes:
    """GET /v1/checkpoints/{task uid}/{identity}."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def list(self, request: Request) -> Response:
        caller = await self._parts.gate.caller(request, names.TRAINER_ACCOUNT)
        task_uid, identity = request.path_params["task_uid"], request.path_params["identity"]
        if not IDENTITY.fullmatch(identity):
            raise invalid("identity: must be 64 lower-case hexadecimal digits")
        trainer = await self._parts.trainers.reading(caller)
        if trainer.task.metadata.uid != task_uid:
            raise AccessDenied(Why.NOT_IN_TASK, entry_of_trainer(trainer))
        await self._parts.custody.turns.refresh(task_uid)
        rows = [row for row in self._parts.custody.checkpoints(task_uid) if row.identity == identity]
        whole = [row for row in rows if await self._parts.versions.manifest(task_uid, row.digest) is not None]
        answer = Checkpoints(checkpoints=[_checkpoint(row) for row in whole])
        return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


async def keep(parts: Parts, target: UploadTarget, digest: str) -> None:
    """The checkpoint, whose manifest is in the store, is the newest of its task; too old ones go.

    The caller holds the task's lock. Doing it again changes nothing. Raises Undecided, OSError.
    """
    if target.identity is None or target.step is None or target.attempt is None:
        raise invalid("target: a checkpoint needs attempt, identity and step")
    row = CheckpointRow(
        target.uid,
        digest,
        target.namespace,
        target.name,
        target.identity,
        target.step,
        target.attempt,
        clock.rfc3339(clock.now()),
    )
    await parts.custody.keep_checkpoint(row)
    reference = CheckpointReference(step=row.step, digest=digest)
    parts.knowledge.attempt(row.task_uid, row.attempt, checkpoint=reference)
    freed = await prune(parts, target.uid, KEPT)
    if freed:
        metrics.SWEPT.labels(REPLACED).inc()
        metrics.SWEPT_BYTES.labels(REPLACED).inc(freed)


async def prune(parts: Parts, task_uid: str, kept: int) -> int:
    """Removes all checkpoints of a task but the newest `kept`: row, manifest, blobs, in this order, so that nothing
    points to what is gone. Bytes that were freed. The caller holds the task's lock. Raises Undecided, OSError."""
    rows = parts.custody.checkpoints(task_uid)
    keep, old = {row.digest for row in rows[:kept]}, {row.digest for row in rows[kept:]}
    if old:
        await parts.custody.drop_checkpoints(task_uid, old)
    wanted = parts.uploads.wanted(task_uid)
    freed = await asyncio.to_thread(_remove, parts.store, task_uid, keep, wanted)
    parts.versions.forget(task_uid)
    return freed


def _remove(store: Store, task_uid: str, keep: set[str], wanted: set[str]) -> int:
    """Blocks. Checkpoints outside `keep`, also those that a crash left without a row."""
    gone: dict[str, int] = {}
    live = set(wanted)
    for version in store.versions(task_uid):
        manifest = read_manifest(store, task_uid, version.digest)
        if manifest is None:
            continue
        if manifest.format != FORMAT or version.digest in keep:
            live |= {file.sha256 for file in manifest.files}
            continue
        store.remove_manifest(task_uid, version.digest)
        gone |= {file.sha256: file.bytes for file in manifest.files}
    dead = gone.keys() - live
    for sha256 in sorted(dead):
        store.remove_blob(task_uid, sha256)
    return sum(gone[sha256] for sha256 in dead)


def _checkpoint(row: CheckpointRow) -> Checkpoint:
    return Checkpoint(
        identity=row.identity, step=row.step, digest=row.digest, attempt=row.attempt, created_time=row.created
    )
