"""A way to end the operator exactly before or after one of its writes, to the API server or to the broker."""

import asyncio
import json
from collections.abc import Callable
from urllib.parse import urlsplit

from api_proxy import BROKEN, ApiProxy, _length, _Link
from operator_harness import FakeBroker

from collabspace.kube.client import Object

# Told the method, the path and the body of a request: whether it is the write that is meant.
Meant = Callable[[str, str, Object], bool]


class KillPoint:
    """The operator is ended once, at the first write that is meant."""

    def __init__(self, meant: Meant, after: bool, kill: Callable[[], object]) -> None:
        self.meant = meant
        self.after = after
        self._kill = kill
        self.done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._fired = False

    def strike(self) -> None:
        """From whatever thread: the process is gone when this returns."""
        if not self._fired:
            self._fired = True
            self._kill()
            self._loop.call_soon_threadsafe(self.done.set)


class KillingProxy(ApiProxy):
    """Ends the operator at `point`: before the request goes on, or after its answer has come and is not passed on."""

    point: KillPoint | None = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = urlsplit(self._access.server)
        down, upstream = await asyncio.open_connection(server.hostname, server.port, ssl=self._access.ssl)
        link = _Link(writer)
        self._links.add(link)
        pump = asyncio.create_task(self._pump(down, link))
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target = head.split(b" ", 2)[:2]
                body = await reader.readexactly(_length(head))
                point = self.point
                if point is not None and body and point.meant(method.decode(), target.decode(), json.loads(body)):
                    if point.after:
                        pump.cancel()
                        await asyncio.wait([pump])
                        upstream.write(head + body)
                        await down.readuntil(b"\r\n\r\n")
                    point.strike()
                    return
                upstream.write(head + body)
        except BROKEN:
            pass  # either side may hang up at any time
        finally:
            pump.cancel()
            self._links.discard(link)
            # Without a farewell: one side may be dead.
            for side in (upstream, writer):
                side.transport.abort()


def strike_at_promotion(broker: FakeBroker, point: KillPoint | None) -> None:
    """The same around the broker's answer to a promotion."""
    moment = "after" if point is not None and point.after else "before"
    broker.around = lambda when: point.strike() if point is not None and when == moment else None
