"""/livez, /readyz and /metrics from a thread of their own, so that a stuck event loop is seen and not hidden."""

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from collabspace.controller.exits import exit_at_once
from collabspace.controller.metrics import REGISTRY

LAG_SECONDS = 5.0


@dataclass
class Health:
    """Written by the event loop, read by the probe thread; each field and word is one atomic assignment.

    `words` says of each subsystem how it is, for people: /readyz?verbose.
    """

    ready: bool = False
    beat: float = field(default_factory=time.monotonic)
    words: dict[str, str] = field(default_factory=dict)

    def alive(self) -> bool:
        return time.monotonic() - self.beat < LAG_SECONDS

    def told(self) -> str:
        """A line for each subsystem."""
        loop = f"loop: last beat {time.monotonic() - self.beat:.1f} s ago\n"
        return loop + "".join(f"{name}: {words}\n" for name, words in dict(self.words).items())


class Watchdog(threading.Thread):
    """Ends the process when its event loop has not beaten for `seconds`.

    Counted in ticks of its own: time for which the whole process was frozen is not the loop's fault.
    """

    TICKS = 10

    def __init__(self, health: Health, seconds: float = LAG_SECONDS) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._health = health
        self._seconds = seconds
        self._end = threading.Event()

    def run(self) -> None:
        seen, still = self._health.beat, 0
        while not self._end.wait(self._seconds / self.TICKS):
            still = still + 1 if self._health.beat == seen else 0
            seen = self._health.beat
            if still >= self.TICKS:
                exit_at_once(f"the event loop is stuck for {self._seconds:.1f} s")

    def stop(self) -> None:
        self._end.set()
        self.join()


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
            path, _, query = self.path.partition("?")
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
            elif path == "/livez":
                self._say(health.alive(), "event loop stuck", query)
            elif path == "/readyz":
                self._say(health.ready and health.alive(), "not ready", query)
            else:
                self._answer(404, "text/plain", b"not found\n")

        def _say(self, good: bool, problem: str, query: str) -> None:
            text = "ok\n" if good else f"{problem}\n"
            if query == "verbose" or not good:
                text += health.told()
            self._answer(200 if good else 503, "text/plain; charset=utf-8", text.encode())

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes every few seconds are not worth a line."""

    return Handler
