"""What attempts report about themselves, and what people of the task's namespace may see of it."""

import time
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from collabspace.api import names
from collabspace.api.run import EndRecord, Progress
from collabspace.api.task import CollabTask
from collabspace.broker.access import Why
from collabspace.broker.gate import invalid, read_body
from collabspace.broker.identity import AccessDenied, entry_of
from collabspace.broker.ledger import OPENED, AttemptRow
from collabspace.broker.own_results import serves_others
from collabspace.broker.parts import Parts
from collabspace.broker.reading import send_file, withhold
from collabspace.broker.refusal import Refused
from collabspace.broker.sessions import Session
from collabspace.broker.tokens import Caller
from collabspace.client.protocol import AttemptFeed, Decision

MAX_ATTEMPT_DIGITS = 9


class AttemptRoutes:
    """PUT /v1/attempts/{task uid}/{n}/progress and /end, by the newest attempt's own pod."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def progress(self, request: Request) -> Response:
        task_uid, attempt = task_and_attempt(request)
        caller = await self._parts.gate.caller(request, names.TRAINER_ACCOUNT)
        progress = await read_body(request, Progress)
        await self._parts.trainers.writing(caller, task_uid, attempt)
        self._parts.knowledge.attempt(task_uid, attempt, progress=progress)
        told = AttemptFeed(task_uid=task_uid, attempt=attempt, progress=progress)
        await self._parts.journal.tell(task_uid, told.model_dump_json(by_alias=True))
        return JSONResponse({"ok": True})

    async def end(self, request: Request) -> Response:
        task_uid, attempt = task_and_attempt(request)
        caller = await self._parts.gate.caller(request, names.TRAINER_ACCOUNT)
        said = await read_body(request, EndRecord)
        trainer = await self._parts.trainers.writing(caller, task_uid, attempt)
        known = self._parts.knowledge.attempt_of(task_uid, attempt)
        if known is not None and known.end is not None:
            _check_first(known.end, said)
            return JSONResponse({"ok": True})
        row = AttemptRow(
            task_uid, attempt, caller.namespace, trainer.task.metadata.name, end=said.model_dump_json(by_alias=True)
        )
        kept = await self._parts.journal.run(lambda: self._parts.journal.ledger.keep_attempt(row))
        end = EndRecord.model_validate_json(kept.end or "")
        self._parts.knowledge.attempt(task_uid, attempt, end=end)
        _check_first(end, said)
        return JSONResponse({"ok": True})


class ResultRoutes:
    """GET /v1/results/{namespace}/{task}, .../files/{path} and /v1/progress/..., by readers of that namespace."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def progress(self, request: Request) -> Response:
        caller = await self._parts.gate.caller(request, names.READER_ACCOUNT)
        task = await self._task(request, caller)
        attempts = self._parts.knowledge.attempts_of(task.metadata.uid)
        if not attempts:
            raise Refused(HTTPStatus.NOT_FOUND, "NoProgress", "no attempt of this task has reported yet")
        return Response(attempts[0].model_dump_json(by_alias=True), media_type="application/json")

    async def manifest(self, request: Request) -> Response:
        session = await self._session(request)
        return Response(session.held.manifest.model_dump_json(by_alias=True), media_type="application/json")

    async def file(self, request: Request) -> Response:
        session = await self._session(request)
        return await send_file(request, session, request.path_params["path"], self._parts)

    async def _session(self, request: Request) -> Session:
        """Leave to read the task's newest result: on record once, then files ride on it like on a dataset's session."""
        started, parts = time.monotonic(), self._parts
        caller = await parts.gate.caller(request, names.READER_ACCOUNT)
        task = await self._task(request, caller)
        uid = task.metadata.uid
        digest = self._newest(uid)
        riding = None if digest is None else parts.sessions.riding(caller, uid, digest)
        if riding is not None:
            riding.decided = started
            return riding
        held = None if digest is None else await parts.versions.find(uid, digest)
        if held is None:
            raise Refused(HTTPStatus.NOT_FOUND, "ResultMissing", "no attempt of this task has stored a result yet")
        parts.sessions.room_for(caller)
        record = entry_of(caller).but(
            event=OPENED,
            decision=Decision.ALLOWED,
            reason="Own",
            task=task.metadata.name,
            task_uid=uid,
            version=digest,
        )
        await parts.journal.record(record)

        async def confirm() -> None:
            if (await self._task(request, caller)).metadata.uid != uid:
                raise AccessDenied(Why.NOT_FOUND, record)

        session = parts.sessions.open(caller, held, record, confirm, started)
        withhold(session, serves_others)
        return session

    def _newest(self, task_uid: str) -> str | None:
        """Digest of the result of the newest attempt that has one."""
        results = (attempt.result for attempt in self._parts.knowledge.attempts_of(task_uid))
        return next((result.digest for result in results if result is not None), None)

    async def _task(self, request: Request, caller: Caller) -> CollabTask:
        """The task as it is now. Another namespace's task and one that does not exist get the same answer."""
        namespace, name = request.path_params["namespace"], request.path_params["task"]
        if caller.namespace != namespace:
            raise AccessDenied(Why.NOT_OWN_NAMESPACE, entry_of(caller))
        task = await self._parts.cluster.task(namespace, name)
        if task is None:
            raise AccessDenied(Why.NOT_FOUND, entry_of(caller))
        await self._parts.custody.turns.refresh(task.metadata.uid)
        return task


def _check_first(first: EndRecord, said: EndRecord) -> None:
    """Raises Refused when the attempt has ended with other words, which another broker may have heard."""
    if first != said:
        raise Refused(HTTPStatus.CONFLICT, "AlreadyEnded", "this attempt has ended already with another record")


def task_and_attempt(request: Request) -> tuple[str, int]:
    """The two path parameters. Raises Refused."""
    number = request.path_params["attempt"]
    if not (number.isascii() and number.isdecimal() and len(number) <= MAX_ATTEMPT_DIGITS and int(number) >= 1):
        raise invalid("attempt: must be a whole number from 1 on")
    return request.path_params["task_uid"], int(number)
