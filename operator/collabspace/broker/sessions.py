"""Access sessions: one decision, then a version's files ride on it until it is closed, idle or no longer true.

While bytes flow the decision is made again every few seconds, and a stream whose decision no longer holds is cut.
When nobody can say whether it holds (the API server is away), an open stream goes on for `broker_grace_seconds` since
it was last confirmed, so that a restart of the API server breaks nothing; then it is cut as well, and its reader is
told to come back. No new file is begun on a decision that cannot be confirmed.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from collabspace.api.manifest import FileEntry
from collabspace.broker import metrics
from collabspace.broker.identity import AccessDenied
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import CLOSED, Entry
from collabspace.broker.refusal import Refused, Undecided, too_many
from collabspace.broker.tokens import Caller
from collabspace.broker.versions import Held
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
IDLE_SECONDS = 600.0
# With the time that the reads of a decision take, less than the five seconds that are promised.
RECHECK_SECONDS = 4.0
RETRY_SECONDS = 1.0
MAX_PER_NAMESPACE = 512
UNCONFIRMED = "Unconfirmed"
Confirm = Callable[[], Awaitable[object]]


@dataclass
class Session:
    """`entry` is the record that opened it and names the version; `sent` counts bytes given to the connection.

    `confirm` makes the decision again: raises AccessDenied, Undecided.
    `decided` is when the decision that holds was begun, on the monotonic clock.
    `linked`: files were read by links into the store, where the broker does not see what goes.
    """

    id: str
    caller: Caller
    held: Held
    entry: Entry
    confirm: Confirm
    decided: float
    used: float
    sent: int = 0
    linked: bool = False
    files: dict[str, FileEntry] = field(default_factory=dict)
    streams: set[asyncio.Task[None]] = field(default_factory=set)
    watcher: asyncio.Task[None] | None = None

    @property
    def digest(self) -> str:
        return self.entry.version or ""

    def note_sent(self, count: int) -> None:
        self.sent += count
        self.used = time.monotonic()

    def closing(self, reason: str | None) -> Entry:
        """The record that ends it, with what was observed; `reason` when it was not the reader who ended it."""
        return self.entry.but(
            event=CLOSED, bytes=None if self.linked else self.sent, reason=reason or self.entry.reason
        )


class Sessions:
    """Held in memory: after a restart clients open again, and the ledger gets a new decision."""

    def __init__(self, journal: Journal, grace_seconds: float) -> None:
        self._journal = journal
        self._grace = grace_seconds
        self._open: dict[str, Session] = {}
        self._owed: list[Entry] = []

    def open(self, caller: Caller, held: Held, entry: Entry, confirm: Confirm, decided: float) -> Session:
        session = Session(secrets.token_urlsafe(24), caller, held, entry, confirm, decided, time.monotonic())
        session.files = {file.path: file for file in held.manifest.files}
        self._open[session.id] = session
        metrics.SESSIONS.set(len(self._open))
        return session

    def room_for(self, caller: Caller) -> None:
        """Raises Refused when the namespace holds too many."""
        if sum(session.caller.namespace == caller.namespace for session in self._open.values()) >= MAX_PER_NAMESPACE:
            raise too_many(
                f"this namespace has {MAX_PER_NAMESPACE} open sessions; close some or wait until they expire"
            )

    def find(self, session_id: str, caller: Caller) -> Session | None:
        """The session, if it is this caller's; another's is as unknown as one that never was."""
        session = self._open.get(session_id)
        if session is None or session.caller.key != caller.key:
            return None
        session.used = time.monotonic()
        return session

    def riding(self, caller: Caller, storage: str, digest: str) -> Session | None:
        """A session of this caller on that result that is young enough to go on with."""
        for session in self._open.values():
            if (session.caller.key, session.held.storage, session.digest) == (caller.key, storage, digest):
                session.used = time.monotonic()
                return session
        return None

    async def current(self, session: Session) -> None:
        """Returns when its decision is young, or holds still. A no ends it. Raises AccessDenied, Undecided."""
        if time.monotonic() - session.decided <= RECHECK_SECONDS:
            return
        begun = time.monotonic()
        try:
            await session.confirm()
        except AccessDenied as denied:
            await self.end(session, denied.why.value)
            raise
        session.decided = begun

    async def end(self, session: Session, reason: str | None = None) -> None:
        """Cuts its streams and records what they sent. Raises Undecided; the record is then written later."""
        if self._open.pop(session.id, None) is None:
            return
        metrics.SESSIONS.set(len(self._open))
        for stream in session.streams:
            stream.cancel()
        if session.streams:
            metrics.CUT.labels(reason or CLOSED).inc(len(session.streams))
            say(logger, "streams-cut", streams=len(session.streams), reason=reason, namespace=session.caller.namespace)
            await asyncio.gather(*session.streams, return_exceptions=True)
        await self._record(session.closing(reason))

    async def settle(self) -> None:
        """Writes what could not be written when it was due. Raises Undecided."""
        owed, self._owed = self._owed, []
        for place, record in enumerate(owed):
            try:
                await self._record(record)
            except Undecided:
                self._owed += owed[place + 1 :]
                raise

    async def end_idle(self, *, all_of_them: bool = False) -> None:
        """Ends sessions that nobody used for a while; a stream uses its session with every portion."""
        limit = time.monotonic() - IDLE_SECONDS
        for session in [s for s in self._open.values() if all_of_them or s.used < limit]:
            await self.end(session)

    @contextmanager
    def streaming(self, session: Session, stream: asyncio.Task[None]) -> Iterator[None]:
        """While this lasts, `stream` is cancelled when the session ends, and the decision is watched."""
        if session.id not in self._open:
            stream.cancel()
        session.streams.add(stream)
        if session.watcher is None or session.watcher.done():
            session.watcher = asyncio.create_task(self._watch(session))
        try:
            yield
        finally:
            session.streams.discard(stream)

    async def _watch(self, session: Session) -> None:
        """Makes the decision again in time, for as long as bytes flow on it."""
        while session.streams and session.id in self._open:
            due = session.decided + RECHECK_SECONDS - time.monotonic()
            await asyncio.sleep(due if due > 0 else RETRY_SECONDS)
            if not session.streams:
                return
            try:
                await self.current(session)
            except AccessDenied:
                return
            except Exception as error:  # whatever fails here, no stream may flow on unwatched
                if not isinstance(error, Refused):
                    logger.exception("watch-failed")
                elif time.monotonic() - session.decided <= self._grace:
                    continue
                await self._end_unconfirmed(session)
                return

    async def end_unconfirmed(self) -> None:
        """Ends all: nobody can say any more whether they may go on."""
        await asyncio.gather(*(self._end_unconfirmed(session) for session in list(self._open.values())))

    async def _end_unconfirmed(self, session: Session) -> None:
        try:
            await self.end(session, UNCONFIRMED)
        except Undecided as error:
            say(logger, "record-postponed", logging.WARNING, reason=error.reason)

    async def _record(self, record: Entry) -> None:
        try:
            await self._journal.record(record)
        except Undecided:
            self._owed.append(record)
            raise
