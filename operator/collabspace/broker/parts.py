"""The broker's parts, each made once and given to those that need it."""

import asyncio
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from collabspace.broker.feed import Knowledge
from collabspace.broker.gate import Gate
from collabspace.broker.identity import Trainers
from collabspace.broker.inspection import Inspector
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import Ledger
from collabspace.broker.limits import RateLimiter
from collabspace.broker.live import Cluster
from collabspace.broker.outcomes import AttemptRoutes, ResultRoutes
from collabspace.broker.publishing import Committer, Publishing, UploadRoutes
from collabspace.broker.reading import Reading, SessionRoutes
from collabspace.broker.records import RecordRoutes
from collabspace.broker.refusal import Undecided
from collabspace.broker.sessions import Session, Sessions
from collabspace.broker.settings import BrokerSettings
from collabspace.broker.staging import Staging
from collabspace.broker.store import FilesystemStore
from collabspace.broker.tokens import Tokens
from collabspace.broker.uploads import Uploads
from collabspace.broker.versions import Versions, list_versions
from collabspace.kube.client import KubeClient
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
SCRATCH = ".checks"
BURST = 4


@dataclass(frozen=True)
class Parts:
    """Everything that lives as long as the process. `start` and `close` are called on the loop that serves."""

    settings: BrokerSettings
    kube: KubeClient
    ledger: Ledger

    async def start(self) -> None:
        """Reads store and ledger, so that the broker knows what it knew before it stopped."""
        root = self.settings.broker_store
        await asyncio.to_thread(shutil.rmtree, self.scratch, True)
        await asyncio.to_thread(self.scratch.mkdir, parents=True)
        versions = await asyncio.to_thread(list_versions, self.store)
        counters = await asyncio.to_thread(self.ledger.counters)
        attempts = await asyncio.to_thread(self.ledger.attempts)
        self.knowledge.restore(versions, counters, attempts)
        for row in attempts:
            self.trainers.learn(row.task_uid, row.attempt)
        self.journal.start()
        say(logger, "started", datasets=len(versions), attempts=len(attempts), store=root.name)

    async def close(self) -> None:
        """Closes every session on record, then lets go of ledger and API server."""
        try:
            await self._close_sessions(self.sessions.idle(all_of_them=True))
        except Undecided as error:
            say(logger, "sessions-not-on-record", logging.ERROR, reason=error.reason)
        await self.journal.close()
        self.ledger.close()
        await self.kube.close()

    async def keep_up(self) -> None:
        """Ends what nobody uses, and writes the counts of floods that are over. Raises Undecided."""
        await self._close_sessions(self.sessions.idle())
        self.uploads.forget_idle()
        await self.journal.settle_floods()

    async def _close_sessions(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            record = self.sessions.close(session)
            if record is not None:
                await self.journal.record(record)

    @property
    def scratch(self) -> Path:
        return self.settings.broker_store / SCRATCH

    @cached_property
    def store(self) -> FilesystemStore:
        return FilesystemStore(self.settings.broker_store)

    @cached_property
    def knowledge(self) -> Knowledge:
        return Knowledge()

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.ledger, self.knowledge.count)

    @cached_property
    def cluster(self) -> Cluster:
        return Cluster(self.kube)

    @cached_property
    def trainers(self) -> Trainers:
        return Trainers(self.cluster)

    @cached_property
    def gate(self) -> Gate:
        rate = self.settings.broker_requests_per_second
        return Gate(Tokens(self.kube), RateLimiter(rate, max(1, int(BURST * rate))))

    @cached_property
    def sessions(self) -> Sessions:
        return Sessions()

    @cached_property
    def versions(self) -> Versions:
        return Versions(self.store)

    @cached_property
    def uploads(self) -> Uploads:
        return Uploads(Staging(self.settings.broker_store, self.store), self.store)

    @cached_property
    def session_routes(self) -> SessionRoutes:
        reading = Reading(self.cluster, self.trainers)
        return SessionRoutes(self.gate, reading, self.sessions, self.journal, self.knowledge, self.versions, self.store)

    @cached_property
    def upload_routes(self) -> UploadRoutes:
        inspector = Inspector(self.settings.broker_check_memory_bytes)
        committer = Committer(self.store, self.scratch, inspector, self.journal, self.knowledge)
        limits = {
            "Dataset": self.settings.broker_max_version_bytes,
            "Result": self.settings.broker_max_result_bytes,
        }
        return UploadRoutes(self.gate, Publishing(self.cluster, self.trainers), self.uploads, committer, limits)

    @cached_property
    def attempt_routes(self) -> AttemptRoutes:
        return AttemptRoutes(self.gate, self.trainers, self.journal, self.knowledge)

    @cached_property
    def result_routes(self) -> ResultRoutes:
        return ResultRoutes(
            self.gate, self.cluster, self.sessions, self.journal, self.knowledge, self.versions, self.store
        )

    @cached_property
    def record_routes(self) -> RecordRoutes:
        return RecordRoutes(self.gate, self.cluster, self.journal, self.knowledge)
