"""Bytes on their way out: a file of a session or a part of it, every byte counted as it goes to the connection."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from collabspace.broker import metrics
from collabspace.broker.refusal import Refused

CHUNK_BYTES = 1 << 20
STALL_SECONDS = 60.0
RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


class BlobResponse(Response):
    """Sends `length` bytes of `source` from `start` on and closes it. `sent` hears of every portion that went out."""

    def __init__(self, source: BinaryIO, start: int, length: int, size: int, sent: Callable[[int], None]) -> None:
        partial = length != size
        super().__init__(
            status_code=HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK, media_type="application/octet-stream"
        )
        self.headers["content-length"] = str(length)
        self.headers["accept-ranges"] = "bytes"
        if partial:
            self.headers["content-range"] = f"bytes {start}-{start + length - 1}/{size}"
        self._source = source
        self._start = start
        self._length = length
        self._sent = sent

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        async with _departure(receive) as gone:
            try:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await asyncio.to_thread(self._source.seek, self._start)
                await self._send_all(send, gone)
            finally:
                self._source.close()

    async def _send_all(self, send: Send, gone: asyncio.Task[None]) -> None:
        left = self._length
        if left == 0:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        while left and not gone.done():
            chunk = await asyncio.to_thread(self._source.read, min(CHUNK_BYTES, left))
            if not chunk:
                raise OSError("blob is shorter than its manifest says")
            left -= len(chunk)
            # A reader that takes nothing for a minute holds the stream for nobody.
            async with asyncio.timeout(STALL_SECONDS):
                await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
            if not gone.done():
                self._sent(len(chunk))
                metrics.BYTES.labels(metrics.SENT).inc(len(chunk))


@asynccontextmanager
async def _departure(receive: Receive) -> AsyncIterator[asyncio.Task[None]]:
    """A task that is done once the client has left: the server's `send` does not say so."""

    async def wait() -> None:
        while (await receive())["type"] != "http.disconnect":
            continue

    task = asyncio.create_task(wait())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def wanted_range(request: Request, size: int) -> tuple[int, int]:
    """Start and length asked for by `Range`; all of it without one, or with one of several parts. May raise Refused."""
    header = request.headers.get("range", "")
    match = RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if first == "":
        length = min(int(last), size)
        start = size - length
    else:
        start = int(first)
        length = min(int(last) if last else size - 1, size - 1) - start + 1
    if length <= 0:
        raise Refused(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "RangeNotSatisfiable", f"Range: the file has {size} bytes"
        )
    return start, length
