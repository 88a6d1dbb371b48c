"""Brokers on one ledger: which of them live, and what becomes of one that does not.

Every broker has a row that it counts up. Another one that sees no count for LEASE_SECONDS by its own clock, while it
could read the ledger itself, takes the row away; with it go the sessions' claim to be open and the turns that the dead
one held. No two clocks are compared. A broker that finds its row gone was taken for dead (it stood still, or was cut
off): it stops, to be started
anew; others have closed its sessions on record. Until then it cannot open a session, since the record of an opening
needs the row.

What a broker holds in memory it hears from the others through the news, a list that is cut when all have heard it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Row, delete, func, select, update

from collabspace.broker.database import Database, hold
from collabspace.broker.tables import news, replicas, turns

LEASE_SECONDS = 60.0
# News are numbered in the order of their commits, so that whoever has heard up to a number has missed none.
LOCK = 0x6C656467_00000003


def join(database: Database, connection: Connection, replica: str) -> None:
    """From now on it is one of them. Alone on its database, it is the only one: whoever was before is gone."""
    if not database.shared:
        connection.execute(delete(replicas).where(replicas.c.replica != replica))
    row = database.insert(replicas).values(replica=replica, beat=0, heard=_newest(connection))
    connection.execute(row.on_conflict_do_nothing())


def leave(connection: Connection, replica: str) -> None:
    connection.execute(delete(replicas).where(replicas.c.replica == replica))


def beat(connection: Connection, replica: str, heard: int, held: Collection[str]) -> Mapping[str, int] | None:
    """Counts up; the counts of the others. None: it was taken for dead.

    Turns outside `held` are given back, and news that everybody has heard are forgotten.
    """
    mine = update(replicas).where(replicas.c.replica == replica).values(beat=replicas.c.beat + 1, heard=heard)
    if not connection.execute(mine).rowcount:
        return None
    connection.execute(delete(turns).where(turns.c.replica == replica, turns.c.storage.not_in(list(held))))
    connection.execute(delete(news).where(news.c.sequence <= select(func.min(replicas.c.heard)).scalar_subquery()))
    others = select(replicas.c.replica, replicas.c.beat).where(replicas.c.replica != replica)
    return {row.replica: row.beat for row in connection.execute(others)}


def bury(connection: Connection, replica: str, seen: int) -> bool:
    """Takes the row away if it still stands at the count that was seen."""
    row = delete(replicas).where(replicas.c.replica == replica, replicas.c.beat == seen)
    return connection.execute(row).rowcount > 0


def take_turn(database: Database, connection: Connection, storage: str, replica: str) -> bool:
    """Whether what is stored under this uid is this broker's alone to change, until it gives the turn back."""
    connection.execute(database.insert(turns).values(storage=storage, replica=replica).on_conflict_do_nothing())
    holder = select(turns.c.replica).where(turns.c.storage == storage)
    return connection.execute(holder).scalar_one_or_none() == replica


def give_turn(connection: Connection, storage: str, replica: str) -> None:
    connection.execute(delete(turns).where(turns.c.storage == storage, turns.c.replica == replica))


def tell(connection: Connection, replica: str, uids: Collection[str], progress: str | None = None) -> None:
    """The others hear that something of these changed, once this transaction is through."""
    hold(connection, LOCK)
    connection.execute(news.insert(), [{"replica": replica, "uid": uid, "progress": progress} for uid in uids])


def hear(connection: Connection, replica: str, heard: int) -> tuple[int, Sequence[Row[str, str | None]]]:
    """The number of the newest of the news, and uid and progress of what others did since `heard`, oldest first."""
    newest = _newest(connection)
    since = (news.c.sequence > heard) & (news.c.sequence <= newest) & (news.c.replica != replica)
    query = select(news.c.uid, news.c.progress).where(since).order_by(news.c.sequence)
    return max(newest, heard), connection.execute(query).all()


def _newest(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(news.c.sequence), 0))).scalar_one())


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
