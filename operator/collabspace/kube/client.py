"""The only way to the API server: HTTP over one aiohttp session with orjson; objects are dicts until parsed."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from aiohttp.abc import AbstractStreamWriter

from collabspace.kube.config import Access

Object = dict[str, Any]
Operations = list[Object]
REQUEST_SECONDS = 10.0
# A stream of 45 s that the server has not ended by then, and on which nothing came, is dead.
WATCH_SILENCE_SECONDS = 60.0
TOO_MANY_REQUESTS = 429
# Objects in a page of a list. Several lists are read at once, and parsed objects take far more room than their text.
PAGE = 200


class KubeError(Exception):
    """The API server said no, or could not be reached (status 0). `reason` is the Status object's.

    `retry_after`: seconds after which a server too busy to begin the request (429) asks to have it again.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later without any change."""
        return self.status in (0, TOO_MANY_REQUESTS) or self.status >= 500


class _PermittedBody(aiohttp.BytesPayload):
    """A body that asks once more when its bytes go out: a process may be frozen between any two steps before."""

    def __init__(self, body: bytes, permit: Callable[[], float], content_type: str) -> None:
        super().__init__(body, content_type=content_type)
        self._permit = permit

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._permit()
        await super().write_with_length(writer, content_length)


class KubeClient:
    """Requests by path, for example `/apis/batch/v1/namespaces/a/jobs`. Safe for concurrent use; close it when done.

    `observe` is told the verb and the status of every answer (0: none came), for metrics. `permit` is asked before each
    write, and again when its bytes are sent: it says for how many seconds writing is allowed, or raises KubeError.
    """

    def __init__(
        self,
        access: Access,
        connections: int = 32,
        observe: Callable[[str, int], None] | None = None,
        *,
        permit: Callable[[], float] | None = None,
        request_seconds: float = REQUEST_SECONDS,
        user_agent: str = "collabspace",
    ) -> None:
        self.access = access
        self._connections = connections
        self._observe = observe
        self._permit = permit
        self._request_seconds = request_seconds
        self.user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Object:
        return await self._request("GET", path, params=params)

    async def create(self, path: str, body: Object, params: Mapping[str, str] | None = None) -> Object:
        return await self._request("POST", path, body, params=params)

    async def replace(self, path: str, body: Object) -> Object:
        return await self._request("PUT", path, body)

    async def merge(self, path: str, body: Object) -> Object:
        """JSON merge patch: None removes a field; lists are replaced whole."""
        return await self._request("PATCH", path, body, content_type="application/merge-patch+json")

    async def patch(self, path: str, operations: Operations) -> Object:
        """JSON patch, RFC 6902."""
        return await self._request("PATCH", path, operations, content_type="application/json-patch+json")

    async def apply(self, path: str, body: Object, manager: str, *, dry_run: bool = False) -> Object:
        """Server-side apply, taking fields over from other managers."""
        params = {"fieldManager": manager, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        return await self._request("PATCH", path, body, params=params, content_type="application/apply-patch+yaml")

    async def delete(
        self,
        path: str,
        *,
        propagation: str = "Background",
        grace_seconds: int | None = None,
        preconditions: Mapping[str, str] | None = None,
    ) -> Object:
        """`preconditions`: uid or resourceVersion that the object must have, else it answers 409."""
        body: Object = {"propagationPolicy": propagation}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        if preconditions is not None:
            body["preconditions"] = dict(preconditions)
        return await self._request("DELETE", path, body)

    async def list(self, path: str, params: Mapping[str, str] | None = None) -> Object:
        """A whole list. `items` is complete; `metadata.resourceVersion` starts a watch."""
        items: list[Object] = []
        page: Object = {}
        async for page in self.pages(path, params):
            items.extend(page["items"])
        return {**page, "items": items}

    async def pages(self, path: str, params: Mapping[str, str] | None = None) -> AsyncIterator[Object]:
        """A whole list in pages of PAGE, all of one resourceVersion: for lists that are better not held at once."""
        page_params = {**(params or {}), "limit": str(PAGE)}
        while True:
            page = await self._request("GET", path, params=page_params)
            yield {**page, "items": page.get("items") or []}
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            page_params["continue"] = token

    async def watch(
        self,
        path: str,
        resource_version: str,
        params: Mapping[str, str] | None = None,
        timeout_seconds: int = 50,
    ) -> AsyncIterator[Object]:
        """Events `{"type","object"}` after `resource_version`, bookmarks included, until the server ends the stream.

        Raises KubeError: status 410 means list again; status 0 means the connection broke or fell silent.
        """
        query = {
            **(params or {}),
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=WATCH_SILENCE_SECONDS)
        try:
            async with self._open().get(
                self.access.server + path, params=query, headers=self._headers(), timeout=timeout
            ) as response:
                self._tell("WATCH", response.status)
                if response.status >= 400:
                    raise _error(response.status, await response.read())
                async for line in _lines(response.content):
                    event: Object = orjson.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise KubeError(
                            int(status.get("code") or 0),
                            status.get("reason") or "",
                            status.get("message") or "watch error",
                        )
                    yield event
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KubeError(0, "Unreachable", f"watch of {path} broke: {error!r}") from error

    async def stream(self, path: str, params: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        """Raw bytes of a long answer, such as a followed log."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS)
        try:
            async with self._open().get(
                self.access.server + path, params=params, headers=self._headers(), timeout=timeout
            ) as response:
                if response.status >= 400:
                    raise _error(response.status, await response.read())
                async for chunk in response.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KubeError(0, "Unreachable", f"stream of {path} broke: {error!r}") from error

    def _tell(self, verb: str, status: int) -> None:
        if self._observe is not None:
            self._observe(verb, status)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self.access.session(self._connections)
        return self._session

    def _headers(self) -> dict[str, str]:
        token = self.access.authorization()
        common = {"Accept": "application/json", "User-Agent": self.user_agent}
        return common | ({"Authorization": token} if token else {})

    async def _request(
        self,
        method: str,
        path: str,
        body: Object | Operations | None = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request; 429 with a Retry-After is a request that was not begun, and is put again while there is time."""
        deadline = asyncio.get_running_loop().time() + self._request_seconds
        while True:
            try:
                return await self._once(method, path, body, params, content_type)
            except KubeError as error:
                if error.retry_after is None or asyncio.get_running_loop().time() + error.retry_after > deadline:
                    raise
                await asyncio.sleep(error.retry_after)

    async def _once(
        self,
        method: str,
        path: str,
        body: Object | Operations | None,
        params: Mapping[str, str] | None,
        content_type: str,
    ) -> Object:
        seconds, data = self._request_seconds, None
        if body is not None:
            permit = self._permit or _always
            seconds = min(seconds, permit())
            data = _PermittedBody(orjson.dumps(body), permit, content_type)
        try:
            async with asyncio.timeout(seconds):
                async with self._open().request(
                    method, self.access.server + path, params=params, data=data, headers=self._headers()
                ) as response:
                    raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._tell(method, 0)
            raise KubeError(0, "Unreachable", f"{method} {path}: {error!r}") from error
        self._tell(method, response.status)
        if response.status >= 400:
            raise _error(response.status, raw, response.headers.get("Retry-After", ""))
        answer: Object = orjson.loads(raw)
        return answer


def _always() -> float:
    return math.inf


def _error(status: int, raw: bytes, retry_after: str = "") -> KubeError:
    wait = float(retry_after) if status == TOO_MANY_REQUESTS and retry_after.isdecimal() else None
    try:
        body = orjson.loads(raw)
        return KubeError(status, str(body.get("reason") or ""), str(body.get("message") or ""), wait)
    except (orjson.JSONDecodeError, AttributeError):
        return KubeError(status, "", raw[:200].decode(errors="replace"), wait)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; aiohttp's own reader refuses lines over its buffer, and an object may be 1.5 MB."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
