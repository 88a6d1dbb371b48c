"""Writing data: who may store a version where, and the commit that makes it one."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from collabspace.api import names
from collabspace.api.dataset import SharedDataset
from collabspace.api.manifest import Manifest
from collabspace.broker import checkpoints
from collabspace.broker.access import Why
from collabspace.broker.custody import Owner, OwnerKind
from collabspace.broker.derivation import source_of, with_sources
from collabspace.broker.entries import PUBLISHED, SAVED
from collabspace.broker.feed import summarise
from collabspace.broker.gate import invalid, read_body, whole_number
from collabspace.broker.identity import AccessDenied, Trainers, entry_of, entry_of_trainer
from collabspace.broker.ledger import AttemptRow, Entry
from collabspace.broker.live import Cluster
from collabspace.broker.parts import Parts
from collabspace.broker.refusal import Refused
from collabspace.broker.tokens import Caller
from collabspace.broker.uploads import Upload, check_manifest
from collabspace.client import protocol
from collabspace.client.protocol import BlobState, Committed, Decision, UploadRequest, UploadTarget
from collabspace.kube import clock

MANIFEST_BYTES = 16 << 20
RECHECK_SECONDS = 5.0
MAX_OFFSET = 1 << 50


Confirm = Callable[[], Awaitable["Right"]]


@dataclass(frozen=True)
class Right:
    """Leave to store: who it is, for the record, and the object that it is stored for."""

    entry: Entry
    owner: Owner


class Publishing:
    """The rule of writing: publishers to datasets of their own namespace, trainers for their own attempt."""

    def __init__(self, cluster: Cluster, trainers: Trainers) -> None:
        self._cluster = cluster
        self._trainers = trainers

    async def decide(self, caller: Caller, target: UploadTarget, manifest: Manifest) -> Right:
        """Raises AccessDenied, Refused, Undecided."""
        if target.kind != "Dataset":
            trainer = await self._trainers.writing(caller, target.uid, target.attempt or 0)
            if (target.namespace, target.name) != (caller.namespace, trainer.task.metadata.name):
                raise AccessDenied(Why.NOT_IN_TASK, entry_of_trainer(trainer))
            return Right(
                entry_of_trainer(trainer),
                Owner(target.uid, target.uid, OwnerKind.TASK, target.namespace, target.name),
            )
        if caller.account != names.PUBLISHER_ACCOUNT:
            raise AccessDenied(Why.ACCOUNT_NOT_KNOWN, entry_of(caller))
        if caller.namespace != target.namespace:
            raise AccessDenied(Why.NOT_OWN_NAMESPACE, entry_of(caller))
        dataset = await self._cluster.dataset(target.namespace, target.name)
        if dataset is None:
            raise Refused(HTTPStatus.NOT_FOUND, "DatasetMissing", "apply the SharedDataset first, then push to it")
        if dataset.metadata.uid != target.uid:
            raise Refused(
                HTTPStatus.CONFLICT,
                "DatasetReplaced",
                "the SharedDataset was deleted and made again; push again to the new one",
            )
        check_contract(dataset, manifest)
        meta = dataset.metadata
        entry = entry_of(caller).but(
            owner=meta.namespace, dataset=meta.name, dataset_uid=meta.uid, generation=meta.generation
        )
        return Right(entry, owner_of(dataset))


def owner_of(dataset: SharedDataset) -> Owner:
    """The dataset as the broker remembers it."""
    meta = dataset.metadata
    policy = dataset.spec.deletion_policy
    return Owner(meta.uid, meta.uid, OwnerKind.DATASET, meta.namespace, meta.name, policy)


def check_contract(dataset: SharedDataset, manifest: Manifest) -> None:
    """Raises Refused when the version is not of the dataset's format or has another target."""
    spec = dataset.spec
    if manifest.format != spec.format:
        raise invalid(
            f"manifest.format: is {manifest.format}, but spec.format is {spec.format}; push data of that format"
        )
    asked, found = spec.contract.target, manifest.target
    if (asked is None) != (found is None) or (
        asked is not None and found is not None and (asked.column, asked.kind) != (found.column, found.kind)
    ):
        raise invalid(
            "manifest.target: differs from spec.contract.target; prepare the version with the present contract"
        )


class Committer:
    """The steps of a commit, in the order that leaves nothing half: check, record, manifest, news."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def commit(self, upload: Upload, confirm: Confirm) -> Committed:
        """The version is in the store and on record afterwards. Doing it again changes nothing. Raises Refused.

        The caller holds the owner's lock. `confirm` is asked after the check, which may take minutes: a version becomes
        visible only for whom it may still be stored then.
        """
        parts, manifest, owner = self._parts, upload.manifest, upload.target.uid
        there = await asyncio.to_thread(parts.store.read_manifest, owner, upload.digest) is not None
        if not there and upload.target.kind == "Dataset":
            await self._check(upload)
        right = await confirm()
        await parts.custody.remember(right.owner)
        derived = [] if there else await self._derived(upload, right)
        if not there:
            for record in derived:
                await parts.journal.record(record)
            await parts.journal.record(
                right.entry.but(
                    event=SAVED if upload.target.kind == "Checkpoint" else PUBLISHED,
                    decision=Decision.ALLOWED,
                    reason="Own",
                    claimed_by=upload.entry.claimed_by,
                    version=upload.digest,
                    bytes=manifest.size,
                )
            )
        self._fence(upload)
        created = not there and await asyncio.to_thread(
            parts.store.put_manifest, owner, upload.digest, manifest.canonical()
        )
        committed = Committed(digest=upload.digest, records=manifest.records, bytes=manifest.size, created=created)
        if upload.target.kind == "Dataset":
            if created:
                summary = summarise(manifest, clock.rfc3339(clock.now()))
                parts.knowledge.publish(owner, with_sources(summary, map(source_of, derived)))
            await parts.journal.tell(owner)
            return committed
        self._fence(upload)
        if upload.target.kind == "Result":
            await self._keep_result(upload, committed)
        else:
            await checkpoints.keep(parts, upload.target, upload.digest)
        return committed

    async def _derived(self, upload: Upload, right: Right) -> list[Entry]:
        """Records of what the version is made of. Raises Refused when it may not be."""
        if upload.target.kind != "Dataset":
            return []
        who = right.entry.but(claimed_by=upload.entry.claimed_by)
        return await self._parts.derivations.judge(upload.target.namespace, upload.manifest, who)

    def _fence(self, upload: Upload) -> None:
        """A newer attempt may have shown itself while the ledger or the store kept us waiting. Raises AccessDenied."""
        if upload.target.attempt is not None:
            self._parts.trainers.fence(upload.target.uid, upload.target.attempt, upload.entry)

    async def _check(self, upload: Upload) -> None:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._parts.scratch))
        try:
            await asyncio.to_thread(self._expose, upload, folder)
            await self._parts.inspector.check(folder, upload.manifest)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder)

    def _expose(self, upload: Upload, folder: Path) -> None:
        for file in upload.manifest.files:
            self._parts.store.expose(upload.target.uid, file.sha256, folder / file.path)

    async def _keep_result(self, upload: Upload, committed: Committed) -> None:
        target, attempt = upload.target, upload.target.attempt or 0
        knowledge, journal = self._parts.knowledge, self._parts.journal
        known = knowledge.attempt_of(target.uid, attempt)
        if known is not None and known.result is not None and known.result.digest == committed.digest:
            return
        stored = committed.model_copy(update={"created": True})
        row = AttemptRow(target.uid, attempt, target.namespace, target.name, result=stored.model_dump_json())
        await journal.run(lambda: journal.ledger.keep_attempt(row))
        knowledge.attempt(target.uid, attempt, result=stored)


class UploadRoutes:
    """POST /v1/uploads, GET and PUT .../blobs/{sha256}, POST .../commit."""

    def __init__(self, parts: Parts) -> None:
        self._gate = parts.gate
        self._uploads = parts.uploads
        self._custody = parts.custody
        self._publishing = Publishing(parts.cluster, parts.trainers)
        self._committer = Committer(parts)
        self._max_bytes = {
            "Dataset": parts.settings.broker_max_version_bytes,
            "Result": parts.settings.broker_max_result_bytes,
            "Checkpoint": parts.settings.broker_max_checkpoint_bytes,
        }

    async def begin(self, request: Request) -> Response:
        caller = await self._gate.caller(request, names.PUBLISHER_ACCOUNT, names.TRAINER_ACCOUNT)
        wish = await read_body(request, UploadRequest, MANIFEST_BYTES)
        right = await self._publishing.decide(caller, wish.target, wish.manifest)
        check_manifest(wish.manifest, wish.target, self._max_bytes[wish.target.kind])
        # Before the first byte: what comes of an upload that never ends must go with its object too.
        await self._custody.remember(right.owner)
        upload = self._uploads.begin(caller, wish.target, wish.manifest, right.entry.but(claimed_by=wish.claimed_by))
        missing = await self._uploads.missing(upload)
        await self._uploads.check_room(upload, missing)
        return _json(protocol.Upload(id=upload.id, digest=upload.digest, missing=missing), HTTPStatus.CREATED)

    async def offset(self, request: Request) -> Response:
        upload = await self._find(request)
        offset = await self._uploads.offset(upload, request.path_params["sha256"])
        return _json(BlobState(offset=offset))

    async def put(self, request: Request) -> Response:
        upload = await self._find(request)
        offset = whole_number(request, "offset", 0, MAX_OFFSET) or 0
        stands = await self._uploads.receive(upload, request.path_params["sha256"], offset, request.stream())
        return _json(BlobState(offset=stands))

    async def commit(self, request: Request) -> Response:
        upload = await self._find(request)

        async def confirm() -> Right:
            return await self._confirm(upload)

        async with self._custody.lock(upload.target.uid):
            await confirm()
            if await self._uploads.missing(upload):
                raise Refused(HTTPStatus.CONFLICT, "UploadIncomplete", "blobs are missing; begin again to see which")
            committed = await self._committer.commit(upload, confirm)
            await self._uploads.end(upload)
        return _json(committed)

    async def _find(self, request: Request) -> Upload:
        caller = await self._gate.caller(request, names.PUBLISHER_ACCOUNT, names.TRAINER_ACCOUNT)
        upload = self._uploads.find(request.path_params["upload"], caller)
        if time.monotonic() - upload.decided > RECHECK_SECONDS:
            await self._confirm(upload)
        return upload

    async def _confirm(self, upload: Upload) -> Right:
        """Asks again whether this caller may store this: pods go, datasets are replaced, attempts are superseded."""
        right = await self._publishing.decide(upload.caller, upload.target, upload.manifest)
        upload.decided = time.monotonic()
        return right


def _json(answer: BlobState | Committed | protocol.Upload, status: int = HTTPStatus.OK) -> Response:
    return Response(answer.model_dump_json(by_alias=True), status, media_type="application/json")
