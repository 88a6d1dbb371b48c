"""Writing data: who may store a version where, and the commit that makes it one."""

import asyncio
import shutil
import tempfile
import time
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from collabspace.api import names
from collabspace.api.dataset import SharedDataset
from collabspace.api.manifest import Manifest
from collabspace.broker.access import Why
from collabspace.broker.feed import Knowledge, summarise
from collabspace.broker.gate import Gate, invalid, read_body, whole_number
from collabspace.broker.identity import AccessDenied, Trainers, entry_of, entry_of_trainer
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import PUBLISHED, AttemptRow, Entry
from collabspace.broker.live import Cluster
from collabspace.broker.refusal import Refused
from collabspace.broker.store import Store
from collabspace.broker.tokens import Caller
from collabspace.broker.uploads import Upload, Uploads, check_manifest
from collabspace.client import protocol
from collabspace.client.protocol import BlobState, Committed, Decision, UploadRequest, UploadTarget
from collabspace.kube import clock

MANIFEST_BYTES = 16 << 20
RECHECK_SECONDS = 5.0
MAX_OFFSET = 1 << 50


class Checker(Protocol):
    """Judges files against their manifest and format; raises Refused."""

    async def check(self, folder: Path, manifest: Manifest) -> None: ...


class Publishing:
    """The rule of writing: publishers to datasets of their own namespace, trainers to the result of their attempt."""

    def __init__(self, cluster: Cluster, trainers: Trainers) -> None:
        self._cluster = cluster
        self._trainers = trainers

    async def decide(self, caller: Caller, target: UploadTarget, manifest: Manifest) -> Entry:
        """Who it is, for the record. Raises AccessDenied, Refused, Undecided."""
        if target.kind == "Result":
            trainer = await self._trainers.writing(caller, target.uid, target.attempt or 0)
            if (target.namespace, target.name) != (caller.namespace, trainer.task.metadata.name):
                raise AccessDenied(Why.NOT_IN_TASK, entry_of_trainer(trainer))
            return entry_of_trainer(trainer)
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
        _check_contract(dataset, manifest)
        meta = dataset.metadata
        return entry_of(caller).but(
            owner=meta.namespace, dataset=meta.name, dataset_uid=meta.uid, generation=meta.generation
        )


def _check_contract(dataset: SharedDataset, manifest: Manifest) -> None:
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

    def __init__(self, store: Store, scratch: Path, checker: Checker, journal: Journal, knowledge: Knowledge) -> None:
        self._store = store
        self._scratch = scratch
        self._checker = checker
        self._journal = journal
        self._knowledge = knowledge

    async def commit(self, upload: Upload) -> Committed:
        """The version is in the store and on record afterwards. Doing it again changes nothing. Raises Refused."""
        manifest, owner = upload.manifest, upload.target.uid
        there = await asyncio.to_thread(self._store.read_manifest, owner, upload.digest) is not None
        if not there:
            if upload.target.kind == "Dataset":
                await self._check(upload)
            await self._journal.record(
                upload.entry.but(
                    event=PUBLISHED,
                    decision=Decision.ALLOWED,
                    reason="Own",
                    version=upload.digest,
                    bytes=manifest.size,
                )
            )
        created = not there and await asyncio.to_thread(
            self._store.put_manifest, owner, upload.digest, manifest.canonical()
        )
        committed = Committed(digest=upload.digest, records=manifest.records, bytes=manifest.size, created=created)
        if upload.target.kind == "Result":
            await self._keep_result(upload, committed)
        elif created:
            self._knowledge.publish(owner, summarise(manifest, clock.rfc3339(clock.now())))
        return committed

    async def _check(self, upload: Upload) -> None:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._scratch))
        try:
            await asyncio.to_thread(self._expose, upload, folder)
            await self._checker.check(folder, upload.manifest)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder)

    def _expose(self, upload: Upload, folder: Path) -> None:
        for file in upload.manifest.files:
            self._store.expose(upload.target.uid, file.sha256, folder / file.path)

    async def _keep_result(self, upload: Upload, committed: Committed) -> None:
        target, attempt = upload.target, upload.target.attempt or 0
        known = self._knowledge.attempt_of(target.uid, attempt)
        if known is not None and known.result is not None and known.result.digest == committed.digest:
            return
        stored = committed.model_copy(update={"created": True})
        row = AttemptRow(target.uid, attempt, target.namespace, target.name, result=stored.model_dump_json())
        await self._journal.run(lambda: self._journal.ledger.keep_attempt(row))
        self._knowledge.attempt(target.uid, attempt, result=stored)


class UploadRoutes:
    """POST /v1/uploads, GET and PUT .../blobs/{sha256}, POST .../commit."""

    def __init__(
        self,
        gate: Gate,
        publishing: Publishing,
        uploads: Uploads,
        committer: Committer,
        max_bytes: dict[str, int],
    ) -> None:
        self._gate = gate
        self._publishing = publishing
        self._uploads = uploads
        self._committer = committer
        self._max_bytes = max_bytes

    async def begin(self, request: Request) -> Response:
        caller = await self._gate.caller(request, names.PUBLISHER_ACCOUNT, names.TRAINER_ACCOUNT)
        wish = await read_body(request, UploadRequest, MANIFEST_BYTES)
        entry = await self._publishing.decide(caller, wish.target, wish.manifest)
        check_manifest(wish.manifest, wish.target, self._max_bytes[wish.target.kind])
        upload = self._uploads.begin(caller, wish.target, wish.manifest, entry.but(claimed_by=wish.claimed_by))
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
        async with upload.committing:
            await self._confirm(upload)
            if await self._uploads.missing(upload):
                raise Refused(HTTPStatus.CONFLICT, "UploadIncomplete", "blobs are missing; begin again to see which")
            committed = await self._committer.commit(upload)
            await self._uploads.end(upload)
        return _json(committed)

    async def _find(self, request: Request) -> Upload:
        caller = await self._gate.caller(request, names.PUBLISHER_ACCOUNT, names.TRAINER_ACCOUNT)
        upload = self._uploads.find(request.path_params["upload"], caller)
        if time.monotonic() - upload.decided > RECHECK_SECONDS:
            await self._confirm(upload)
        return upload

    async def _confirm(self, upload: Upload) -> None:
        """Asks again whether this caller may store this: pods go, datasets are replaced, attempts are superseded."""
        await self._publishing.decide(upload.caller, upload.target, upload.manifest)
        upload.decided = time.monotonic()


def _json(answer: BlobState | Committed | protocol.Upload, status: int = HTTPStatus.OK) -> Response:
    return Response(answer.model_dump_json(by_alias=True), status, media_type="application/json")
