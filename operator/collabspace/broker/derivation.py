"""Models made of other owners' data: published only with leave to derive, and read only while that leave stands.

What a result learned from is on record: what its task opened for training, and the results of the team that it started
from. A push of format Model whose weights are those of a stored result of the namespace is that model, whatever it
says of itself. Each source is recorded in the chain of its dataset before the version is there, so its owner sees it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from sqlalchemy import Connection, select

from collabspace.api.dataset import Use
from collabspace.api.manifest import DatasetFormat, Manifest
from collabspace.broker.access import Asker, Denied, Why, decide
from collabspace.broker.custody import Custody, OwnerKind
from collabspace.broker.entries import is_for
from collabspace.broker.gate import invalid
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import DENIED, DERIVED, OPENED, PUBLISHED, Entry
from collabspace.broker.live import Cluster
from collabspace.broker.own_results import RESULT_OF
from collabspace.broker.refusal import Refused
from collabspace.broker.store import Store
from collabspace.broker.tables import access
from collabspace.broker.versions import Versions, read_manifest
from collabspace.client.protocol import Decision, VersionSource, VersionSummary
from collabspace.kube import clock

WEIGHTS = ".safetensors"
KEPT = 1_024
DEEPEST = 8


@dataclass(frozen=True)
class Source:
    """A version that a model learned from, or started from."""

    owner: str
    dataset: str
    dataset_uid: str
    version: str


@dataclass(frozen=True)
class Made:
    """A stored result that a push is of: its digest, what it says that it is of, and its task."""

    digest: str
    parents: tuple[str, ...]
    task: str
    task_uid: str


class Derivations:
    """What published models are of, and whether they may be."""

    def __init__(self, store: Store, custody: Custody, versions: Versions, journal: Journal, cluster: Cluster) -> None:
        self._store = store
        self._custody = custody
        self._versions = versions
        self._journal = journal
        self._cluster = cluster
        self._known: OrderedDict[str, tuple[Source, ...]] = OrderedDict()

    async def judge(self, namespace: str, manifest: Manifest, who: Entry) -> list[Entry]:
        """What is to be on record before the version may be there; empty for what derives from nothing.

        Raises Refused when a source's owner has not granted Derive, or parents are missing; Undecided."""
        made = await asyncio.to_thread(self._made_of, namespace, manifest)
        if not made:
            return []
        sources = await self._journal.read(lambda ledger: ledger.read(lambda c: _sources(c, made)))
        refused: list[str] = []
        for source in sources:
            why = await self._fault(namespace, source, DEEPEST)
            if why is not None:
                denied = _about(who, source, manifest).but(event=DENIED, decision=Decision.DENIED, reason=why.value)
                await self._journal.deny(denied)
                refused.append(_remedy(namespace, source))
        if refused:
            raise Refused(HTTPStatus.FORBIDDEN, "DeriveNotGranted", "; ".join(refused[:4]))
        _check_parents(manifest, made)
        return [
            _about(who, source, manifest).but(
                event=DERIVED,
                decision=Decision.ALLOWED,
                reason="Own" if source.owner == namespace else "Granted",
                task=made[0].task,
                task_uid=made[0].task_uid,
            )
            for source in sources
        ]

    async def fault(self, namespace: str, manifest: Manifest, depth: int = DEEPEST) -> Why | None:
        """Why nobody may read this version of a dataset of the namespace now; None: nothing. Raises Undecided."""
        if manifest.format != DatasetFormat.MODEL or not manifest.parents:
            return None
        for source in await self._sources_of(manifest.digest):
            if await self._fault(namespace, source, depth) is not None:
                return Why.QUARANTINED
        return None

    async def _fault(self, namespace: str, source: Source, depth: int) -> Why | None:
        """Why a team may not derive from this source, or from what that is of."""
        if source.owner != namespace:
            dataset, uid = await self._cluster.dataset_and_namespace(source.owner, source.dataset, namespace)
            if dataset is not None and dataset.metadata.uid != source.dataset_uid:
                return Why.DATASET_REPLACED
            answer = decide(Asker(namespace, uid), dataset, Use.DERIVE, clock.now())
            if isinstance(answer, Denied):
                return answer.why
        held = await self._versions.find(source.dataset_uid, source.version)
        if held is None:
            return None
        if depth == 0:
            return Why.QUARANTINED
        return await self.fault(source.owner, held.manifest, depth - 1)

    async def told(self, summaries: Iterable[VersionSummary]) -> list[VersionSummary]:
        """The same with their sources, for the operator. Raises Undecided."""
        return [
            with_sources(each, await self._sources_of(each.digest)) if each.format == DatasetFormat.MODEL else each
            for each in summaries
        ]

    async def every(self) -> dict[str, tuple[Source, ...]]:
        """Sources of all derived versions, by digest. Raises Undecided."""
        return await self._journal.read(lambda ledger: ledger.read(_all_recorded))

    async def _sources_of(self, digest: str) -> tuple[Source, ...]:
        """From the ledger; a version's never change once it is there."""
        if digest not in self._known:
            self._known[digest] = await self._journal.read(lambda ledger: ledger.read(lambda c: _recorded(c, digest)))
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(digest)
        return self._known[digest]

    def _made_of(self, namespace: str, manifest: Manifest) -> list[Made]:
        """Blocks. Stored results of the namespace that share weights with the push."""
        if manifest.format != DatasetFormat.MODEL:
            return []
        weights = {file.sha256 for file in manifest.files if file.path.endswith(WEIGHTS)}
        found = []
        for owner in self._custody.owners():
            if owner.kind is not OwnerKind.TASK or owner.namespace != namespace:
                continue
            if all(self._store.blob_size(owner.storage, sha256) is None for sha256 in weights):
                continue
            for version in self._store.versions(owner.storage):
                held = read_manifest(self._store, owner.storage, version.digest)
                if held is not None and held.format == "Result" and weights & {file.sha256 for file in held.files}:
                    found.append(Made(version.digest, tuple(held.parents), owner.name, owner.uid))
        return found


def with_sources(summary: VersionSummary, sources: Iterable[Source]) -> VersionSummary:
    named = dict.fromkeys((source.owner, source.dataset, source.dataset_uid) for source in sources)
    told = [VersionSource(namespace=owner, name=name, uid=uid) for owner, name, uid in named]
    return summary.model_copy(update={"sources": told})


def source_of(derived: Entry) -> Source:
    """What a record of a derivation is about."""
    return Source(derived.owner or "", derived.dataset or "", derived.dataset_uid or "", derived.version or "")


def _about(who: Entry, source: Source, manifest: Manifest) -> Entry:
    """In the chain of the source: its owner sees what was made of it. `purpose` names the version that was made."""
    return who.but(
        owner=source.owner,
        dataset=source.dataset,
        dataset_uid=source.dataset_uid,
        version=source.version,
        use=Use.DERIVE.value,
        purpose=manifest.digest,
        generation=None,
    )


def _remedy(namespace: str, source: Source) -> str:
    place = f"{source.dataset} -n {source.owner}"
    return (
        f"{source.owner}/{source.dataset}, which the model is of, is not granted to {namespace} for Derive; "
        f"its owner can do it: kubectl collab grants add {place} --to {namespace} --use Derive"
    )


def _check_parents(manifest: Manifest, made: Iterable[Made]) -> None:
    """Raises Refused unless the version says which result it is, and what that is of."""
    named = set(manifest.parents)
    if not any({each.digest, *each.parents} <= named for each in made):
        raise invalid(
            "manifest.parents: the weights are those of a stored result; name it and its parents, or publish it with "
            "kubectl collab publish-model TASK --as DATASET"
        )


def _sources(connection: Connection, made: Iterable[Made]) -> list[Source]:
    """What the tasks opened to learn from, and what the results that they started from are of, as it is on record."""
    waiting, seen = {each.task_uid for each in made}, set[str]()
    found: dict[Source, None] = {}
    columns = (access.c.owner, access.c.dataset, access.c.dataset_uid, access.c.version, access.c.use, access.c.purpose)
    while waiting:
        task_uid = waiting.pop()
        seen.add(task_uid)
        opened = select(*columns).where(access.c.task_uid == task_uid, access.c.event == OPENED).distinct()
        started_from = []
        for row in connection.execute(opened):
            if row.dataset_uid is not None and is_for(Use.TRAIN, row.use):
                found[Source(row.owner, row.dataset, row.dataset_uid, row.version)] = None
            elif row.dataset_uid is None and (row.purpose or "").startswith(RESULT_OF):
                started_from.append(row.version)
        stored = select(access.c.task_uid).where(
            access.c.version.in_(started_from), access.c.event == PUBLISHED, access.c.dataset_uid.is_(None)
        )
        if started_from:
            waiting |= set(connection.execute(stored.distinct()).scalars()) - seen - {None}
    return sorted(found, key=lambda source: (source.owner, source.dataset, source.version))


def _all_recorded(connection: Connection) -> dict[str, tuple[Source, ...]]:
    columns = (access.c.purpose, access.c.owner, access.c.dataset, access.c.dataset_uid, access.c.version)
    found: dict[str, tuple[Source, ...]] = {}
    for digest, *source in connection.execute(select(*columns).where(access.c.event == DERIVED).distinct()):
        found[digest] = (*found.get(digest, ()), Source(*source))
    return found


def _recorded(connection: Connection, digest: str) -> tuple[Source, ...]:
    columns = (access.c.owner, access.c.dataset, access.c.dataset_uid, access.c.version)
    query = select(*columns).where(access.c.event == DERIVED, access.c.purpose == digest).distinct()
    return tuple(Source(*row) for row in connection.execute(query))
