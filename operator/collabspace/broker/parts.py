"""The broker's parts, each made once and given to those that need it."""

import asyncio
import logging
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from collabspace.api.run import CheckpointReference
from collabspace.broker.aliases import Aliases
from collabspace.broker.custody import Custody, all_checkpoints, all_owners
from collabspace.broker.derivation import Derivations, with_sources
from collabspace.broker.feed import Knowledge
from collabspace.broker.gate import Gate
from collabspace.broker.identity import Trainers
from collabspace.broker.inspection import Inspector
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import Entry, Ledger
from collabspace.broker.limits import RateLimiter
from collabspace.broker.live import Cluster
from collabspace.broker.refusal import Undecided
from collabspace.broker.sessions import Sessions
from collabspace.broker.settings import BrokerSettings
from collabspace.broker.staging import Staging
from collabspace.broker.store import Store
from collabspace.broker.store_settings import Reads
from collabspace.broker.tokens import Tokens
from collabspace.broker.uploads import Uploads
from collabspace.broker.versions import Versions, list_versions
from collabspace.kube.client import KubeClient
from collabspace.kube.logs import say

if TYPE_CHECKING:
    # S3 needs a package that a broker with a folder does without.
    from collabspace.broker.enforcement import Enforcement

logger = logging.getLogger(__name__)
SCRATCH = ".checks"
BURST = 4


@dataclass(frozen=True)
class Parts:
    """Everything that lives as long as the process. `start` and `close` are called on the loop that serves."""

    settings: BrokerSettings
    kube: KubeClient
    ledger: Ledger
    store: Store
    enforcement: "Enforcement | None" = None

    async def start(self) -> None:
        """Reads store and ledger, so that the broker knows what it knew before it stopped."""
        if not self.ledger.shared or self.enforcement is not None:
            # In a folder that others may use, what is half written may be theirs; beside a bucket each has its own.
            await asyncio.to_thread(shutil.rmtree, self.scratch, True)
            await asyncio.to_thread(self.store.discard_partial)
        await asyncio.to_thread(self.scratch.mkdir, parents=True, exist_ok=True)
        versions = await asyncio.to_thread(list_versions, self.store)
        derived = await self.derivations.every()
        versions = {
            uid: [with_sources(each, derived.get(each.digest, ())) for each in found] for uid, found in versions.items()
        }
        counters = await asyncio.to_thread(self.ledger.counters)
        attempts = await asyncio.to_thread(self.ledger.attempts)
        rows = await asyncio.to_thread(all_checkpoints, self.ledger)
        self.custody.restore(await asyncio.to_thread(all_owners, self.ledger), rows)
        self.knowledge.restore(versions, counters, attempts)
        for row in reversed(rows):
            reference = CheckpointReference(step=row.step, digest=row.digest)
            self.knowledge.attempt(row.task_uid, row.attempt, checkpoint=reference)
        for owner in self.custody.owners():
            if owner.uid != owner.storage:
                self.knowledge.give(owner.storage, owner.uid)
        numbers = [(known.task_uid, known.attempt) for known in attempts]
        for task_uid, attempt in numbers + [(row.task_uid, row.attempt) for row in rows]:
            self.trainers.learn(task_uid, attempt)
        self.journal.start()
        await self.aliases.restore()
        say(
            logger,
            "started",
            datasets=len(versions),
            attempts=len(attempts),
            store="folder" if self.enforcement is None else "s3",
        )

    async def close(self) -> None:
        """Closes every session on record, then lets go of ledger and API server."""
        try:
            await self.sessions.end_idle(all_of_them=True)
            await self.sessions.settle()
        except Undecided as error:
            say(logger, "sessions-not-on-record", logging.ERROR, reason=error.reason)
        await self.journal.close()
        self.ledger.close()
        await asyncio.to_thread(self.store.close)
        await self.kube.close()

    async def keep_up(self) -> None:
        """Ends what nobody uses, and writes the counts of floods that are over. Raises Undecided."""
        if self.enforcement is not None:
            await self.enforcement.keep_up()
        self.uploads.forget_idle()
        await self.sessions.settle()
        await self.sessions.end_idle()
        await self.journal.settle_floods()
        await self.aliases.settle()
        # So that a ledger that takes no records is known before somebody needs it.
        await self.journal.ping()

    @property
    def link_giver(self) -> "Enforcement | None":
        """Who gives readers links into the store; None: the broker sends the bytes itself.

        As long as it is not proven that a link opens no more than it says, nobody gets one."""
        wanted = self.settings.broker_reads is Reads.REDIRECT
        return self.enforcement if wanted and self.enforcement is not None and self.enforcement.proven else None

    @property
    def health(self) -> str:
        """Lines for people: what is known of ledger and store."""
        lines = ["ledger: ok"]
        if self.enforcement is not None:
            verdict = "True" if self.enforcement.proven else "False"
            lines.append(f"EnforcementProven: {verdict} ({self.enforcement.detail})")
        return "\n".join(lines)

    @property
    def scratch(self) -> Path:
        return self.settings.staging_folder / SCRATCH

    @cached_property
    def knowledge(self) -> Knowledge:
        return Knowledge()

    @cached_property
    def journal(self) -> Journal:
        # Where others write too, the ledger itself is asked what there is by now: see following.py.
        return Journal(self.ledger, _ignore if self.ledger.shared else self.knowledge.count)

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
        return Sessions(self.journal, self.settings.broker_grace_seconds)

    @cached_property
    def custody(self) -> Custody:
        return Custody(self.journal)

    @cached_property
    def aliases(self) -> Aliases:
        return Aliases(self.store, self.custody, self.knowledge, self.journal, self.cluster)

    @cached_property
    def derivations(self) -> Derivations:
        return Derivations(self.store, self.custody, self.versions, self.journal, self.cluster)

    @cached_property
    def inspector(self) -> Inspector:
        return Inspector(self.settings.broker_check_memory_bytes)

    @cached_property
    def staging(self) -> Staging:
        return Staging(self.settings.staging_folder, self.store, copies=self.enforcement is not None)

    @cached_property
    def versions(self) -> Versions:
        return Versions(self.store, self.custody)

    @cached_property
    def uploads(self) -> Uploads:
        return Uploads(self.staging, self.store)


def _ignore(_: Entry, __: str, ___: str) -> None:
    return
