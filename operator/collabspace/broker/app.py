"""The broker as an HTTP application: its parts put together, its answers to what goes wrong, its life."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from collabspace.broker import metrics
from collabspace.broker.admin import AdminRoutes
from collabspace.broker.alias_routes import AliasRoutes
from collabspace.broker.checkpoints import CheckpointRoutes
from collabspace.broker.following import Following
from collabspace.broker.identity import AccessDenied
from collabspace.broker.offers import OfferRoutes
from collabspace.broker.outcomes import AttemptRoutes, ResultRoutes
from collabspace.broker.parts import Parts
from collabspace.broker.publishing import UploadRoutes
from collabspace.broker.reading import SessionRoutes
from collabspace.broker.records import RecordRoutes
from collabspace.broker.refusal import ACCESS_REFUSED, ACCESS_REFUSED_MESSAGE, Refused, Undecided
from collabspace.broker.sweeper import Sweeper
from collabspace.client.protocol import Decision, Refusal
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
REFUSAL_STEP_SECONDS = 0.05
UPKEEP_SECONDS = 15.0
Endpoint = Callable[[Request], Awaitable[Response]]


def build(parts: Parts) -> Starlette:
    """The application over parts that are ready to start."""

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        chores: list[asyncio.Task[None]] = []
        try:
            await parts.start()
            works = (_keep_up(parts), Sweeper(parts).run(), Following(parts).run())
            chores += [asyncio.create_task(work) for work in works]
            yield
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
            await parts.close()

    async def live(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def ready(request: Request) -> Response:
        await parts.journal.ping()
        return PlainTextResponse(parts.health if "verbose" in request.query_params else "ok")

    async def denied(request: Request, error: Exception) -> Response:
        return await _denied(parts, request, error)

    routes = [Route("/livez", live), Route("/readyz", ready), *_routes(parts)]
    return Starlette(
        routes=[_own_method(route) for route in routes],
        lifespan=life,
        exception_handlers={
            AccessDenied: denied,
            Refused: _refused,
            HTTPException: _no_route,
            ClientDisconnect: _gone,
            OSError: _store_failed,
            Exception: _broken,
        },
    )


def _routes(parts: Parts) -> list[Route]:
    sessions, uploads, attempts = SessionRoutes(parts), UploadRoutes(parts), AttemptRoutes(parts)
    results, checkpoints, admin = ResultRoutes(parts), CheckpointRoutes(parts), AdminRoutes(parts)
    aliases = AliasRoutes(parts)
    records = RecordRoutes(parts.gate, parts.cluster, parts.journal, parts.knowledge)
    offers = OfferRoutes(parts.gate, parts.cluster, parts.knowledge)
    upload = "/v1/uploads/{upload}"
    result = "/v1/results/{namespace}/{task}"
    return [
        Route("/v1/sessions", sessions.open, methods=["POST"]),
        Route("/v1/sessions/{session}/files/{path:path}", sessions.file, methods=["GET"]),
        Route("/v1/sessions/{session}", sessions.close, methods=["DELETE"]),
        Route("/v1/uploads", uploads.begin, methods=["POST"]),
        Route(upload + "/blobs/{sha256}", uploads.offset, methods=["GET"]),
        Route(upload + "/blobs/{sha256}", uploads.put, methods=["PUT"]),
        Route(upload + "/commit", uploads.commit, methods=["POST"]),
        Route("/v1/attempts/{task_uid}/{attempt}/progress", attempts.progress, methods=["PUT"]),
        Route("/v1/attempts/{task_uid}/{attempt}/end", attempts.end, methods=["PUT"]),
        Route("/v1/checkpoints/{task_uid}/{identity}", checkpoints.list, methods=["GET"]),
        Route(result, results.manifest, methods=["GET"]),
        Route(result + "/files/{path:path}", results.file, methods=["GET"]),
        Route("/v1/progress/{namespace}/{task}", results.progress, methods=["GET"]),
        Route("/v1/feed", records.feed, methods=["GET"]),
        Route("/v1/usage/{task_uid}/{attempt}", records.usage, methods=["PUT"]),
        Route("/v1/ledger", records.page, methods=["GET"]),
        Route("/v1/ledger/verify", records.verify, methods=["GET"]),
        Route("/v1/aliases/{namespace}", aliases.list, methods=["GET"]),
        Route("/v1/aliases/{namespace}/{alias:path}", aliases.put, methods=["PUT"]),
        Route("/v1/datasets/{namespace}", offers.list, methods=["GET"]),
        Route("/v1/admin/rebind", admin.rebind, methods=["POST"]),
    ]


def _own_method(route: Route) -> Route:
    """GET does not bring HEAD along: a HEAD would walk through a whole file to send none of it."""
    if route.methods is not None:
        route.methods.discard("HEAD")
    return route


async def _denied(parts: Parts, request: Request, error: Exception) -> Response:
    """The one answer to all that is missing, forbidden or not believed: on record first, and at an even time."""
    assert isinstance(error, AccessDenied)  # noqa: S101 Starlette's handlers are typed for any exception
    metrics.READS.labels(*metrics.pair(error.entry), Decision.DENIED).inc()
    request.state.reason = error.why.value
    try:
        await parts.journal.deny(error.entry)
    except Refused as undecided:
        return await _refused(request, undecided)
    # How long the answer took must not tell what was looked up and what was not.
    elapsed = time.monotonic() - request.state.started
    await asyncio.sleep(REFUSAL_STEP_SECONDS - elapsed % REFUSAL_STEP_SECONDS)
    return _refusal(HTTPStatus.FORBIDDEN, ACCESS_REFUSED, ACCESS_REFUSED_MESSAGE)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 as above
    request.state.reason = error.reason
    cause = error.__cause__
    if isinstance(cause, Exception):
        request.state.cause = f"{type(cause).__name__} {getattr(cause, 'status', '')}".strip()
    response = _refusal(error.status, error.reason, error.message)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


async def _store_failed(request: Request, error: Exception) -> Response:
    """A store that cannot be used says nothing of what it holds; a blob that is lost is our fault, and stays lost."""
    if isinstance(error, FileNotFoundError):
        request.state.reason, request.state.cause = "BlobLost", type(error).__name__
        return await _broken(request, error)
    undecided = Undecided("StoreUnavailable", "the store cannot be used now; try again soon")
    undecided.__cause__ = error
    return await _refused(request, undecided)


async def _no_route(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    return _refusal(status, "NoSuchCall", "the broker has no such call; client and broker may differ in release")


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _broken(_: Request, __: Exception) -> Response:
    return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "BrokerError", "the broker failed; its log says where. Try again")


def _refusal(status: int, reason: str, message: str) -> Response:
    body = Refusal(reason=reason, message=message).model_dump_json()
    # What is left of a request's body is not waited for.
    headers = {"Connection": "close"} if status >= 400 else {}
    return Response(body, status, headers, media_type="application/json")


async def _keep_up(parts: Parts) -> None:
    """Ends what nobody uses, and writes the counts of floods that are over."""
    while True:
        await asyncio.sleep(UPKEEP_SECONDS)
        try:
            await parts.keep_up()
        except (Refused, OSError) as error:
            say(logger, "upkeep-postponed", logging.WARNING, reason=getattr(error, "reason", type(error).__name__))
