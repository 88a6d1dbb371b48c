"""/livez, /readyz and /metrics from a thread of their own, so that a stuck event loop is seen and not hidden."""

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from collabspace.controller.metrics import REGISTRY

LAG_SECONDS = 10.0


@dataclass
class Health:
    """Written by the event loop, read by the probe thread; each field is one atomic assignment."""

    ready: bool = False
    beat: float = field(default_factory=time.monotonic)

    def alive(self) -> bool:
        return time.monotonic() - self.beat < LAG_SECONDS


class Probes:
    """The server; `port` is the one it got."""

    def __init__(self, host: str, port: int, health: Health) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(health))
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(health: Health) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
            elif self.path == "/livez":
                self._say(health.alive(), "event loop stuck")
            elif self.path == "/readyz":
                self._say(health.ready and health.alive(), "caches not filled yet")
            else:
                self._answer(404, "text/plain", b"not found\n")

        def _say(self, good: bool, problem: str) -> None:
            self._answer(200 if good else 503, "text/plain", b"ok\n" if good else f"{problem}\n".encode())

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes every few seconds are not worth a line."""

    return Handler
