"""A store that misbehaves: an HTTP proxy before the real one, with a fault that a test may set at any moment."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """`length` is what Content-Length says; `lost`: the connection breaks instead."""

    status: int
    headers: dict[str, str]
    body: bytes
    length: int = -1
    lost: bool = False


Forward = Callable[[Asked], Answer]
Fault = Callable[[Asked, Forward], Answer]


def refusal(status: int, code: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
    return Answer(status, {"Content-Type": "application/xml"}, body)


@dataclass
class FaultProxy:
    """`seen` holds method and status of every answer."""

    target: int
    port: int = 0
    fault: Fault = field(default=lambda asked, forward: forward(asked))
    seen: list[tuple[str, int]] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def forward(self, asked: Asked) -> Answer:
        upstream = http.client.HTTPConnection("127.0.0.1", self.target, timeout=30)
        try:
            upstream.putrequest(asked.method, asked.path, skip_host=True, skip_accept_encoding=True)
            for name, value in asked.headers.items():
                if name.lower() not in HOP_HEADERS | {"expect"}:
                    upstream.putheader(name, value)
            upstream.putheader("Content-Length", str(len(asked.body)))
            upstream.endheaders(asked.body)
            response = upstream.getresponse()
            body = response.read()
            headers = {name: value for name, value in response.getheaders() if name.lower() not in HOP_HEADERS}
            length = int(response.headers.get("Content-Length") or 0) if asked.method == "HEAD" else -1
            return Answer(response.status, headers, body, length)
        finally:
            upstream.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = Asked(self.command, self.path, dict(self.headers.items()), body)
        answer = self.proxy.fault(asked, self.proxy.forward)
        self.proxy.seen.append((asked.method, answer.status))
        self.close_connection = True
        if answer.lost:
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(answer.body) if answer.length < 0 else answer.length))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

    def log_message(self, format: str, *values: object) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that gave up are what some tests are about."""


@contextmanager
def misbehaving(target: int) -> Iterator[FaultProxy]:
    proxy = FaultProxy(target)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    proxy.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
