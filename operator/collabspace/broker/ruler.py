"""Around the application: when a request began and how it ended, counted and logged by route, never by its content."""

import logging
import time
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from collabspace.broker import metrics
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
QUIET = frozenset({"/livez", "/readyz", "/metrics"})


class Ruler:
    """An ASGI application around another one."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._paths = {route.endpoint: route.path for route in app.routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        state = scope.setdefault("state", {})
        state["started"] = started
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = self._paths.get(scope["endpoint"], "none") if "endpoint" in scope else "none"
            metrics.REQUESTS.labels(route, str(status)).inc()
            if route not in QUIET:
                say(
                    logger,
                    "request",
                    method=scope["method"] if route != "none" else "-",
                    route=route,
                    status=status,
                    milliseconds=round(1000 * (time.monotonic() - started), 1),
                    namespace=state.get("namespace"),
                    account=state.get("account"),
                    reason=state.get("reason"),
                    cause=state.get("cause"),
                )
