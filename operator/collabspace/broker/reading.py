"""Reading data: one decision opens a session, its files ride on it, and the ledger knows before the first byte."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from collabspace.api import names
from collabspace.api.dataset import SharedDataset, Use
from collabspace.api.task import ModelKind
from collabspace.broker import metrics
from collabspace.broker.access import USE_OF_ROLE, USE_OF_WEIGHTS, Asker, Denied, Why, decide
from collabspace.broker.blobs import BlobResponse, Part, wanted_range
from collabspace.broker.entries import text_of_uses
from collabspace.broker.gate import read_body
from collabspace.broker.identity import AccessDenied, Trainer, Trainers, entry_of, entry_of_trainer
from collabspace.broker.ledger import OPENED, Entry
from collabspace.broker.live import Cluster
from collabspace.broker.own_results import (
    RESULT_OF,
    OwnResults,
    Wish,
    serves_comparison,
    serves_others,
    wished_by,
    wished_by_person,
)
from collabspace.broker.parts import Parts
from collabspace.broker.refusal import Refused, session_over
from collabspace.broker.sessions import Session
from collabspace.broker.tokens import Caller
from collabspace.broker.versions import Held
from collabspace.client import protocol
from collabspace.client.protocol import Decision, SessionRequest
from collabspace.kube import clock


class Shelf(StrEnum):
    """What is read of an object, and what to say when it has no such thing."""

    VERSION = "the dataset has no such version; its owner pushes one"
    CHECKPOINT = "the task has no such checkpoint; it resumes from another one or starts anew"
    RESULT = "the task has stored no such result"


NO_STORE = "no-store"


@dataclass(frozen=True)
class Leave:
    """Leave to read the object `uid`: versions of a dataset, checkpoints of the reader's own task, or the result
    `digest` of a task of its team. `serves` says which files."""

    uid: str
    record: Entry
    shelf: Shelf = Shelf.VERSION
    digest: str | None = None
    serves: Callable[[str], bool] = lambda _: True


WITHHELD = (
    "this file is not for this caller: counts and predictions per record stay with the broker and the comparisons that "
    "it serves; metrics.json has the figures"
)


@dataclass(frozen=True)
class Wanted:
    """A dataset by name, the uid it must have (None: any), and every use that must be allowed."""

    namespace: str
    name: str
    uid: str | None
    uses: tuple[Use, ...]


class Reading:
    """The rule of reading, applied to callers of all kinds."""

    def __init__(self, cluster: Cluster, trainers: Trainers, results: OwnResults) -> None:
        self._cluster = cluster
        self._trainers = trainers
        self._results = results

    async def decide(self, caller: Caller, request: SessionRequest) -> Leave:
        """Raises AccessDenied, Undecided.

        The same reads are made whether the dataset is there or not, so that the time tells nothing either.
        """
        if caller.account == names.TRAINER_ACCOUNT:
            trainer = await self._trainers.reading(caller)
            if request.uid == trainer.task.metadata.uid:
                return Leave(request.uid, _own(entry_of_trainer(trainer), request.digest), Shelf.CHECKPOINT)
            who, wanted = entry_of_trainer(trainer), wanted_by(trainer, request)
            wish = wished_by(trainer, request)
        else:
            who = entry_of(caller).but(claimed_by=request.claimed_by)
            by_name = request.kind is ModelKind.SHARED_DATASET
            wanted = _wanted_by_person(caller, request) if by_name else None
            wish = None if by_name else wished_by_person(caller, request)
        if wish is not None:
            return await self._result(wish, who)
        if wanted is None:
            raise AccessDenied(Why.NOT_IN_TASK, who)
        return await self._dataset(caller, request, wanted, who)

    async def _result(self, wish: Wish, who: Entry) -> Leave:
        uid, digest = await self._results.find(wish, who)
        serves = serves_comparison if wish.compared else serves_others
        record = _own(who.but(purpose=f"{RESULT_OF}{wish.kind} {wish.name}"), digest)
        return Leave(uid, record, Shelf.RESULT, digest, serves)

    async def _dataset(self, caller: Caller, request: SessionRequest, wanted: Wanted, who: Entry) -> Leave:
        dataset, namespace_uid = await self._cluster.dataset_and_namespace(
            wanted.namespace, wanted.name, caller.namespace
        )
        record = who if dataset is None else who.but(**_facts(dataset, request.digest))
        if dataset is not None and wanted.uid not in (None, dataset.metadata.uid):
            raise AccessDenied(Why.DATASET_REPLACED, record)
        asker = Asker(caller.namespace, namespace_uid)
        for use in wanted.uses:
            answer = decide(asker, dataset, use, clock.now())
            record = record.but(use=use.value)
            if isinstance(answer, Denied) or dataset is None:
                raise AccessDenied(answer.why if isinstance(answer, Denied) else Why.NOT_FOUND, record)
            if answer.grant is not None:
                record = record.but(
                    grant=answer.grant.name, purpose=answer.grant.purpose, generation=dataset.metadata.generation
                )
        assert dataset is not None  # noqa: S101 uses are never empty; for the type checker
        reason = "Granted" if record.grant else "Own"
        record = record.but(event=OPENED, decision=Decision.ALLOWED, reason=reason, use=text_of_uses(wanted.uses))
        return Leave(dataset.metadata.uid, record)


def wanted_by(trainer: Trainer, request: SessionRequest) -> Wanted | None:
    """What the run document pins under that uid and digest, as long as the task's spec still names it; else None."""
    spec, training = trainer.task.spec, trainer.run.training
    uses: list[Use] = []
    place: tuple[str, str] | None = None
    for pinned in training.datasets:
        if (pinned.uid, pinned.digest) != (request.uid, request.digest):
            continue
        listed = next((entry for entry in spec.datasets if entry.name == pinned.name), None)
        if listed is None or pinned.role is not listed.role or listed.version not in (None, pinned.digest):
            return None
        place = listed.dataset_ref.namespace, listed.dataset_ref.name
        uses.append(USE_OF_ROLE[pinned.role])
    weights, source = training.initial_model, spec.model_from
    if weights is not None and (weights.uid, weights.digest) == (request.uid, request.digest):
        if source is None or source.kind is not ModelKind.SHARED_DATASET or source.digest not in (None, weights.digest):
            return None
        place = source.namespace, source.name
        uses.append(USE_OF_WEIGHTS)
    # Of several grants the record names that of the last use: learning weighs more than being tested on.
    ordered = sorted(dict.fromkeys(uses), key=lambda use: use is Use.TRAIN)
    return None if place is None else Wanted(*place, request.uid, tuple(ordered))


def _wanted_by_person(caller: Caller, request: SessionRequest) -> Wanted:
    if caller.account != names.READER_ACCOUNT:
        raise AccessDenied(Why.ACCOUNT_NOT_KNOWN, entry_of(caller))
    # Names that are missing lead to the same answer as names of nothing.
    return Wanted(request.namespace or "", request.name or "", request.uid, (Use.DOWNLOAD,))


def _own(who: Entry, digest: str | None) -> Entry:
    return who.but(event=OPENED, decision=Decision.ALLOWED, reason="Own", version=digest)


def _facts(dataset: SharedDataset, version: str | None) -> dict[str, str | None]:
    meta = dataset.metadata
    return {"owner": meta.namespace, "dataset": meta.name, "dataset_uid": meta.uid, "version": version}


class SessionRoutes:
    """POST /v1/sessions, GET .../files/{path}, DELETE."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        results = OwnResults(parts.cluster, parts.aliases, parts.knowledge)
        self._reading = Reading(parts.cluster, parts.trainers, results)

    async def open(self, request: Request) -> Response:
        started = time.monotonic()
        parts = self._parts
        caller = await parts.gate.caller(request)
        wish = await read_body(request, SessionRequest)
        leave = await self._reading.decide(caller, wish)
        parts.sessions.room_for(caller)
        held = await self._version(leave, wish.digest)
        await self._check_derivation(leave, held)
        record = leave.record.but(version=held.manifest.digest)
        await parts.journal.record(record)
        metrics.READS.labels(*metrics.pair(record), Decision.ALLOWED).inc()
        metrics.DECISION_SECONDS.observe(time.monotonic() - started)
        again = wish.model_copy(update={"digest": held.manifest.digest, "uid": leave.uid})

        async def confirm() -> None:
            await self._check_derivation(await self._reading.decide(caller, again), held)

        session = parts.sessions.open(caller, held, record, confirm, started)
        answer = protocol.Session(
            id=session.id, digest=session.digest, manifest=held.manifest, withheld=withhold(session, leave.serves)
        )
        return Response(answer.model_dump_json(by_alias=True), 201, media_type="application/json")

    async def _check_derivation(self, leave: Leave, held: Held) -> None:
        """Raises AccessDenied when the version is made of data whose owner has taken the leave for it back."""
        if leave.shelf is Shelf.VERSION:
            why = await self._parts.derivations.fault(leave.record.owner or "", held.manifest)
            if why is not None:
                raise AccessDenied(why, leave.record.but(version=held.manifest.digest))

    async def _version(self, leave: Leave, digest: str | None) -> Held:
        """The version that is asked for, or the current one. Raises Refused."""
        parts = self._parts
        if leave.shelf is Shelf.RESULT:
            digest = leave.digest
        elif leave.shelf is Shelf.CHECKPOINT:
            known = any(row.digest == digest for row in parts.custody.checkpoints(leave.uid))
            digest = digest if known else None
        elif digest is None:
            current = parts.knowledge.current(leave.uid)
            digest = None if current is None else current.digest
        held = None if digest is None else await parts.versions.find(leave.uid, digest)
        if held is None or (leave.shelf is Shelf.RESULT and held.manifest.format != "Result"):
            raise Refused(HTTPStatus.NOT_FOUND, "VersionMissing", leave.shelf.value)
        return held

    async def file(self, request: Request) -> Response:
        """A refusal that came meanwhile ends the session."""
        caller = await self._parts.gate.caller(request)
        session = self._parts.sessions.find(request.path_params["session"], caller)
        if session is None:
            raise session_over()
        await self._parts.sessions.current(session)
        return await send_file(request, session, request.path_params["path"], self._parts)

    async def close(self, request: Request) -> Response:
        caller = await self._parts.gate.caller(request)
        session = self._parts.sessions.find(request.path_params["session"], caller)
        if session is not None:
            await self._parts.sessions.end(session)
        return JSONResponse({"ok": True})


def withhold(session: Session, serves: Callable[[str], bool]) -> list[str]:
    """Takes from the session the files that it must not serve; their paths."""
    session.files = {path: file for path, file in session.files.items() if serves(path)}
    return [file.path for file in session.held.manifest.files if not serves(file.path)]


async def send_file(request: Request, session: Session, path: str, parts: Parts) -> Response:
    """A file of the session's manifest, found there by equality: the path itself never touches a disk.

    Or a link to it, which opens this one file for a minute; then nobody counts what is read."""
    entry = session.files.get(path)
    if entry is None and any(file.path == path for file in session.held.manifest.files):
        raise Refused(HTTPStatus.FORBIDDEN, "FileWithheld", WITHHELD)
    if entry is None:
        raise Refused(HTTPStatus.NOT_FOUND, "FileMissing", "the version has no file of that path; see its manifest")
    if parts.link_giver is not None:
        session.linked = True
        url = await asyncio.to_thread(parts.link_giver.read_url, session.held.storage, entry.sha256)
        return Response(status_code=HTTPStatus.TEMPORARY_REDIRECT, headers={"Location": url, "Cache-Control": NO_STORE})
    start, length = wanted_range(request, entry.bytes)
    source = await asyncio.to_thread(parts.store.open_blob, session.held.storage, entry.sha256)
    return BlobResponse(source, Part(start, length, entry.bytes), parts.sessions, session)
