"""A small HTTP server that answers as the broker does on the wire, for trainers that run as in a pod."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from collabspace.api.manifest import Manifest
from collabspace.client.protocol import BlobState, Committed, Refusal, Session, Upload


@dataclass
class Store:
    """What the server has and what it was told. `refuse` answers every session with 403, `away` everything with 503."""

    folder: Path
    manifest: Manifest
    token: str
    refuse: bool = False
    away: bool = False
    result: Manifest | None = None
    blobs: dict[str, bytearray] = field(default_factory=dict)
    progress: list[dict[str, Any]] = field(default_factory=list)
    ends: list[dict[str, Any]] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(store: Store) -> Iterator[str]:
    """The address of a server on a free port of the loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"store": store}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    store: Store
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the tests look at what arrived."""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _open(self) -> bool:
        """Whether the call may go on: the server is there, and the caller holds the pod's token."""
        self.store.asked.set()
        if self.store.away:
            self._body()
            self._answer(Refusal(reason="Away", message="later").model_dump_json().encode(), 503)
            return False
        return self.headers["Authorization"] == f"Bearer {self.store.token}"

    def do_POST(self) -> None:
        if not self._open():
            return
        body, store = self._body(), self.store
        if self.path == "/v1/sessions" and store.refuse:
            self._answer(Refusal(reason="Forbidden", message="no grant").model_dump_json().encode(), 403)
        elif self.path == "/v1/sessions":
            session = Session(id="s1", digest=store.manifest.digest, manifest=store.manifest)
            self._answer(session.model_dump_json(by_alias=True).encode())
        elif self.path == "/v1/uploads":
            store.result = Manifest.model_validate(json.loads(body)["manifest"])
            missing = sorted({file.sha256 for file in store.result.files})
            self._answer(Upload(id="u1", digest=store.result.digest, missing=missing).model_dump_json().encode())
        elif self.path == "/v1/uploads/u1/commit" and store.result is not None:
            for file in store.result.files:
                assert hashlib.sha256(store.blobs[file.sha256]).hexdigest() == file.sha256
            done = Committed(digest=store.result.digest, records=0, bytes=store.result.size, created=True)
            self._answer(done.model_dump_json().encode())

    def do_GET(self) -> None:
        if not self._open():
            return
        if "/blobs/" in self.path:
            blob = self.store.blobs.get(self.path.rsplit("/", 1)[-1], b"")
            self._answer(BlobState(offset=len(blob)).model_dump_json().encode())
        else:
            self._answer((self.store.folder / self.path.split("/files/", 1)[1]).read_bytes())

    def do_DELETE(self) -> None:
        if self._open():
            self._answer(b"", 204)

    def do_PUT(self) -> None:
        if not self._open():
            return
        url, body, store = urlparse(self.path), self._body(), self.store
        if url.path.endswith("/progress"):
            store.progress.append(json.loads(body))
        elif url.path.endswith("/end"):
            store.ends.append(json.loads(body))
        else:
            blob = store.blobs.setdefault(url.path.rsplit("/", 1)[-1], bytearray())
            assert parse_qs(url.query)["offset"] == [str(len(blob))]
            blob += body
            self._answer(BlobState(offset=len(blob)).model_dump_json().encode())
            return
        self._answer(b"{}")
