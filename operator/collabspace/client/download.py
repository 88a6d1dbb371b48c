"""Fetching a version into a folder: every byte checked against the manifest, continued where it broke off."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from collabspace.api.manifest import FileEntry, Manifest
from collabspace.client.errors import BrokerError
from collabspace.client.paths import MANIFEST_FILE, UnsafePathError, check_paths
from collabspace.client.protocol import Session, SessionRequest
from collabspace.client.transport import Transport

CHUNK_BYTES = 1 << 20
PARTIAL = ".partial"


class Download:
    """One version being fetched. Sessions live in the broker's memory, so a lost one is opened again on the way."""

    def __init__(self, transport: Transport, request: SessionRequest, into: Path) -> None:
        self._transport = transport
        self._request = request
        self._into = into
        self._session: Session | None = None
        self._withheld: frozenset[str] = frozenset()
        self._received = 0

    def run(self, wanted: Callable[[str], bool] = lambda _path: True) -> Manifest:
        """The wanted files, of those that the caller may have, and `manifest.json` (written last) are in the folder
        afterwards; complete files are left alone."""
        manifest = self._open().manifest
        try:
            for file in manifest.files:
                if wanted(file.path) and file.path not in self._withheld:
                    self._fetch(file)
            _write_whole(self._into / MANIFEST_FILE, manifest.canonical())
        finally:
            self._close()
        return manifest

    def _open(self) -> Session:
        if self._session is None:
            session = self._transport.json(
                Session, "POST", "/v1/sessions", json=self._request.model_dump(mode="json", by_alias=True)
            )
            self._check(session)
            # From now on this very version: "current" may change while files are on their way.
            self._request = self._request.model_copy(update={"digest": session.digest})
            self._session, self._withheld = session, frozenset(session.withheld)
        return self._session

    def _check(self, session: Session) -> None:
        if session.manifest.digest != session.digest or self._request.digest not in (None, session.digest):
            raise BrokerError("DigestMismatch", f"asked for {self._request.digest}, got something else; ask again")
        try:
            check_paths(session.manifest.files)
        except UnsafePathError as error:
            raise BrokerError("UnsafePath", str(error)) from error

    def _close(self) -> None:
        """Tells the broker that reading is over, so that the ledger says so now, not when the session expires."""
        if self._session is None:
            return
        session, self._session = self._session, None
        self._transport.try_once("DELETE", f"/v1/sessions/{session.id}")

    def _fetch(self, file: FileEntry) -> None:
        target = self._into / file.path
        if target.is_file() and target.stat().st_size == file.bytes and _sha256(target) == file.sha256:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + PARTIAL)
        for last in (False, True):
            self._transport.patiently(lambda: self._receive(file, partial), lambda: self._received)
            if partial.stat().st_size == file.bytes and _sha256(partial) == file.sha256:
                partial.replace(target)
                return
            partial.unlink()
            if last:
                raise BrokerError("HashMismatch", f"{file.path} has other bytes than its manifest says; fetch again")

    def _receive(self, file: FileEntry, partial: Path) -> None:
        """Appends what is missing. Raises what `patiently` retries when the stream breaks before the end."""
        have = partial.stat().st_size if partial.exists() else 0
        if have > file.bytes:
            partial.unlink()
            have = 0
        if have == file.bytes:
            partial.touch()
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        try:
            session = self._open()
            with (
                self._transport.open("GET", f"/v1/sessions/{session.id}/files/{quote(file.path)}", headers) as response,
                partial.open("ab" if response.status_code == 206 else "wb") as sink,
            ):
                for chunk in response.iter_raw(CHUNK_BYTES):
                    self._received += sink.write(chunk)
                    if sink.tell() > file.bytes:
                        # No disk is filled with what is not the file; its hash will be wrong.
                        return
        except BrokerError as error:
            if error.reason != "SessionUnknown":
                raise
            self._session = None
            self._transport.again("the session is gone; opening it again")


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    partial.write_bytes(content)
    partial.replace(path)
