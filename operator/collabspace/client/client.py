"""What a program can ask of the broker, as plain calls: for the command line, the trainer and the operator alike."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx
from pydantic import Field

from collabspace.api.manifest import Frozen, Manifest
from collabspace.api.run import EndRecord, Progress, TaskReference
from collabspace.api.task import ModelKind
from collabspace.client.download import Download
from collabspace.client.errors import BrokerError
from collabspace.client.protocol import (
    AliasChange,
    Aliases,
    AliasState,
    AttemptFeed,
    Checkpoint,
    Checkpoints,
    Committed,
    DatasetOffer,
    DatasetOffers,
    Feed,
    LedgerPage,
    LedgerVerdict,
    Rebind,
    Rebound,
    SessionRequest,
    UploadRequest,
    UploadTarget,
    Usage,
)
from collabspace.client.transport import PATIENCE_SECONDS, Transport
from collabspace.client.upload import Report, Sending

MAX_RESULT_FILE_BYTES = 16 << 20
ANSWER_SECONDS = 30.0
CHECK_SECONDS = 600.0


class _Done(Frozen):
    """Answer of calls that only say yes."""

    ok: bool = Field(default=True)


class BrokerClient:
    """One caller of one broker. All calls may raise AccessRefused (403), BrokerUnavailable (no answer within `patience`
    seconds without progress) and BrokerError (any other refusal, with the broker's reason and remedy).

    `token` returns a token for the broker's audience and is asked before every request. `ca` is the broker's CA as PEM
    text. `claimed_by` names the person, for the ledger. Setting `stop` ends waiting and retrying at once.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        ca: str | None = None,
        *,
        claimed_by: str | None = None,
        patience: float = PATIENCE_SECONDS,
        stop: threading.Event | None = None,
    ) -> None:
        self._transport = Transport(url, token, ca, patience, stop)
        self._claimed_by = claimed_by

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def fetch_version(
        self, uid: str, digest: str, into: Path, wanted: Callable[[str], bool] = lambda _path: True
    ) -> Manifest:
        """Trainers: the pinned version `digest` of the dataset, model or result `uid`, as files in `into`.

        Every file has the hash that the manifest promises, files already complete are not fetched again, broken ones
        continue where they stopped; `manifest.json` is written last. Only the `wanted` paths are fetched. Of a result
        that a comparison reads come its counts and figures alone, of one that a task starts from all but these.
        """
        return Download(self._transport, SessionRequest(uid=uid, digest=digest), into).run(wanted)

    def fetch_dataset(self, namespace: str, name: str, digest: str | None, into: Path) -> Manifest:
        """People: a version (None: the current one) of a dataset that the caller's namespace may Download."""
        request = SessionRequest(namespace=namespace, name=name, digest=digest, claimed_by=self._claimed_by)
        return Download(self._transport, request, into).run()

    def fetch_result(
        self,
        namespace: str,
        kind: ModelKind,
        name: str,
        into: Path,
        digest: str | None = None,
        wanted: Callable[[str], bool] = lambda _path: True,
    ) -> Manifest:
        """People: the stored result of a task of their namespace, or what an alias stands for, without what is per
        record."""
        request = SessionRequest(namespace=namespace, name=name, kind=kind, digest=digest, claimed_by=self._claimed_by)
        return Download(self._transport, request, into).run(wanted)

    def push(self, target: UploadTarget, manifest: Manifest, folder: Path, progress: Report | None = None) -> Committed:
        """Stores `folder` as the version `manifest` describes. `progress(done, total)` hears bytes.

        Idempotent: blobs that the broker holds are not sent, and a version that is there answers `created=False`.
        """
        request = UploadRequest(target=target, manifest=manifest, claimed_by=self._claimed_by)
        return Sending(self._transport, request, folder, progress).run()

    def report_progress(self, task_uid: str, attempt: int, progress: Progress) -> None:
        """Trainers: where the attempt stands. One try only: the next report replaces this one."""
        self._transport.try_once("PUT", f"/v1/attempts/{quote(task_uid)}/{attempt}/progress", progress)

    def publish_result(self, task: TaskReference, attempt: int, folder: Path, manifest: Manifest) -> Committed:
        """Trainers: stores the result folder of the newest attempt of its own task. Idempotent."""
        target = UploadTarget(kind="Result", namespace=task.namespace, name=task.name, uid=task.uid, attempt=attempt)
        return self.push(target, manifest, folder)

    def checkpoints(self, task_uid: str, identity: str) -> list[Checkpoint]:
        """Trainers: complete checkpoints of their own task with this identity, newest first; fetched by
        `fetch_version(task_uid, checkpoint.digest, into)`."""
        return self._transport.json(
            Checkpoints, "GET", f"/v1/checkpoints/{quote(task_uid)}/{quote(identity)}"
        ).checkpoints

    def publish_checkpoint(
        self, task: TaskReference, attempt: int, identity: str, step: int, folder: Path, manifest: Manifest
    ) -> Committed:
        """Trainers: stores a checkpoint of the newest attempt of their own task. Idempotent; complete or not at all."""
        target = UploadTarget(
            kind="Checkpoint",
            namespace=task.namespace,
            name=task.name,
            uid=task.uid,
            attempt=attempt,
            identity=identity,
            step=step,
        )
        return self.push(target, manifest, folder)

    def end_attempt(self, task_uid: str, attempt: int, end: EndRecord) -> None:
        """Trainers: how the attempt ended. The first record stays; the same one again is accepted."""
        body = end.model_dump(mode="json", by_alias=True)
        self._transport.json(_Done, "PUT", f"/v1/attempts/{quote(task_uid)}/{attempt}/end", json=body)

    def result(self, namespace: str, task: str) -> Manifest:
        """Manifest of the newest stored result of a task of the caller's namespace."""
        return self._transport.json(Manifest, "GET", f"/v1/results/{quote(namespace)}/{quote(task)}")

    def result_file(self, namespace: str, task: str, path: str, max_bytes: int = MAX_RESULT_FILE_BYTES) -> bytes:
        """One file of that result. Raises BrokerError with reason TooLarge above `max_bytes`."""

        def once() -> bytes:
            content = bytearray()
            url = f"/v1/results/{quote(namespace)}/{quote(task)}/files/{quote(path)}"
            with self._transport.open("GET", url) as response:
                for chunk in response.iter_raw():
                    content += chunk
                    if len(content) > max_bytes:
                        raise BrokerError("TooLarge", f"{path} is larger than {max_bytes} bytes; raise max_bytes")
            return bytes(content)

        return self._transport.patiently(once)

    def progress(self, namespace: str, task: str) -> AttemptFeed:
        """The newest attempt of a task of the caller's namespace: progress, end and result as far as there are any."""
        return self._transport.json(AttemptFeed, "GET", f"/v1/progress/{quote(namespace)}/{quote(task)}")

    def ledger(self, before: int | None = None, limit: int = 100, dataset: str | None = None) -> LedgerPage:
        """Newest records first; `before` is the `next` of the page before; `dataset` one of the caller's own."""
        params = {"limit": str(limit), "before": before, "dataset": dataset}
        return self._transport.json(
            LedgerPage, "GET", "/v1/ledger", params={key: value for key, value in params.items() if value is not None}
        )

    def ledger_onward(self, after: int = 0, limit: int = 100, since: str | None = None) -> LedgerPage:
        """The same, oldest first: behind the record `after` (the `next` of the page before), from the time `since`."""
        params = {"limit": str(limit), "after": str(after), **({"since": since} if since else {})}
        return self._transport.json(LedgerPage, "GET", "/v1/ledger", params=params)

    def verify_ledger(self) -> LedgerVerdict:
        """Checks every chain that the caller may see; the verdict names the first bad record of each broken one."""
        return self._transport.json(LedgerVerdict, "GET", "/v1/ledger/verify")

    def aliases(self, namespace: str) -> list[AliasState]:
        """Readers and publishers: what the aliases of their namespace stand for, in order of their names."""
        return self._transport.json(Aliases, "GET", f"/v1/aliases/{quote(namespace)}").aliases

    def datasets(self, namespace: str) -> list[DatasetOffer]:
        """Readers and publishers: the datasets of their namespace and those granted to it, by namespace and name."""
        return self._transport.json(DatasetOffers, "GET", f"/v1/datasets/{quote(namespace)}").datasets

    def set_alias(self, namespace: str, alias: str, change: AliasChange) -> AliasState:
        """Publishers of the namespace, and the operator: the alias stands for a stored result. Once for each key.

        Raises BrokerError: AliasMoved when it does not stand for `change.replaces`, ResultIncomplete when the broker
        does not hold that result whole. The whole model is read first, which takes seconds for each gigabyte.
        """
        change = change if change.claimed_by else change.model_copy(update={"claimed_by": self._claimed_by})
        body, timeout = change.model_dump(mode="json", by_alias=True), httpx.Timeout(CHECK_SECONDS, connect=5.0)
        path = f"/v1/aliases/{quote(namespace)}/{quote(alias, safe='')}"
        return self._transport.json(AliasState, "PUT", path, json=body, timeout=timeout)

    def rebind(self, namespace: str, name: str, from_uid: str) -> Rebound:
        """Admins: the dataset `namespace/name` gets the stored versions of the one that had `from_uid`."""
        body = Rebind(namespace=namespace, name=name, from_uid=from_uid).model_dump(mode="json", by_alias=True)
        return self._transport.json(Rebound, "POST", "/v1/admin/rebind", json=body)

    def feed(self, cursor: str, wait_seconds: int) -> Feed:
        """The operator: what changed since `cursor` (empty: everything); waits so long when nothing has."""
        params = {"cursor": cursor, "wait": str(wait_seconds)}
        timeout = httpx.Timeout(wait_seconds + ANSWER_SECONDS, connect=5.0)
        return self._transport.json(Feed, "GET", "/v1/feed", params=params, timeout=timeout)

    def report_usage(self, task_uid: str, attempt: int, usage: Usage) -> None:
        """The operator: what an attempt used. Idempotent by task uid and attempt."""
        body = usage.model_dump(mode="json", by_alias=True)
        self._transport.json(_Done, "PUT", f"/v1/usage/{quote(task_uid)}/{attempt}", json=body)
