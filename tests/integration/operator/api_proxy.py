"""A man in the middle of operator and API server who can refuse requests and make watches deaf."""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from collabspace.kube import config
from collabspace.local.certificates import LOOPBACK, Subject
from collabspace.local.cluster import LocalCluster
from collabspace.local.controlplane import Trust

# Told the target of a request, such as /api/v1/nodes?watch=1.
Choice = Callable[[str], bool]
BROKEN = (OSError, asyncio.IncompleteReadError, ssl.SSLError)


class _Link:
    """One connection of the operator's: what is watched over it, and whether anything still comes through."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.watched = ""
        self.deaf = False


class ApiProxy:
    """Speaks TLS to both sides, upstream with the credential of `kubeconfig`. Its own `kubeconfig` leads here."""

    def __init__(self, cluster: LocalCluster, kubeconfig: Path, folder: Path) -> None:
        self._access = config.load(kubeconfig)
        credential = Trust.of(cluster._state).cluster.issue(Subject("proxy", hosts=LOOPBACK), "proxy-serving")
        self._serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._serving.load_cert_chain(credential.cert, credential.key)
        self._links: set[_Link] = set()
        self._deaf: Choice = lambda _target: False
        self._refusal: int | None = None
        self.refused: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(self._listen())
        port = self._server.sockets[0].getsockname()[1]
        self.kubeconfig = folder / f"proxied-{port}.kubeconfig"
        content = yaml.safe_load(kubeconfig.read_text())
        content["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        self.kubeconfig.write_text(yaml.safe_dump(content))

    def refuse(self, status: int | None) -> None:
        """Every request is answered with this status, and streams are cut so that they are asked for again; None: ends
        that."""
        self.refused.clear()
        self._do(self._refuse(status))

    def deafen(self, choice: Choice, *, ever: bool) -> None:
        """From now on nothing comes through the open watches of these targets, nor their ends; `ever`: nor through
        those opened later."""
        self._do(self._deafen(choice, ever))

    def stop(self) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._serving)

    async def _refuse(self, status: int | None) -> None:
        self._refusal = status
        if status is not None:
            for link in self._links:
                link.writer.close()

    async def _deafen(self, choice: Choice, ever: bool) -> None:
        for link in self._links:
            link.deaf = link.deaf or bool(link.watched and choice(link.watched))
        if ever:
            self._deaf = choice

    async def _close(self) -> None:
        self._server.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        pump: asyncio.Task[None] | None = None
        upstream: asyncio.StreamWriter | None = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1].decode()
                body = await reader.readexactly(_length(head))
                if self._refusal is not None:
                    self.refused[target.partition("?")[0]] += 1
                    writer.write(_answer(self._refusal))
                    continue
                if upstream is None:
                    server = urlsplit(self._access.server)
                    down, upstream = await asyncio.open_connection(server.hostname, server.port, ssl=self._access.ssl)
                    pump = asyncio.create_task(self._pump(down, link))
                # A connection is used again: what it carried before says nothing of the request at hand.
                link.watched = target if "watch=" in target else ""
                link.deaf = bool(link.watched) and self._deaf(target)
                upstream.write(head + body)
        except BROKEN:
            pass  # either side may hang up at any time
        finally:
            self._links.discard(link)
            if pump is not None:
                pump.cancel()
            for side in filter(None, (upstream, writer)):
                side.transport.abort()
                with suppress(*BROKEN):
                    await side.wait_closed()

    async def _pump(self, down: asyncio.StreamReader, link: _Link) -> None:
        """Answers, as they come."""
        with suppress(*BROKEN):
            while data := await down.read(1 << 16):
                if not link.deaf:
                    link.writer.write(data)
                    await link.writer.drain()
        if not link.deaf:
            link.writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def _answer(status: int) -> bytes:
    body = b'{"kind":"Status","apiVersion":"v1","status":"Failure","message":"of the test","code":%d}' % status
    lines = (b"HTTP/1.1 %d Of the test" % status, b"Content-Type: application/json", b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
