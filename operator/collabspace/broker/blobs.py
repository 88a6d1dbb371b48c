"""Bytes on their way out: a file of a session or a part of it, every byte counted as it goes to the connection."""

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from collabspace.broker import metrics
from collabspace.broker.refusal import Refused, session_over
from collabspace.broker.sessions import Session, Sessions

CHUNK_BYTES = 1 << 20
STALL_SECONDS = 60.0
RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


@dataclass(frozen=True)
class Part:
    """`length` bytes from `start` of a file of `size` bytes."""

    start: int
    length: int
    size: int


class BlobResponse(Response):
    """Sends a part of `source` and closes it. The session counts what went out, and may cut it at any moment.

    A stream that ends early breaks the connection, so that the reader takes no part for the whole.
    """

    def __init__(self, source: BinaryIO, part: Part, sessions: Sessions, session: Session) -> None:
        partial = part.length != part.size
        super().__init__(
            status_code=HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK, media_type="application/octet-stream"
        )
        self.headers["content-length"] = str(part.length)
        self.headers["accept-ranges"] = "bytes"
        if partial:
            self.headers["content-range"] = f"bytes {part.start}-{part.start + part.length - 1}/{part.size}"
        self._source = source
        self._part = part
        self._sessions = sessions
        self._session = session
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_departure(receive))
        stream = asyncio.create_task(self._send_all(send, gone))
        try:
            with self._sessions.streaming(self._session, stream):
                await asyncio.wait({stream, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stream, gone):
                task.cancel()
            ended, _ = await asyncio.gather(stream, gone, return_exceptions=True)
            # Closing waits for a read that is under way, and one from a store far away may take its time.
            await asyncio.to_thread(self._source.close)
        if ended is not None:
            self._broke(scope, ended)

    def _broke(self, scope: Scope, cause: BaseException) -> None:
        """An answer that has begun can only be broken off; before that the failure has an answer of its own."""
        cut = isinstance(cause, asyncio.CancelledError)
        if not self._started:
            raise session_over() if cut else cause
        scope["state"]["reason"] = "StreamCut" if cut else "StreamBroken"
        scope["state"]["cause"] = type(cause).__name__

    async def _send_all(self, send: Send, gone: asyncio.Task[None]) -> None:
        left = self._part.length
        await asyncio.to_thread(self._source.seek, self._part.start)
        while left or not self._started:
            chunk = await asyncio.to_thread(self._source.read, min(CHUNK_BYTES, left))
            if left and not chunk:
                raise OSError("blob is shorter than its manifest says")
            if not self._started:
                self._started = True
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            left -= len(chunk)
            # A reader that takes nothing for a minute holds the stream for nobody.
            async with asyncio.timeout(STALL_SECONDS):
                await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
            if gone.done():
                return
            self._session.note_sent(len(chunk))
            metrics.BYTES.labels(*metrics.pair(self._session.entry), metrics.SENT).inc(len(chunk))


async def _departure(receive: Receive) -> None:
    """Returns once the client has left: the server's `send` does not say so."""
    while (await receive())["type"] != "http.disconnect":
        continue


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
