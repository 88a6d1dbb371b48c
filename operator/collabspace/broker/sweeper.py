"""Removes what nobody can ask for any more: what deleted objects left behind, and uploads that were given up.

An object counts as deleted when a complete list lacks it and a live read of its name says so too. A list that is empty
while the store holds something of that kind is doubted: then two passes in a row must find each object gone. A list or
a read that fails ends the pass, and nothing is removed on its account. What is removed is on record before it goes.
Results that an alias stands for, or stood for last, outlive their task.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from collabspace.api import names
from collabspace.api.conditions import ConditionType
from collabspace.api.dataset import DeletionPolicy
from collabspace.broker import checkpoints, metrics
from collabspace.broker.custody import Owner, OwnerKind
from collabspace.broker.ledger import REMOVED, Entry
from collabspace.broker.parts import Parts
from collabspace.broker.refusal import Refused
from collabspace.broker.store import Store
from collabspace.broker.versions import read_manifest
from collabspace.client.protocol import Decision
from collabspace.kube.client import Object
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
STALE_SECONDS = 24 * 3600.0
STALE_CHECK_SECONDS = 3600.0
PLURALS = {OwnerKind.DATASET: names.SHARED_DATASETS, OwnerKind.TASK: names.COLLAB_TASKS}
GONE = {OwnerKind.DATASET: "DatasetDeleted", OwnerKind.TASK: "TaskDeleted"}
TASK_SUCCEEDED, UPLOAD_STALE, UNREFERENCED = "TaskSucceeded", "UploadStale", "Unreferenced"
NAMESPACE_GONE = "NamespaceDeleted"


@dataclass(frozen=True)
class Living:
    """An object as a list shows it, read without trust in its shape."""

    owner: Owner
    succeeded: bool


class Sweeper:
    """One per process; `run` until it is cancelled."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._suspects: Counter[str] = Counter()
        self._checked = float("-inf")
        self._swept: Counter[str] = Counter()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._parts.settings.broker_sweep_seconds)
            self._swept.clear()
            try:
                await self.sweep()
                metrics.SWEEPS.labels(metrics.DONE).inc()
            except (Refused, OSError) as error:
                metrics.SWEEPS.labels(metrics.POSTPONED).inc()
                say(logger, "sweep-postponed", logging.WARNING, cause=getattr(error, "reason", type(error).__name__))
            except Exception:  # a fault in one pass must not end all later ones
                metrics.SWEEPS.labels(metrics.FAILED).inc()
                logger.exception("sweep-failed")
            if self._swept:
                say(logger, "swept", **self._swept)

    async def sweep(self) -> None:
        """One pass. Raises Undecided, OSError."""
        stored = await asyncio.to_thread(lambda: list(self._parts.store.owners()))
        if time.monotonic() - self._checked > STALE_CHECK_SECONDS:
            for storage in {*stored, *await asyncio.to_thread(self._parts.staging.owners)}:
                await self._sweep_uploads(storage)
            self._checked = time.monotonic()
        living = {kind: await self._list(kind) for kind in OwnerKind}
        for kind in OwnerKind:
            await self._notice(living[kind].values(), set(stored))
        for owner in self._parts.custody.owners():
            await self._judge(owner, living[owner.kind])
        await self._sweep_aliases()

    async def _list(self, kind: OwnerKind) -> dict[str, Living]:
        items = await self._parts.cluster.every(PLURALS[kind])
        found = [_living(item, kind) for item in items]
        return {each.owner.uid: each for each in found}

    async def _notice(self, living: Iterable[Living], stored: set[str]) -> None:
        """Remembers names and policies while there is an object that tells them."""
        for each in living:
            owner = each.owner
            for storage in self._parts.custody.storages(owner.uid):
                if storage in stored:
                    await self._parts.custody.remember(
                        Owner(storage, owner.uid, owner.kind, owner.namespace, owner.name, owner.deletion_policy)
                    )

    async def _judge(self, owner: Owner, living: dict[str, Living]) -> None:
        lock = self._parts.custody.lock(owner.storage)
        seen = living.get(owner.uid)
        if seen is not None:
            self._suspects.pop(owner.storage, None)
            if seen.succeeded and self._parts.custody.checkpoints(owner.storage) and not lock.locked():
                async with lock:
                    await self._drop_checkpoints(owner, TASK_SUCCEEDED)
            return
        if owner.kind is OwnerKind.DATASET and owner.deletion_policy is not DeletionPolicy.DELETE:
            return
        if await self._is_gone(owner, doubted=not living) and not lock.locked():
            async with lock:
                # Another broker may have been faster, or have given it to somebody.
                if self._parts.custody.owner(owner.storage) == owner:
                    await self._let_go(owner)

    async def _is_gone(self, owner: Owner, *, doubted: bool) -> bool:
        uid = await self._parts.cluster.uid_of(PLURALS[owner.kind], owner.namespace, owner.name)
        if uid == owner.uid:
            self._suspects.pop(owner.storage, None)
            return False
        self._suspects[owner.storage] += 1
        return self._suspects[owner.storage] >= (2 if doubted else 1)

    async def _let_go(self, owner: Owner) -> None:
        """What it left behind goes, but for results that an alias of its team rests on."""
        if owner.kind is OwnerKind.TASK and await self._parts.aliases.keeps(owner.namespace, owner.uid):
            if self._parts.custody.checkpoints(owner.storage):
                await self._drop_checkpoints(owner, GONE[owner.kind])
            return
        await self._remove(owner)

    async def _sweep_aliases(self) -> None:
        """Those of a namespace that is gone: one made anew has another uid, and none of them."""
        for uid, name in {(state.namespace_uid, state.namespace) for state in self._parts.knowledge.aliases()}:
            if await self._parts.cluster.namespace_uid(name) == uid:
                continue
            async with self._parts.custody.lock(uid):
                await self._record(None, NAMESPACE_GONE, None)
                await asyncio.to_thread(self._parts.store.remove_owner, uid)
                self._parts.knowledge.forget_aliases(uid)

    async def _remove(self, owner: Owner) -> None:
        parts = self._parts
        blobs = await asyncio.to_thread(parts.store.blobs, owner.storage)
        await self._record(owner, GONE[owner.kind], sum(blob.bytes for blob in blobs))
        parts.uploads.drop(owner.storage)
        await asyncio.to_thread(parts.staging.forget, owner.storage)
        await asyncio.to_thread(parts.store.remove_owner, owner.storage)
        parts.versions.forget(owner.storage)
        parts.knowledge.forget(owner.uid)
        await parts.custody.forget(owner.storage)
        self._suspects.pop(owner.storage, None)

    async def _drop_checkpoints(self, owner: Owner, reason: str) -> None:
        rows = self._parts.custody.checkpoints(owner.storage)
        if not rows:
            return
        held = [await self._parts.versions.manifest(owner.storage, row.digest) for row in rows]
        await self._record(owner, reason, sum(manifest.size for manifest in held if manifest is not None))
        await checkpoints.prune(self._parts, owner.storage, 0)

    async def _sweep_uploads(self, storage: str) -> None:
        """Parts and blobs that no version has come to need within a day."""
        parts = self._parts
        lock = parts.custody.lock(storage)
        if lock.locked():
            return
        async with lock:
            before = time.time() - STALE_SECONDS
            under_way = parts.uploads.digests(storage)
            stale = await asyncio.to_thread(parts.staging.discard_stale, storage, under_way, before)
            wanted = parts.uploads.wanted(storage)
            dead = await asyncio.to_thread(_unreferenced, parts.store, storage, wanted, before)
            owner = parts.custody.owner(storage)
            if stale:
                await self._record(owner, UPLOAD_STALE, stale)
            if dead:
                await self._record(owner, UNREFERENCED, sum(dead.values()))
                for sha256 in dead:
                    await asyncio.to_thread(parts.store.remove_blob, storage, sha256)

    async def _record(self, owner: Owner | None, reason: str, size: int | None) -> None:
        """On record, counted and in the log's next line. Raises Undecided."""
        entry = Entry(REMOVED, Decision.ALLOWED, reason, names.SYSTEM_NAMESPACE, names.BROKER_ACCOUNT, bytes=size)
        if owner is not None and owner.kind is OwnerKind.DATASET:
            entry = entry.but(owner=owner.namespace, dataset=owner.name, dataset_uid=owner.uid)
        elif owner is not None:
            # In the namespace of the task: its team can see what became of its results.
            entry = entry.but(namespace=owner.namespace, task=owner.name, task_uid=owner.uid)
        await self._parts.journal.record(entry)
        self._swept[reason] += 1
        metrics.SWEPT.labels(reason).inc()
        metrics.SWEPT_BYTES.labels(reason).inc(size or 0)


def _living(item: Object, kind: OwnerKind) -> Living:
    meta, status = item["metadata"], item.get("status") or {}
    policy = (item.get("spec") or {}).get("deletionPolicy", DeletionPolicy.RETAIN)
    known = policy in list(DeletionPolicy) and kind is OwnerKind.DATASET
    owner = Owner(
        meta["uid"], meta["uid"], kind, meta["namespace"], meta["name"], DeletionPolicy(policy) if known else None
    )
    succeeded = any(
        (condition.get("type"), condition.get("status")) == (ConditionType.SUCCEEDED, "True")
        for condition in status.get("conditions") or []
    )
    return Living(owner, succeeded)


def _unreferenced(store: Store, storage: str, wanted: set[str], before: float) -> dict[str, int]:
    """Blocks. Blobs older than `before` that no version and no upload names; none when a manifest cannot be read."""
    live = set(wanted)
    for version in store.versions(storage):
        manifest = read_manifest(store, storage, version.digest)
        if manifest is None:
            return {}
        live |= {file.sha256 for file in manifest.files}
    blobs = store.blobs(storage)
    return {blob.sha256: blob.bytes for blob in blobs if blob.sha256 not in live and blob.created / 1e9 < before}
