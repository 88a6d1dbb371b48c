"""The faults themselves: what becomes of a request, its reply or a watch event, as rules of a FaultProxy take them."""

import asyncio
from collections.abc import Callable

import orjson
from proxy_messages import Event, EventFault, Fault, Forward, Reply, Request, Stream

REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
JSON = b"Content-Type: application/json\r\n"


def latency(seconds: float) -> Fault:
    async def fault(_request: Request, forward: Forward) -> Reply:
        await asyncio.sleep(seconds)
        return await forward()

    return fault


async def reset(_request: Request, _forward: Forward) -> None:
    """The request does not go through, and the connection breaks."""


async def black_hole(request: Request, _forward: Forward) -> None:
    """The request does not go through, and no answer ever comes."""
    await request.hung_up()


async def lost_reply(_request: Request, forward: Forward) -> None:
    """The request goes through, its reply does not come back."""
    await forward()


def answer(status: int, retry_after: int | None = None, reason: str | None = None) -> Fault:
    """The request does not go through; the server seems to answer so."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "of the test",
        "reason": reason or REASONS[status],
        "code": status,
    }
    more = b"Retry-After: %d\r\n" % retry_after if retry_after is not None else b""

    async def fault(_request: Request, _forward: Forward) -> Reply:
        return Reply(status, JSON + more, orjson.dumps(body))

    return fault


def cut_short(share: float = 0.5, *, frozen: bool = False) -> Fault:
    """Only this share of the reply's body comes, then the connection breaks, or stays open in silence (`frozen`)."""

    async def fault(_request: Request, forward: Forward) -> Reply:
        reply = await forward()
        reply.cut, reply.frozen = int(len(reply.body) * share), frozen
        return reply

    return fault


def slowly(bytes_per_second: float) -> Fault:
    async def fault(_request: Request, forward: Forward) -> Reply:
        reply = await forward()
        reply.pace = bytes_per_second
        return reply

    return fault


def instead(body: Callable[[], bytes]) -> Fault:
    """The request does not go through; this is the answer, such as a list of before."""

    async def fault(_request: Request, _forward: Forward) -> Reply:
        return Reply(200, JSON, body())

    return fault


def strike(kill: Callable[[], object], *, after: bool) -> Fault:
    """The client is ended: before the request goes on, or when its reply has come and was not passed on."""

    async def fault(_request: Request, forward: Forward) -> None:
        if after:
            await forward()
        kill()

    return fault


def hidden(seconds: float) -> EventFault:
    """Dropped; what came of it is seen when, after so long, the server asks to list anew."""

    async def fault(stream: Stream, _event: Event) -> list[bytes]:
        asyncio.get_running_loop().call_later(seconds, lambda: stream.end(gone=True))
        return []

    return fault


async def duplicated(_stream: Stream, event: Event) -> list[bytes]:
    return [event.raw, event.raw]


def delayed(seconds: float) -> EventFault:
    """It comes late, and all that follows on the stream behind it."""

    async def fault(_stream: Stream, event: Event) -> list[bytes]:
        await asyncio.sleep(seconds)
        return [event.raw]

    return fault


def reordered(seconds: float) -> EventFault:
    """It comes behind the next one, or after so long when there is none."""

    async def fault(stream: Stream, event: Event) -> list[bytes]:
        stream.held.append(event.raw)

        def release() -> None:
            if event.raw in stream.held:
                stream.held.remove(event.raw)
                stream.emit(event.raw)

        asyncio.get_running_loop().call_later(seconds, release)
        return []

    return fault


def followed_by(older: Callable[[Event], list[bytes]]) -> EventFault:
    """Behind it come older events once more."""

    async def fault(_stream: Stream, event: Event) -> list[bytes]:
        return [event.raw, *older(event)]

    return fault


async def truncated(stream: Stream, event: Event) -> list[bytes]:
    """Half of its JSON comes, then the connection breaks."""
    stream.emit(event.raw[: len(event.raw) // 2])
    stream.cut()
    return []
