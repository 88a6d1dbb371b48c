"""The ledger for many callers at once: records that wait together share one commit, and a flood of equal refusals is
one record a minute instead of a full disk."""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TypeVar

from collabspace.api import names
from collabspace.broker import metrics
from collabspace.broker.ledger import CLOSED, OPENED, Entry, Ledger, LedgerUnavailableError, time_text
from collabspace.broker.refusal import Undecided
from collabspace.kube import clock
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
T = TypeVar("T")
FLOOD_SECONDS = 60.0
FAILURE_SECONDS = 60.0
MAX_BATCH = 256
Key = tuple[str, str, str, str]
OWN_ACCOUNTS = frozenset({names.TRAINER_ACCOUNT, names.PUBLISHER_ACCOUNT, names.READER_ACCOUNT, names.OPERATOR_ACCOUNT})
COMPARED = tuple(each.name for each in fields(Entry) if each.name not in ("session", "repeats"))


@dataclass
class _Flood:
    """Equal refusals since `since`: the record of the first, and how many `more` have none yet.

    `shared` is what all that have none have in common; it is None while there are none.
    """

    since: float
    first: asyncio.Task[str | None]
    more: int = 0
    shared: Entry | None = None

    def count(self, entry: Entry, times: int = 1) -> None:
        self.more += times
        self.shared = entry if self.shared is None else common(self.shared, entry)

    def rest(self) -> Entry | None:
        """One record for all that have none."""
        return None if self.shared is None else self.shared.but(repeats=self.more)


@dataclass
class _Waiting:
    entry: Entry
    done: asyncio.Future[str | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Journal:
    """Start it on the loop that uses it, and close it: what still waits is written then."""

    def __init__(self, ledger: Ledger, heard: Callable[[Entry, str, str], None]) -> None:
        self.ledger = ledger
        self._heard = heard
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._floods: dict[Key, _Flood] = {}
        # One thread: a database that takes one writer gains nothing from a second one that waits.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._writer: asyncio.Task[None] | None = None
        # Ends of sessions whose opening may be on record although nobody was told: closed if they are.
        self._unsure: list[Entry] = []
        self._failed = float("-inf")

    def start(self) -> None:
        """First closes, on record, what a broker that died left open. Raises LedgerUnavailableError."""
        now = clock.now()
        self._tell_closed(self.ledger.close_interrupted(now), now)
        metrics.WRITABLE.set(1)
        self._writer = asyncio.create_task(self._write())

    async def close_interrupted(self) -> None:
        """Closes, on record, what brokers left open that died since. Raises Undecided."""
        now = clock.now()
        self._tell_closed(await self._in_turn(lambda: self.ledger.close_interrupted(now)), now)

    def _tell_closed(self, left: list[tuple[Entry, str]], now: dt.datetime) -> None:
        for entry, head in left:
            self._heard(entry, head, time_text(now))
        if left:
            say(logger, "interrupted-sessions-closed", logging.WARNING, sessions=len(left))

    async def close(self) -> None:
        try:
            await self.settle_floods(all_of_them=True)
        except Undecided as error:
            say(logger, "counts-lost", logging.ERROR, reason=error.reason)
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        self._thread.shutdown()

    async def record(self, entry: Entry) -> str | None:
        """The entry is durable when this returns its hash (None: a Closed that was on record before).

        Raises Undecided when the ledger cannot be written.
        """
        waiting = _Waiting(entry)
        self._queue.put_nowait(waiting)
        return await waiting.done

    async def deny(self, entry: Entry) -> None:
        """Records a refusal, or counts it when an equal one was recorded within the last minute."""
        key = _key(entry)
        now = time.monotonic()
        flood = self._floods.get(key)
        if flood is not None and now - flood.since < FLOOD_SECONDS:
            # Nobody hears a no before one equal no is on record.
            await asyncio.shield(flood.first)
            flood.count(entry)
            return
        rest = None if flood is None else flood.rest()
        record = entry if rest is None else common(rest, entry).but(repeats=rest.repeats + 1)
        first = asyncio.create_task(self.record(record))
        self._floods[key] = _Flood(now, first)
        try:
            await asyncio.shield(first)
        except Undecided:
            self._floods.pop(key, None)
            raise

    async def settle_floods(self, *, all_of_them: bool = False) -> None:
        """Writes the counts of floods that are over, so that nothing is lost when no equal refusal follows.

        Raises Undecided when the ledger cannot be written; the counts are kept.
        """
        now = time.monotonic()
        over = [key for key, flood in self._floods.items() if all_of_them or now - flood.since >= FLOOD_SECONDS]
        for key in over:
            flood = self._floods.pop(key)
            rest = flood.rest()
            if rest is None:
                continue
            try:
                await self.record(rest)
            except Undecided:
                self._floods.setdefault(key, _Flood(flood.since, flood.first)).count(rest, rest.repeats)
                raise

    async def run(self, call: Callable[[], T]) -> T:
        """A call that writes to the ledger, in its thread and in turn with the records. Raises Undecided."""
        answer = await self._in_turn(call)
        metrics.WRITABLE.set(1)
        return answer

    async def ping(self) -> None:
        """Raises Undecided. A yes shows less than a record that was written: what failed before counts for a while."""
        await self._in_turn(self.ledger.ping)
        if time.monotonic() - self._failed > FAILURE_SECONDS:
            metrics.WRITABLE.set(1)

    async def _in_turn(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except LedgerUnavailableError as error:
            self._failed = time.monotonic()
            metrics.WRITABLE.set(0)
            raise Undecided("LedgerUnavailable", "the ledger cannot be used now; try again soon") from error

    async def read(self, call: Callable[[Ledger], T]) -> T:
        """Reading goes on beside the writer's thread: a long check delays no decision. Raises Undecided."""
        try:
            return await asyncio.to_thread(call, self.ledger)
        except LedgerUnavailableError as error:
            raise Undecided("LedgerUnavailable", "the ledger cannot be read now; try again soon") from error

    async def tell(self, uid: str, progress: str | None = None) -> None:
        """Other brokers on this ledger hear that something of this storage or task changed. Raises Undecided."""
        ledger = self.ledger
        if ledger.shared:
            await self.run(lambda: ledger.write(lambda connection: ledger.tell(connection, uid, progress=progress)))

    async def _write(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            entries = [waiting.entry for waiting in batch]
            now = clock.now()
            owed = self._unsure
            try:
                hashes = (await self.run(partial(self.ledger.append, [*owed, *entries], now)))[len(owed) :]
            except Exception as error:  # every waiter must hear of it, and the writer must live on
                self._unsure += _opened_unheard(entries, error)
                _fail(batch, error)
                continue
            self._unsure = []
            for waiting, head in zip(batch, hashes, strict=True):
                if head is not None:
                    metrics.RECORDS.labels(waiting.entry.event).inc()
                    self._heard(waiting.entry, head, time_text(now))
                if not waiting.done.cancelled():
                    waiting.done.set_result(head)


def _key(entry: Entry) -> Key:
    """Refusals with the same key are equal. Anyone can make accounts without number, so only our own are told apart."""
    account = entry.account if entry.account in OWN_ACCOUNTS else ""
    return entry.namespace, account, entry.chain, entry.reason


def common(one: Entry, other: Entry) -> Entry:
    """What both refusals say: a field in which they differ is left empty, so that no record says more than is true."""
    differing = {name for name in COMPARED if getattr(one, name) != getattr(other, name)}
    return one.but(**{name: "" if name == "account" else None for name in differing})


def _opened_unheard(entries: list[Entry], error: Exception) -> list[Entry]:
    """The ends of the sessions that these entries open, if nobody knows whether they are on record."""
    cause = error.__cause__
    if not (isinstance(cause, LedgerUnavailableError) and cause.unsure):
        return []
    return [entry.but(event=CLOSED, bytes=0) for entry in entries if entry.event == OPENED]


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.done.cancelled():
            waiting.done.set_exception(error)
