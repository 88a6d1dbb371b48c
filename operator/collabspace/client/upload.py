"""Sending a version: only the blobs that the broker lacks, continued where it broke off, then one commit."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import httpx

from collabspace.api.manifest import FileEntry
from collabspace.client.errors import BrokerError
from collabspace.client.protocol import BlobState, Committed, Upload, UploadRequest
from collabspace.client.transport import Transport

CHUNK_BYTES = 8 << 20
COMMIT_SECONDS = 900.0  # the broker reads and checks the whole version before it answers
MAX_STUMBLES = 20
Report = Callable[[int, int], None]


class Sending:
    """One version on its way. The broker keeps uploads in memory (their bytes on disk): lost ones are begun again."""

    def __init__(self, transport: Transport, request: UploadRequest, folder: Path, report: Report | None) -> None:
        self._transport = transport
        self._request = request
        self._folder = folder
        self._report = report
        self._total = request.manifest.size
        self._settled = 0

    def run(self) -> Committed:
        """The version is committed afterwards. Doing it again is harmless and quick. Raises BrokerError."""
        lost = 0
        while True:
            try:
                return self._attempt()
            except BrokerError as error:
                lost += 1
                if error.reason not in ("UploadUnknown", "UploadIncomplete") or lost > MAX_STUMBLES:
                    raise

    def _attempt(self) -> Committed:
        upload = self._transport.json(
            Upload, "POST", "/v1/uploads", json=self._request.model_dump(mode="json", by_alias=True)
        )
        missing = set(upload.missing)
        files = {file.sha256: file for file in self._request.manifest.files}
        wanted = [file for sha256, file in files.items() if sha256 in missing]
        self._settled = self._total - sum(file.bytes for file in wanted)
        for file in wanted:
            self._send(upload.id, file)
            self._settled += file.bytes
        self._tell(0)
        return self._transport.json(
            Committed, "POST", f"/v1/uploads/{upload.id}/commit", timeout=httpx.Timeout(COMMIT_SECONDS, connect=5.0)
        )

    def _send(self, upload: str, file: FileEntry) -> None:
        """One blob, from where the broker stands. After every stumble it is asked again where that is: an answer that
        was lost costs one question, and no byte is sent twice."""
        path = f"/v1/uploads/{upload}/blobs/{file.sha256}"
        reached = 0

        def once() -> None:
            nonlocal reached
            reached = self._transport.once(BlobState, "GET", path).offset
            with (self._folder / file.path).open("rb") as source:
                while True:
                    self._tell(reached)
                    chunk = _read(source, file, reached)
                    params = {"offset": str(reached)}
                    reached = self._transport.once(BlobState, "PUT", path, params=params, content=chunk).offset
                    if reached >= file.bytes:
                        return

        for stumbles in range(MAX_STUMBLES):
            try:
                self._transport.patiently(once, lambda: reached)
                return
            except BrokerError as error:
                # Another sender of the same blob is ahead of us.
                if error.reason != "OffsetMismatch" or stumbles == MAX_STUMBLES - 1:
                    raise

    def _tell(self, offset: int) -> None:
        if self._report is not None:
            self._report(self._settled + offset, self._total)


def _read(source: BinaryIO, file: FileEntry, offset: int) -> bytes:
    source.seek(offset)
    chunk = source.read(min(CHUNK_BYTES, file.bytes - offset))
    if not chunk and offset < file.bytes:
        raise BrokerError("FileChanged", f"{file.path} is shorter than its manifest says; prepare it again")
    return chunk
