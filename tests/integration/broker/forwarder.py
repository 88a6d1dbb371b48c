"""A connection that can break: TCP passed on byte by byte, with something that happens after so many of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

PORTION = 1 << 16


@dataclass
class Forwarder:
    """Listens on `port` and passes on to `target`, another port of this machine, while `open` is true.

    `when(bytes, hook)`: the hook is called once, in a thread, when so many bytes went through in both directions.
    """

    target: int
    port: int = 0
    open: bool = True
    passed: int = 0
    refused: int = 0
    _hook: Callable[[], None] | None = None
    _limit: int = 0
    _links: set[asyncio.Task[None]] = field(default_factory=set)

    def when(self, count: int, hook: Callable[[], None]) -> None:
        self._limit, self._hook = self.passed + count, hook

    def shut(self) -> None:
        """From now on nobody gets through; what is under way breaks."""
        self.open = False
        for link in self._links:
            link.cancel()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            if self.open:
                await self._pass(reader, writer)
            else:
                self.refused += 1
        except (OSError, asyncio.CancelledError):
            pass  # either side may hang up, and a test that is over cancels what is left
        finally:
            self._links.discard(link)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        copies = [asyncio.create_task(self._copy(reader, back)), asyncio.create_task(self._copy(there, writer))]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            back.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while portion := await reader.read(PORTION):
            self.passed += len(portion)
            if self._hook is not None and self.passed >= self._limit:
                hook, self._hook = self._hook, None
                await asyncio.to_thread(hook)
            writer.write(portion)
            await writer.drain()


@contextlib.asynccontextmanager
async def forwarding(target: int) -> AsyncIterator[Forwarder]:
    forwarder = Forwarder(target)
    server = await asyncio.start_server(forwarder.connect, "127.0.0.1", 0)
    forwarder.port = server.sockets[0].getsockname()[1]
    try:
        yield forwarder
    finally:
        server.close()
        forwarder.shut()
