"""The broker from its first second: probes are answered at once, all else as soon as what the settings name is there.

Until then one line says what is missing, and it is tried again: a broker that ended would only be started anew.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from collabspace.broker.app import build
from collabspace.broker.certificate import Certificate
from collabspace.broker.custody import all_owners
from collabspace.broker.ledger import Ledger, LedgerUnavailableError
from collabspace.broker.opening import VARIABLE, open_store
from collabspace.broker.parts import Parts
from collabspace.broker.refusal import Refused
from collabspace.broker.ruler import Ruler
from collabspace.broker.settings import PREFIX, BrokerSettings, NotYetError
from collabspace.client.protocol import Refusal
from collabspace.kube.client import KubeClient
from collabspace.kube.config import Access
from collabspace.kube.logs import say
from collabspace.kube.watch import Backoff

T = TypeVar("T")
logger = logging.getLogger(__name__)
# With their jitter never more than half a minute.
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 23.0)
RETRY_AFTER_SECONDS = 5
MAX_LINE = 600
THREADS = 64
# A 405 would be taken for an answer.
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def open_parts(settings: BrokerSettings, access: Access) -> Parts:
    """Ledger and store as the settings name them. Blocks. Raises SettingsError."""
    try:
        ledger = Ledger(settings.broker_ledger, password_file=settings.broker_ledger_password_file)
    except LedgerUnavailableError as error:
        raise NotYetError(_ledger_away(settings, error)) from error
    try:
        opened = open_store(settings, len(all_owners(ledger)))
    except BaseException:
        ledger.close()
        raise
    kube = KubeClient(access, user_agent=f"collabspace-broker/{version('collabspace')}")
    return Parts(settings, kube, ledger, opened.store, opened.enforcement)


class Startup:
    """An ASGI application. `failed` is called when something went wrong that no waiting helps."""

    def __init__(self, settings: BrokerSettings, access: Access, failed: Callable[[], None]) -> None:
        self.certificate = Certificate(settings.broker_tls_cert, settings.broker_tls_key)
        # Usually it is there, and then nobody ever sees the one that stands in.
        with contextlib.suppress(NotYetError):
            self.certificate.read()
        self._settings = settings
        self._access = access
        self._failed = failed
        self._problem = "starting"
        self._open: ASGIApp | None = None
        self._waiting = Starlette(
            lifespan=self._life,
            routes=[
                Route("/livez", _live),
                Route("/readyz", self._not_ready),
                Route("/{path:path}", _come_back, methods=METHODS),
            ],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._waiting if self._open is None or scope["type"] == "lifespan" else self._open
        await app(scope, receive, send)

    @asynccontextmanager
    async def _life(self, _: Starlette) -> AsyncIterator[None]:
        # A store that is slow holds threads, and must not hold those of everything else.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "broker"))
        works = [asyncio.create_task(work) for work in (self._serve(), self.certificate.follow())]
        works[0].add_done_callback(self._ended)
        try:
            yield
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            logger.critical("the broker failed while it started", exc_info=task.exception())
            self._failed()

    async def _serve(self) -> None:
        """Tries until the broker is open, then keeps it so until cancelled."""
        pauses = Backoff(PAUSES)
        while True:
            try:
                await _in_thread(self.certificate.read)
                parts = await _in_thread(lambda: open_parts(self._settings, self._access))
                app = build(parts)
                async with app.router.lifespan_context(app):
                    self._open = Ruler(app)
                    await asyncio.Event().wait()
            except (NotYetError, LedgerUnavailableError, Refused, OSError) as error:
                self._problem = self._line(error)
            pause = pauses.next()
            say(logger, "not-ready", logging.WARNING, problem=self._problem, again_in_seconds=round(pause))
            await asyncio.sleep(pause)

    def _line(self, error: Exception) -> str:
        if isinstance(error, LedgerUnavailableError):
            return _ledger_away(self._settings, error)
        if isinstance(error, NotYetError):
            return " ".join(str(error).split())[:MAX_LINE]
        if isinstance(error, Refused):
            return f"{error.reason}: {error.message}"
        return f"{VARIABLE}: the store cannot be used ({type(error).__name__}: {error})"[:MAX_LINE]

    async def _not_ready(self, _: Request) -> Response:
        return PlainTextResponse(self._problem, HTTPStatus.SERVICE_UNAVAILABLE)


def _ledger_away(settings: BrokerSettings, error: LedgerUnavailableError) -> str:
    """With libpq's own words, which say whether it is the host, the database or the password."""
    files = "its folder must be there and writable"
    if not settings.broker_ledger.startswith("sqlite"):
        files = f"correct it, or the password in {PREFIX}BROKER_LEDGER_PASSWORD_FILE, or see to the database"
    why = " ".join(str(error).split())
    return f"{PREFIX}BROKER_LEDGER: the ledger cannot be opened or written ({why[: MAX_LINE - 200]}); {files}"


async def _live(_: Request) -> Response:
    return PlainTextResponse("ok")


async def _come_back(_: Request) -> Response:
    body = Refusal(
        reason="NotReady", message="the broker is not ready; its /readyz says what it lacks"
    ).model_dump_json()
    headers = {"Connection": "close", "Retry-After": str(RETRY_AFTER_SECONDS)}
    return Response(body, HTTPStatus.SERVICE_UNAVAILABLE, headers, media_type="application/json")


async def _in_thread(work: Callable[[], T]) -> T:
    """What `work` returns. Nobody waits for the thread when the broker ends: a database that is away takes its time."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # it is raised where it is waited for
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=run, name="opening", daemon=True).start()
    return await done
