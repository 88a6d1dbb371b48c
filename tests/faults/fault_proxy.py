"""A man in the middle of a program and an HTTP server: passes all on, but for what rules say about single requests and
single watch events.

A fault is a coroutine function that is given the request and `forward`, which sends it on and brings the server's
reply. It returns a reply of its choice, or None: then the connection breaks without one.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from proxy_messages import BROKEN, Event, EventRule, Reply, Request, Rule, Stream, Taps

LIMIT = 1 << 20
# What belongs to one hop, and compression, which would hide what goes over the wire.
DROPPED = (b"accept-encoding:", b"connection:", b"keep-alive:")


class FaultProxy:
    """Listens on `url` (plain, or TLS with `serving`) and passes on to `server`. Lives on the loop that starts it.

    `mute`: connections are accepted and nothing is read (half open).
    """

    def __init__(self, server: str, upstream: ssl.SSLContext | None, serving: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(server)
        self._host, self._port = parts.hostname, parts.port
        self._upstream, self._serving = upstream, serving
        self.rules: list[Rule] = []
        self.event_rules: list[EventRule] = []
        self.taps = Taps()
        self.streams: set[Stream] = set()
        self.mute = False
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, ssl=self._serving, limit=LIMIT)
        scheme = "https" if self._serving is not None else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def clear(self) -> None:
        """No faults from now on."""
        self.rules.clear()
        self.event_rules.clear()
        self.mute = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await _Connection(self, reader, writer).serve()
        except asyncio.CancelledError:
            pass  # the proxy stops
        finally:
            self._tasks.discard(task)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port, ssl=self._upstream, limit=LIMIT)

    def rule_for(self, request: Request) -> Rule | None:
        for rule in self.rules:
            if (rule.times is None or rule.fired < rule.times) and rule.meant(request):
                rule.fired += 1
                return rule
        return None

    def event_rule_for(self, event: Event) -> EventRule | None:
        for rule in self.event_rules:
            if (rule.times is None or rule.fired < rule.times) and rule.meant(event):
                rule.fired += 1
                return rule
        return None


class _Connection:
    """One connection of the client's and, from its first request that is passed on, one to the server."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._down: asyncio.StreamReader | None = None
        self._up: asyncio.StreamWriter | None = None

    async def serve(self) -> None:
        try:
            while not self._proxy.mute:
                head = await self._reader.readuntil(b"\r\n\r\n")
                method, target = head.split(b" ", 2)[:2]
                body = await self._reader.readexactly(_length(head))
                if not await self._answer(Request(method.decode(), target.decode(), head, body, self._reader)):
                    return
            await self._reader.read()
        except BROKEN:
            pass  # either side may hang up at any time
        finally:
            for side in filter(None, (self._up, self._writer)):
                side.transport.abort()

    async def _answer(self, request: Request) -> bool:
        """Whether the connection goes on."""
        proxy = self._proxy
        for tap in proxy.taps.asked:
            tap(request)
        rule = proxy.rule_for(request)
        reply = await (rule.fault(request, lambda: self._forward(request)) if rule else self._forward(request))
        if reply is None:
            return False
        for listener in proxy.taps.replied:
            listener(request, reply)
        if reply.stream is not None:
            await self._stream(request, reply)
            return False
        head = b"HTTP/1.1 %d Proxied\r\n%sContent-Length: %d\r\n\r\n" % (reply.status, reply.headers, len(reply.body))
        if reply.cut is None and reply.pace is None:
            self._writer.write(head + reply.body)
            await self._writer.drain()
            return True
        return await self._send_badly(request, head, reply)

    async def _send_badly(self, request: Request, head: bytes, reply: Reply) -> bool:
        self._writer.write(head)
        body = reply.body if reply.cut is None else reply.body[: reply.cut]
        step = len(body) if reply.pace is None else max(1, int(reply.pace / 10))
        for start in range(0, len(body), step or 1):
            self._writer.write(body[start : start + step])
            await self._writer.drain()
            if reply.pace is not None:
                await asyncio.sleep(0.1)
        if reply.frozen:
            await request.hung_up()
        return reply.cut is None

    async def _forward(self, request: Request) -> Reply:
        if self._up is None or self._down is None:
            self._down, self._up = await self._proxy.connect()
        self._up.write(_cleaned(request.head) + request.body)
        await self._up.drain()
        head = await self._down.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        lowered = head.lower()
        kept = b"".join(
            line + b"\r\n"
            for line in head.split(b"\r\n")[1:-2]
            if not line.lower().startswith((b"content-length:", b"transfer-encoding:", b"connection:"))
        )
        if status in (204, 304) or request.method == "HEAD":
            return Reply(status, kept)
        if b"transfer-encoding: chunked" not in lowered:
            return Reply(status, kept, await self._down.readexactly(_length(head)))
        chunks = _chunks(self._down)
        if request.watch and status == 200:
            return Reply(status, kept, stream=chunks)
        return Reply(status, kept, b"".join([chunk async for chunk in chunks]))

    async def _stream(self, request: Request, reply: Reply) -> None:
        """A watch: each line of it is an event."""
        assert reply.stream is not None
        self._writer.write(
            b"HTTP/1.1 %d Proxied\r\n%sTransfer-Encoding: chunked\r\n\r\n" % (reply.status, reply.headers)
        )
        stream = Stream(request, self._writer)
        self._proxy.streams.add(stream)
        pending = b""
        left = asyncio.create_task(self._leave_with(request))
        try:
            async for chunk in reply.stream:
                lines = (pending + chunk).split(b"\n")
                pending = lines.pop()
                for line in lines:
                    await self._event(stream, Event(line + b"\n", stream.listing))
                if stream.over:
                    return
                await self._writer.drain()
            stream.end()
        finally:
            left.cancel()
            stream.over = True
            self._proxy.streams.discard(stream)

    async def _leave_with(self, request: Request) -> None:
        """A client that was killed is not streamed to until the server ends the stream."""
        await request.hung_up()
        if self._up is not None:
            self._up.transport.abort()

    async def _event(self, stream: Stream, event: Event) -> None:
        for tap in self._proxy.taps.came:
            tap(event)
        rule = self._proxy.event_rule_for(event) if self._proxy.event_rules else None
        if stream.over:
            return
        for line in [event.raw] if rule is None else await rule.fault(stream, event):
            stream.emit(line)
        if rule is None:
            for line in stream.held:
                stream.emit(line)
            stream.held.clear()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)


def _cleaned(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    return b"\r\n".join([lines[0], *(line for line in lines[1:] if not line.lower().startswith(DROPPED))])


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0
