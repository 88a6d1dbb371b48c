"""The node's own door for `kubectl logs`: TLS, and only for clients with a certificate of one given authority.

That authority must sign nothing but the API server's credential for its nodes: who may read which log is decided there.
"""

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from collabspace.kube import clock
from collabspace.local.node.logs import LogOptionError, LogOptions, stream


@dataclass(frozen=True)
class LogSource:
    """The log of one run; `ended` says whether its process is over."""

    log: Path
    ended: Callable[[], bool]


class LogMissingError(Exception):
    """There is no such log; the message says why."""


# (namespace, pod, container, previous) -> source; raises LogMissingError.
LogFinder = Callable[[str, str, str, bool], LogSource]


class LogServer:
    """Serves `/containerLogs/...` and `/healthz` on loopback until closed."""

    def __init__(self, find: LogFinder) -> None:
        self._find = find
        self._runner: web.AppRunner | None = None

    async def start(self, port: int, context: ssl.SSLContext) -> int:
        """Listens on the port, or a free one for 0, and returns it."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/containerLogs/{namespace}/{pod}/{container}", self._logs),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=context, shutdown_timeout=1)
        await site.start()
        address: tuple[str, int] = self._runner.addresses[0]
        return address[1]

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        try:
            options = LogOptions.parse(dict(request.query), clock.now())
            place = request.match_info
            source = self._find(place["namespace"], place["pod"], place["container"], options.previous)
        except (LogOptionError, LogMissingError) as error:
            # 400 is the only refusal whose text the API server hands on to the reader.
            raise web.HTTPBadRequest(text=str(error)) from error
        return await _send(request, stream(source.log, options, source.ended))


def tls_context(certificate: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """Server side of TLS that takes only clients with a certificate of the given authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client_ca))
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def _send(request: web.Request, chunks: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    with contextlib.suppress(ConnectionResetError):  # the reader has left; nothing is owed to it
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
    return response
