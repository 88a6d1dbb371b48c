"""A small HTTP server that answers as the broker does on the wire, for trainers that run as in a pod."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from collabspace.api.manifest import Manifest
from collabspace.client.protocol import (
    BlobState,
    Checkpoint,
    Checkpoints,
    Committed,
    Refusal,
    Session,
    SessionRequest,
    Upload,
    UploadRequest,
    UploadTarget,
)


@dataclass
class Store:
    """What the server has and what it was told. `refuse` answers every session with 403, `away` everything with 503.

    `kept` holds the manifests of checkpoints by digest; `told` is set when progress has come.
    """

    folder: Path
    manifest: Manifest
    token: str
    refuse: bool = False
    away: bool = False
    result: Manifest | None = None
    checkpoints: list[Checkpoint] = field(default_factory=list)
    kept: dict[str, Manifest] = field(default_factory=dict)
    uploads: dict[str, UploadRequest] = field(default_factory=dict)
    blobs: dict[str, bytearray] = field(default_factory=dict)
    progress: list[dict[str, Any]] = field(default_factory=list)
    ends: list[dict[str, Any]] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    told: threading.Condition = field(default_factory=threading.Condition)

    def keep(self, target: UploadTarget, manifest: Manifest) -> None:
        """A checkpoint is complete."""
        assert target.identity is not None and target.step is not None and target.attempt is not None
        self.kept[manifest.digest] = manifest
        checkpoint = Checkpoint(
            identity=target.identity,
            step=target.step,
            digest=manifest.digest,
            attempt=target.attempt,
            created_time="2026-01-01T00:00:00Z",
        )
        with self.told:
            self.checkpoints.insert(0, checkpoint)
            self.told.notify_all()

    def wait_for(self, wanted: Callable[["Store"], bool], seconds: float = 120) -> bool:
        """Whether it came true after some message."""
        with self.told:
            return self.told.wait_for(lambda: wanted(self), seconds)


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
            asked = SessionRequest.model_validate_json(body).digest
            manifest = store.kept.get(asked or "", store.manifest)
            session = Session(id=manifest.digest, digest=manifest.digest, manifest=manifest)
            self._answer(session.model_dump_json(by_alias=True).encode())
        elif self.path == "/v1/uploads":
            request = UploadRequest.model_validate_json(body)
            digest = request.manifest.digest
            store.uploads[digest] = request
            missing = sorted({file.sha256 for file in request.manifest.files})
            self._answer(Upload(id=digest, digest=digest, missing=missing).model_dump_json().encode())
        elif self.path.endswith("/commit"):
            self._commit(store.uploads[self.path.split("/")[-2]])

    def _commit(self, request: UploadRequest) -> None:
        store, manifest, target = self.store, request.manifest, request.target
        for file in manifest.files:
            assert hashlib.sha256(store.blobs[file.sha256]).hexdigest() == file.sha256
        if target.kind == "Result":
            store.result = manifest
        else:
            store.keep(target, manifest)
        done = Committed(digest=manifest.digest, records=0, bytes=manifest.size, created=True)
        self._answer(done.model_dump_json().encode())

    def do_GET(self) -> None:
        if not self._open():
            return
        if self.path.startswith("/v1/checkpoints/"):
            identity = self.path.rsplit("/", 1)[-1]
            mine = [checkpoint for checkpoint in self.store.checkpoints if checkpoint.identity == identity]
            self._answer(Checkpoints(checkpoints=mine).model_dump_json(by_alias=True).encode())
        elif "/blobs/" in self.path:
            blob = self.store.blobs.get(self.path.rsplit("/", 1)[-1], b"")
            self._answer(BlobState(offset=len(blob)).model_dump_json().encode())
        else:
            session, path = self.path.removeprefix("/v1/sessions/").split("/files/", 1)
            if session in self.store.kept:
                file = next(file for file in self.store.kept[session].files if file.path == path)
                self._answer(bytes(self.store.blobs[file.sha256]))
            else:
                self._answer((self.store.folder / path).read_bytes())

    def do_DELETE(self) -> None:
        if self._open():
            self._answer(b"", 204)

    def do_PUT(self) -> None:
        if not self._open():
            return
        url, body, store = urlparse(self.path), self._body(), self.store
        if url.path.endswith("/progress"):
            with store.told:
                store.progress.append(json.loads(body))
                store.told.notify_all()
        elif url.path.endswith("/end"):
            store.ends.append(json.loads(body))
        else:
            blob = store.blobs.setdefault(url.path.rsplit("/", 1)[-1], bytearray())
            assert parse_qs(url.query)["offset"] == [str(len(blob))]
            blob += body
            self._answer(BlobState(offset=len(blob)).model_dump_json().encode())
            return
        self._answer(b"{}")
