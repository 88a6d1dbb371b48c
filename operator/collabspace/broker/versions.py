"""Versions as the broker serves them: manifests from the store, parsed once and kept at hand."""

import asyncio
import datetime as dt
import logging
from collections import OrderedDict
from dataclasses import dataclass

from pydantic import ValidationError

from collabspace.api.manifest import Manifest
from collabspace.broker.custody import Custody
from collabspace.broker.feed import summarise
from collabspace.broker.store import Store
from collabspace.client.protocol import VersionSummary
from collabspace.kube import clock
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
KEPT = 128
# What tasks store; everything else is a version of a dataset.
TASK_FORMATS = frozenset({"Result", "Checkpoint"})


@dataclass(frozen=True)
class Held:
    """A version and the uid under which its files lie."""

    storage: str
    manifest: Manifest


class Versions:
    """Manifests never change, so the newest used ones stay in memory."""

    def __init__(self, store: Store, custody: Custody) -> None:
        self._store = store
        self._custody = custody
        self._kept: OrderedDict[tuple[str, str], Manifest] = OrderedDict()

    async def find(self, uid: str, digest: str) -> Held | None:
        """The version of the object, wherever its files lie, if the store holds it and it is what its name says."""
        for storage in self._custody.storages(uid):
            manifest = await self.manifest(storage, digest)
            if manifest is not None:
                return Held(storage, manifest)
        return None

    def forget(self, storage: str, digest: str | None = None) -> None:
        """The version, or all of them, are gone from the store."""
        for key in [key for key in self._kept if key[0] == storage and digest in (None, key[1])]:
            del self._kept[key]

    async def manifest(self, owner: str, digest: str) -> Manifest | None:
        """The manifest under that very uid."""
        key = owner, digest
        if key not in self._kept:
            found = await asyncio.to_thread(read_manifest, self._store, owner, digest)
            if found is None:
                return None
            self._kept[key] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def read_manifest(store: Store, owner: str, digest: str) -> Manifest | None:
    """Blocks. A manifest whose content does not have its digest is as good as none, and is reported."""
    content = store.read_manifest(owner, digest)
    if content is None:
        return None
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError:
        manifest = None
    if manifest is None or manifest.digest != digest or manifest.owner_uid != owner:
        say(logger, "manifest-broken", logging.ERROR, owner=owner, digest=digest)
        return None
    return manifest


def list_versions(store: Store) -> dict[str, list[VersionSummary]]:
    """Blocks. All versions of datasets (not of tasks) in the store by storage uid, newest first."""
    found: dict[str, list[VersionSummary]] = {}
    for owner in store.owners():
        summaries = summaries_of(store, owner)
        if summaries:
            found[owner] = summaries
    return found


def summaries_of(store: Store, owner: str) -> list[VersionSummary]:
    """Blocks. Versions of datasets (not of tasks) under one uid, newest first."""
    summaries = []
    for version in store.versions(owner):
        manifest = read_manifest(store, owner, version.digest)
        if manifest is not None and manifest.format not in TASK_FORMATS:
            created = dt.datetime.fromtimestamp(version.created / 1e9, dt.UTC)
            summaries.append(summarise(manifest, clock.rfc3339(created)))
    return summaries
