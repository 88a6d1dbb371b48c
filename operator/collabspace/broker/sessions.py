"""Access sessions: one decision, then a version's files ride on it until it is closed, idle or no longer true."""

import secrets
import time
from dataclasses import dataclass, field

from collabspace.api.manifest import FileEntry, Manifest
from collabspace.broker import metrics
from collabspace.broker.ledger import CLOSED, Entry
from collabspace.broker.refusal import too_many
from collabspace.broker.tokens import Caller
from collabspace.client.protocol import SessionRequest

IDLE_SECONDS = 600.0
RECHECK_SECONDS = 5.0
MAX_PER_NAMESPACE = 512


@dataclass
class Session:
    """`entry` is the record that opened it and names the version; `sent` counts bytes given to the connection."""

    id: str
    caller: Caller
    request: SessionRequest | None
    owner: str
    manifest: Manifest
    entry: Entry
    decided: float
    used: float
    sent: int = 0
    files: dict[str, FileEntry] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return self.entry.version or ""

    def due(self, now: float) -> bool:
        """Whether the decision is too old for another file: a grant taken back ends reading within this time."""
        return now - self.decided > RECHECK_SECONDS

    def closing(self) -> Entry:
        """The record that ends it, with what was observed."""
        return self.entry.but(event=CLOSED, bytes=self.sent)


class Sessions:
    """Held in memory: after a restart clients open again, and the ledger gets a new decision."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(
        self, caller: Caller, request: SessionRequest | None, owner: str, manifest: Manifest, entry: Entry
    ) -> Session:
        now = time.monotonic()
        session = Session(secrets.token_urlsafe(24), caller, request, owner, manifest, entry, now, now)
        session.files = {file.path: file for file in manifest.files}
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

    def riding(self, caller: Caller, owner: str, digest: str) -> Session | None:
        """A session of this caller on that result that is young enough to go on with."""
        for session in self._open.values():
            if (session.caller.key, session.owner, session.digest) == (caller.key, owner, digest):
                session.used = time.monotonic()
                return session
        return None

    def close(self, session: Session) -> Entry | None:
        """Takes it out; the record to write, or None when somebody else closed it already."""
        closed = self._open.pop(session.id, None)
        metrics.SESSIONS.set(len(self._open))
        return None if closed is None else closed.closing()

    def idle(self, *, all_of_them: bool = False) -> list[Session]:
        """Sessions that nobody used for a while; a stream uses its session with every portion."""
        limit = time.monotonic() - IDLE_SECONDS
        return [s for s in self._open.values() if all_of_them or s.used < limit]
