"""How records get to the ends of their chains, whoever else writes at the same moment: without gap, fork or repetition.

The row of a chain's head is locked before anything is decided that depends on it, in the order of the chains' names, so
that two batches never wait for each other. A chain's first record makes the row, and of two that try one waits.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, select, update

from collabspace.broker.chain import GENESIS, seal
from collabspace.broker.database import Database, hold
from collabspace.broker.entries import CLOSED, OPENED, Entry, values_of
from collabspace.broker.tables import access, chains, open_sessions

# Writers share it and readers of what is whole take it alone: see `settled` in ledger.py.
LOCK = 0x6C656467_00000002
MOVE = (
    update(chains)
    .where(chains.c.chain == bindparam("at"))
    .values(records=bindparam("now_records"), head=bindparam("now_head"))
)


@dataclass
class _End:
    records: int
    head: str


@dataclass
class Batch:
    """Entries that are written together, in order. `write` may run again when a transaction failed: if only the word
    that it succeeded got lost, the records are found and not written again."""

    database: Database
    replica: str
    entries: Sequence[Entry]
    now: dt.datetime
    hashes: list[str | None] = field(default_factory=list)
    _first: tuple[str, int, str] | None = None

    def write(self, connection: Connection) -> list[str | None]:
        """The hash of each; None for a Closed whose session is not open."""
        hold(connection, LOCK, shared=True)
        ends = lock_ends(self.database, connection, self.entries)
        if self._is_written(connection):
            return self.hashes
        open_now = _closed_now(connection, self.entries)
        rows: list[dict[str, object]] = []
        self.hashes = []
        for entry in self.entries:
            if entry.event == CLOSED and entry.session not in open_now:
                self.hashes.append(None)
                continue
            open_now.discard(entry.session)
            if entry.event == OPENED:
                open_now.add(entry.session)
            rows.append(_row(entry, ends[entry.chain], self.now))
            self.hashes.append(ends[entry.chain].head)
        self._put(connection, rows, ends, open_now)
        return self.hashes

    def _put(
        self, connection: Connection, rows: list[dict[str, object]], ends: dict[str, _End], left_open: set[str | None]
    ) -> None:
        if not rows:
            return
        self._first = str(rows[0]["chain"]), int(str(rows[0]["position"])), str(rows[0]["hash"])
        numbered = access.insert().returning(access.c.sequence, sort_by_parameter_order=True)
        sequences = connection.execute(numbered, rows).scalars().all()
        opened = [
            {"session": row["session"], "sequence": sequence, "replica": self.replica}
            for row, sequence in zip(rows, sequences, strict=True)
            if row["event"] == OPENED and row["session"] in left_open
        ]
        if opened:
            connection.execute(open_sessions.insert(), opened)
        moved = [
            {"at": chain, "now_records": ends[chain].records, "now_head": ends[chain].head}
            for chain in sorted({str(row["chain"]) for row in rows})
        ]
        connection.execute(MOVE, moved)

    def _is_written(self, connection: Connection) -> bool:
        """Whether an earlier try was committed after all; the ends of its chains are locked, so none is under way."""
        if self._first is None:
            return False
        chain, position, said = self._first
        place = select(access.c.hash).where(access.c.chain == chain, access.c.position == position)
        return connection.execute(place).scalar_one_or_none() == said


def lock_ends(database: Database, connection: Connection, entries: Sequence[Entry]) -> dict[str, _End]:
    """Where each chain of these entries ends, nobody else's to change until the end of the transaction."""
    wanted = {entry.chain: entry for entry in reversed(entries)}
    ends = _lock(connection, wanted.keys())
    missing = sorted(wanted.keys() - ends.keys())
    if missing:
        begun = [
            {
                "chain": chain,
                "namespace": wanted[chain].owner or "",
                "dataset": wanted[chain].dataset or "",
                "records": 0,
                "head": GENESIS,
            }
            for chain in missing
        ]
        connection.execute(database.insert(chains).values(begun).on_conflict_do_nothing())
        ends |= _lock(connection, missing)
    return ends


def _lock(connection: Connection, names: Iterable[str]) -> dict[str, _End]:
    query = select(chains.c.chain, chains.c.records, chains.c.head).where(chains.c.chain.in_(list(names)))
    found = connection.execute(query.order_by(chains.c.chain).with_for_update())
    return {row.chain: _End(row.records, row.head) for row in found}


def _closed_now(connection: Connection, entries: Sequence[Entry]) -> set[str | None]:
    """Takes the sessions that these entries close from those that are open; what was open."""
    named = [entry.session for entry in entries if entry.event == CLOSED]
    if not named:
        return set()
    gone = open_sessions.delete().where(open_sessions.c.session.in_(named)).returning(open_sessions.c.session)
    return set(connection.execute(gone).scalars())


def _row(entry: Entry, end: _End, now: dt.datetime) -> dict[str, object]:
    """The row at the end of its chain, which it moves on."""
    values = values_of(entry, now)
    previous, end.records = end.head, end.records + 1
    end.head = seal(end.records, values, previous)
    return {"chain": entry.chain, "position": end.records, "previous": previous, "hash": end.head, **values}
