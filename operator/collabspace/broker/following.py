"""One broker among several on a ledger: it shows that it lives, notices those that do not, and takes in what the others
did, so that its memory is theirs a second later.

What must not be a second late is asked of the ledger itself: ends and results of attempts, usage, aliases, the
checkpoints that a trainer may go on from, and everything about a storage while it is this broker's turn to change it.
"""

import asyncio
import logging
import os
import signal
import time

from collabspace.api.run import CheckpointReference, EndRecord
from collabspace.broker import replicas
from collabspace.broker.custody import OwnerKind, held_of
from collabspace.broker.ledger import LedgerUnavailableError
from collabspace.broker.parts import Parts
from collabspace.broker.refusal import Refused
from collabspace.broker.replicas import LEASE_SECONDS, Watch
from collabspace.broker.versions import summaries_of
from collabspace.client.protocol import AttemptFeed, Committed
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
POLL_SECONDS = 1.0
BEAT_SECONDS = 5.0
# Before the others take it for dead and close its sessions on record, it has ended them itself.
ALONE_SECONDS = LEASE_SECONDS * 0.75


class Following:
    """One per process; `run` until it is cancelled. Does nothing on a database that only one broker can have."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ledger = parts.ledger
        self._watch = Watch()
        self._heard = 0
        self._beaten = float("-inf")
        self._alive = time.monotonic()
        if self._ledger.shared:
            parts.custody.turns.refresh = self.refresh

    async def run(self) -> None:
        while self._ledger.shared:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.follow()
            except (LedgerUnavailableError, Refused, OSError) as error:
                self._watch.blind()
                say(logger, "not-following", logging.WARNING, cause=type(error).__name__)
                await self._keep_alone()
            except Exception:  # a fault in one round must not end all later ones
                logger.exception("following-failed")

    async def follow(self) -> None:
        """One round. Raises LedgerUnavailableError, Undecided, OSError."""
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            await self._beat()
        ledger, knowledge = self._ledger, self._parts.knowledge
        newest, news = await asyncio.to_thread(
            ledger.read, lambda connection: replicas.hear(connection, ledger.replica, self._heard)
        )
        for uid in dict.fromkeys(uid for uid, progress in news if progress is None):
            await self.refresh(uid)
        for _, progress in news:
            if progress is not None:
                self._learn(AttemptFeed.model_validate_json(progress))
        self._heard = newest
        known = knowledge.counters()
        knowledge.recount(await asyncio.to_thread(ledger.counters, known))

    async def refresh(self, uid: str) -> None:
        """Takes in what ledger and store hold of one storage or task by now. Raises Undecided, OSError."""
        parts, custody = self._parts, self._parts.custody
        owner, rows, attempts = await parts.journal.read(lambda ledger: held_of(ledger, uid))
        before = custody.owner(uid)
        custody.learn(uid, owner, rows)
        if owner is None and before is not None:
            parts.versions.forget(uid)
            parts.knowledge.forget(before.uid)
        elif owner is None:  # perhaps a namespace, whose aliases are read from the store alone
            for state in await parts.aliases.of(uid):
                parts.knowledge.set_alias(state)
        for row in attempts:
            end = None if row.end is None else EndRecord.model_validate_json(row.end)
            result = None if row.result is None else Committed.model_validate_json(row.result)
            self._learn(AttemptFeed(task_uid=uid, attempt=row.attempt, end=end, result=result))
        newest_of = {row.attempt: row for row in reversed(rows)}
        for checkpoint in newest_of.values():
            reference = CheckpointReference(step=checkpoint.step, digest=checkpoint.digest)
            self._learn(AttemptFeed(task_uid=uid, attempt=checkpoint.attempt, checkpoint=reference))
        if owner is not None and owner.kind is OwnerKind.DATASET:
            await self._refresh_versions(owner.uid, uid)

    def _learn(self, told: AttemptFeed) -> None:
        """What is told of an attempt; what is known of it already is no news to the operator."""
        self._parts.trainers.learn(told.task_uid, told.attempt)
        known = self._parts.knowledge.attempt_of(told.task_uid, told.attempt)
        said = {name: getattr(told, name) for name in ("progress", "end", "result", "checkpoint")}
        said = {name: value for name, value in said.items() if value is not None}
        if any(known is None or getattr(known, name) != value for name, value in said.items()):
            self._parts.knowledge.attempt(told.task_uid, told.attempt, **said)

    async def _refresh_versions(self, uid: str, storage: str) -> None:
        """Of the dataset that a storage belongs to; the storage's own first owner has none any more."""
        parts = self._parts
        found = [
            summary
            for held in parts.custody.storages(uid)
            for summary in await asyncio.to_thread(summaries_of, parts.store, held)
        ]
        found = await parts.derivations.told(found)
        parts.knowledge.hold(uid, sorted(found, key=lambda summary: summary.created_time, reverse=True))
        if storage != uid:
            parts.knowledge.hold(storage, [])

    async def _beat(self) -> None:
        """Shows that it lives, and buries those that have not for long. Raises LedgerUnavailableError, Undecided."""
        ledger, heard, held = self._ledger, self._heard, set(self._parts.custody.turns.held)
        counts = await asyncio.to_thread(
            ledger.write, lambda connection: replicas.beat(connection, ledger.replica, heard, held)
        )
        if counts is None:
            say(logger, "taken-for-dead", logging.ERROR, remedy="stops, to be started anew")
            await self._parts.sessions.end_unconfirmed()
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self._beaten = self._alive = time.monotonic()
        for replica, seen in self._watch.see(counts, self._beaten).items():
            if await asyncio.to_thread(ledger.write, lambda c: replicas.bury(c, replica, seen)):  # noqa: B023
                say(logger, "broker-gone", logging.WARNING, replica=replica)
        await self._parts.journal.close_interrupted()

    async def _keep_alone(self) -> None:
        """Out of reach of the ledger for long, it cannot know whether the others count it among the living."""
        if time.monotonic() - self._alive > ALONE_SECONDS:
            await self._parts.sessions.end_unconfirmed()
