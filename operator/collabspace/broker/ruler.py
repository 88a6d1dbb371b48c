"""Around the application: when a request began and how it ended, counted and logged by route, never by its content.

Every refusal is counted, but a flood of them is no flood of lines: a line says how many before it were `unlogged`.
"""

import logging
import time
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from collabspace.broker import metrics
from collabspace.broker.limits import RateLimiter
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
QUIET = frozenset({"/livez", "/readyz"})
# Of one namespace, and of all callers whose token says nothing.
REFUSALS_PER_SECOND = 5.0
REFUSALS_AT_ONCE = 100


class Ruler:
    """An ASGI application around another one."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._lines = RateLimiter(REFUSALS_PER_SECOND, REFUSALS_AT_ONCE)
        self._unlogged: dict[str, int] = {}
        self._paths = {route.endpoint: route.path for route in app.routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["started"] = time.monotonic()
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = self._paths.get(scope["endpoint"], metrics.NONE) if "endpoint" in scope else metrics.NONE
            metrics.REQUESTS.labels(route, str(status)).inc()
            if route not in QUIET and self._may_log(status, state.get("namespace") or ""):
                self._log(scope["method"] if route != metrics.NONE else "-", route, status, state)

    def _may_log(self, status: int, namespace: str) -> bool:
        if status < HTTPStatus.BAD_REQUEST or self._lines.take(namespace, time.monotonic()):
            return True
        self._unlogged[namespace] = self._unlogged.get(namespace, 0) + 1
        return False

    def _log(self, method: str, route: str, status: int, state: dict[str, Any]) -> None:
        unlogged = self._unlogged.pop(state.get("namespace") or "", None)
        say(
            logger,
            "request",
            method=method,
            route=route,
            status=status,
            milliseconds=round(1000 * (time.monotonic() - state["started"]), 1),
            namespace=state.get("namespace"),
            account=state.get("account"),
            reason=state.get("reason"),
            cause=state.get("cause"),
            **({} if unlogged is None else {"unlogged": unlogged}),
        )
