"""What the broker knows of datasets and attempts, and the feed by which the operator hears of changes to it."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from collabspace.api.manifest import Manifest
from collabspace.api.run import CheckpointReference, EndRecord, Progress
from collabspace.broker.ledger import CLOSED, DENIED, OPENED, AttemptRow, Counters, Entry
from collabspace.client.protocol import AliasState, AttemptFeed, Committed, DatasetFeed, Feed, VersionSummary

FEED_VERSIONS = 3
GATHER_SECONDS = 0.1


@dataclass
class _Dataset:
    versions: list[VersionSummary] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    changed: int = 0


@dataclass
class _Attempt:
    feed: AttemptFeed
    changed: int


@dataclass
class _Alias:
    state: AliasState
    changed: int = 0


class Knowledge:
    """Built from store and ledger at start, kept current by every commit and record. Lives on the event loop."""

    def __init__(self) -> None:
        # Cursors of another life of the process mean nothing here: the epoch tells them apart.
        self._epoch = secrets.token_hex(8)
        self._sequence = 0
        self._datasets: dict[str, _Dataset] = {}
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._aliases: dict[tuple[str, str], _Alias] = {}
        self._change = asyncio.Event()

    def restore(
        self, versions: dict[str, list[VersionSummary]], counters: dict[str, Counters], attempts: Iterable[AttemptRow]
    ) -> None:
        """What store and ledger hold; versions newest first."""
        for uid, summaries in versions.items():
            self._dataset(uid).versions = summaries
        for uid, counted in counters.items():
            self._dataset(uid).counters = counted
        for row in attempts:
            end = None if row.end is None else EndRecord.model_validate_json(row.end)
            result = None if row.result is None else Committed.model_validate_json(row.result)
            self.attempt(row.task_uid, row.attempt, end=end, result=result)

    def count(self, entry: Entry, head: str, time: str) -> None:
        """A record was written."""
        if entry.dataset_uid is None:
            return
        dataset = self._dataset(entry.dataset_uid)
        before = dataset.counters
        opened = entry.event == OPENED
        dataset.counters = Counters(
            reads=before.reads + (entry.repeats if opened else 0),
            denials=before.denials + (entry.repeats if entry.event == DENIED else 0),
            bytes_read=before.bytes_read + ((entry.bytes or 0) if entry.event == CLOSED else 0),
            last_read=time if opened else before.last_read,
            head=head,
        )
        self._changed(dataset)

    def counters(self) -> dict[str, Counters]:
        """What is counted of every dataset, by uid."""
        return {uid: dataset.counters for uid, dataset in self._datasets.items()}

    def recount(self, counters: Mapping[str, Counters]) -> None:
        """What the ledger adds up to for these, whoever wrote it."""
        for uid, counted in counters.items():
            dataset = self._dataset(uid)
            dataset.counters = counted
            self._changed(dataset)

    def hold(self, uid: str, versions: list[VersionSummary]) -> None:
        """All versions of a dataset, newest first."""
        dataset = self._dataset(uid)
        if dataset.versions != versions:
            dataset.versions = versions
            self._changed(dataset)

    def publish(self, uid: str, summary: VersionSummary) -> None:
        """A version was committed; it is the current one from now on."""
        dataset = self._dataset(uid)
        dataset.versions = [summary, *(version for version in dataset.versions if version.digest != summary.digest)]
        self._changed(dataset)

    def give(self, from_uid: str, uid: str) -> None:
        """The versions of one dataset are another's from now on."""
        dataset, given = self._dataset(uid), self._dataset(from_uid)
        dataset.versions = sorted(dataset.versions + given.versions, key=lambda v: v.created_time, reverse=True)
        given.versions = []
        self._changed(dataset)
        self._changed(given)

    def forget(self, uid: str) -> None:
        """The object is gone, and with it what was stored for it. What the ledger counts stays."""
        if uid in self._datasets:
            self._datasets[uid].versions = []
            self._changed(self._datasets[uid])
        for key in [key for key in self._attempts if key[0] == uid]:
            del self._attempts[key]

    def versions(self, uid: str) -> list[VersionSummary]:
        """Of a dataset, newest first."""
        dataset = self._datasets.get(uid)
        return [] if dataset is None else dataset.versions

    def current(self, uid: str) -> VersionSummary | None:
        """The newest version of a dataset."""
        return next(iter(self.versions(uid)), None)

    def attempt(
        self,
        task_uid: str,
        number: int,
        *,
        progress: Progress | None = None,
        end: EndRecord | None = None,
        result: Committed | None = None,
        checkpoint: CheckpointReference | None = None,
    ) -> AttemptFeed:
        """Adds what is given to what is known of an attempt."""
        key = task_uid, number
        known = self._attempts.get(key) or _Attempt(AttemptFeed(task_uid=task_uid, attempt=number), 0)
        said = {"progress": progress, "end": end, "result": result, "checkpoint": checkpoint}
        known.feed = known.feed.model_copy(update={name: value for name, value in said.items() if value is not None})
        self._attempts[key] = known
        self._changed(known)
        return known.feed

    def attempt_of(self, task_uid: str, number: int) -> AttemptFeed | None:
        known = self._attempts.get((task_uid, number))
        return None if known is None else known.feed

    def attempts_of(self, task_uid: str) -> list[AttemptFeed]:
        """Newest first."""
        found = [known.feed for (uid, _), known in self._attempts.items() if uid == task_uid]
        return sorted(found, key=lambda feed: feed.attempt, reverse=True)

    def set_alias(self, state: AliasState) -> None:
        """An alias stands for something else, or is known of now."""
        key = state.namespace_uid, state.alias
        if key not in self._aliases or self._aliases[key].state != state:
            self._aliases[key] = _Alias(state)
            self._changed(self._aliases[key])

    def aliases(self) -> list[AliasState]:
        """Of all namespaces."""
        return [known.state for known in self._aliases.values()]

    def forget_aliases(self, namespace_uid: str) -> None:
        """The namespace is gone, and its aliases with it."""
        for key in [key for key in self._aliases if key[0] == namespace_uid]:
            del self._aliases[key]

    async def feed(self, cursor: str, wait_seconds: float) -> Feed:
        """What changed after `cursor`; everything when it is unknown. Waits when there is nothing to tell."""
        since = self._since(cursor)
        if since is not None and since == self._sequence:
            await self._wait(wait_seconds)
        after = -1 if since is None else since
        return Feed(
            cursor=f"{self._epoch}-{self._sequence}",
            full=since is None,
            datasets=[_dataset_feed(uid, d) for uid, d in self._datasets.items() if d.changed > after],
            attempts=[known.feed for known in self._attempts.values() if known.changed > after],
            aliases=[known.state for known in self._aliases.values() if known.changed > after],
        )

    async def _wait(self, seconds: float) -> None:
        change = self._change
        try:
            async with asyncio.timeout(seconds):
                await change.wait()
                # Changes come in bursts: one answer for many is cheaper on both sides.
                await asyncio.sleep(GATHER_SECONDS)
        except TimeoutError:
            return

    def _since(self, cursor: str) -> int | None:
        epoch, _, sequence = cursor.partition("-")
        if epoch != self._epoch or not sequence.isascii() or not sequence.isdecimal():
            return None
        return int(sequence) if len(sequence) < 20 and int(sequence) <= self._sequence else None

    def _dataset(self, uid: str) -> _Dataset:
        return self._datasets.setdefault(uid, _Dataset())

    def _changed(self, thing: _Dataset | _Attempt | _Alias) -> None:
        self._sequence += 1
        thing.changed = self._sequence
        change, self._change = self._change, asyncio.Event()
        change.set()


def summarise(manifest: Manifest, created_time: str) -> VersionSummary:
    return VersionSummary(
        digest=manifest.digest,
        created_time=created_time,
        format=str(manifest.format),
        records=manifest.records,
        bytes=manifest.size,
        files=len(manifest.files),
        labels=manifest.labels,
    )


def _dataset_feed(uid: str, dataset: _Dataset) -> DatasetFeed:
    counters = dataset.counters
    return DatasetFeed(
        uid=uid,
        versions=dataset.versions[:FEED_VERSIONS],
        reads=counters.reads,
        denials=counters.denials,
        bytes_read=counters.bytes_read,
        last_read_time=counters.last_read,
        ledger_head=counters.head,
    )
