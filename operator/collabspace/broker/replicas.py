"""Brokers on one ledger: which of them live, and what becomes of one that does not.

Every broker has a row that it counts up. Another one that sees no count for LEASE_SECONDS by its own clock, while it
could read the ledger itself, takes the row away; with it go the sessions' claim to be open and the turns that the dead
one held. No two clocks are compared. A broker that finds its row gone was taken for dead (it stood still, or was cut
off): it ends its sessions, which others have closed on record, and joins anew. Until then it cannot open a session,
since the record of an opening needs the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, func, select, update

from collabspace.broker.database import Database
from collabspace.broker.tables import news, replicas

LEASE_SECONDS = 60.0


def join(database: Database, connection: Connection, replica: str) -> None:
    """From now on it is one of them. Alone on its database, it is the only one: whoever was before is gone."""
    if not database.shared:
        connection.execute(delete(replicas).where(replicas.c.replica != replica))
    heard = select(func.coalesce(func.max(news.c.sequence), 0)).scalar_subquery()
    row = database.insert(replicas).values(replica=replica, beat=0, heard=heard)
    connection.execute(row.on_conflict_do_nothing())


def beat(connection: Connection, replica: str) -> Mapping[str, int] | None:
    """Counts up; the counts of the others. None: it was taken for dead."""
    alive = connection.execute(
        update(replicas).where(replicas.c.replica == replica).values(beat=replicas.c.beat + 1)
    ).rowcount
    if not alive:
        return None
    others = select(replicas.c.replica, replicas.c.beat).where(replicas.c.replica != replica)
    return {row.replica: row.beat for row in connection.execute(others)}


def bury(connection: Connection, replica: str, seen: int) -> bool:
    """Takes the row away if it still stands at the count that was seen."""
    row = delete(replicas).where(replicas.c.replica == replica, replicas.c.beat == seen)
    return connection.execute(row).rowcount > 0


@dataclass
class Watch:
    """What one broker has seen of the others. Times are its own, in seconds that only grow."""

    lease: float = LEASE_SECONDS
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def see(self, counts: Mapping[str, int], now: float) -> dict[str, int]:
        """Those that have not counted for as long as the lease, with the count they stand at."""
        self._seen = {
            replica: self._seen[replica] if self._seen.get(replica, (None,))[0] == count else (count, now)
            for replica, count in counts.items()
        }
        return {replica: count for replica, (count, since) in self._seen.items() if now - since >= self.lease}

    def blind(self) -> None:
        """The ledger could not be read: who did not count may have been as helpless."""
        self._seen.clear()
