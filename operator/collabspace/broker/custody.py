"""What the store holds for whom: checkpoints of tasks, and the object that every owner's bytes belong to by now.

The store itself knows uids and hashes only. Names, policies and the order of checkpoints are remembered here, since the
objects that could tell are gone when it matters. In memory for reading; every change is durable before it counts.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Delete, Row, Select, delete, select

from collabspace.api.dataset import DeletionPolicy
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import AttemptRow, Ledger
from collabspace.broker.tables import attempts, checkpoints, owners
from collabspace.broker.turns import Turns

CHECKPOINT = [column for column in checkpoints.c if column is not checkpoints.c.sequence]


class OwnerKind(StrEnum):
    DATASET = "SharedDataset"
    TASK = "CollabTask"


@dataclass(frozen=True)
class Owner:
    """`storage` is the uid under which the bytes lie; `uid`, `namespace` and `name` say whose they are now.

    `deletion_policy` is as last seen on a dataset; None when it never was: then nothing is removed.
    """

    storage: str
    uid: str
    kind: OwnerKind
    namespace: str
    name: str
    deletion_policy: DeletionPolicy | None = None


@dataclass(frozen=True)
class CheckpointRow:
    """A complete checkpoint. `created` is RFC 3339."""

    task_uid: str
    digest: str
    namespace: str
    task: str
    identity: str
    step: int
    attempt: int
    created: str


class Custody:
    """Lives on the event loop. What changes it may raise Undecided."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._owners: dict[str, Owner] = {}
        self._checkpoints: dict[str, list[CheckpointRow]] = {}
        self.turns = Turns(journal)
        # Held while something of this owner becomes visible or goes: of a commit and a removal one comes first.
        self.lock = self.turns.of

    def restore(self, held: Iterable[Owner], rows: Iterable[CheckpointRow]) -> None:
        """What the tables hold; checkpoints newest first."""
        self._owners = {owner.storage: owner for owner in held}
        for row in rows:
            self._checkpoints.setdefault(row.task_uid, []).append(row)

    def learn(self, storage: str, owner: Owner | None, rows: list[CheckpointRow]) -> None:
        """What the tables hold of one storage by now: another broker changed it."""
        if owner is None:
            self._owners.pop(storage, None)
        else:
            self._owners[storage] = owner
        if rows:
            self._checkpoints[storage] = rows
        else:
            self._checkpoints.pop(storage, None)

    def owner(self, storage: str) -> Owner | None:
        return self._owners.get(storage)

    def owners(self) -> list[Owner]:
        return list(self._owners.values())

    def storages(self, uid: str) -> list[str]:
        """Where versions of the object may lie: under its own uid, and under those that were given to it."""
        return [uid, *(held.storage for held in self._owners.values() if held.uid == uid != held.storage)]

    async def remember(self, owner: Owner) -> None:
        """The owner as it is now; nothing is written when that is known."""
        if self._owners.get(owner.storage) != owner:
            await self._journal.run(lambda: put_owners(self._journal.ledger, [owner]))
            self._owners[owner.storage] = owner

    async def forget(self, storage: str) -> None:
        """Nothing is held for this owner any more."""
        await self._journal.run(lambda: remove_owner(self._journal.ledger, storage))
        self._owners.pop(storage, None)
        self._checkpoints.pop(storage, None)

    async def give(self, from_uid: str, to: Owner) -> None:
        """Everything that belongs to `from_uid`, and what lies under it, belongs to the object of `to` from now on."""
        storages = self.storages(from_uid)
        given = [Owner(storage, to.uid, to.kind, to.namespace, to.name, to.deletion_policy) for storage in storages]

        await self._journal.run(lambda: put_owners(self._journal.ledger, given))
        self._owners.update({owner.storage: owner for owner in given})

    def checkpoints(self, task_uid: str) -> list[CheckpointRow]:
        """Newest first."""
        return self._checkpoints.get(task_uid, [])

    async def keep_checkpoint(self, row: CheckpointRow) -> None:
        """It is the newest one from now on, unless this very attempt has committed it before."""
        known = self._checkpoints.get(row.task_uid, [])
        if any((old.digest, old.attempt) == (row.digest, row.attempt) for old in known):
            return
        rows = await self._journal.run(lambda: put_checkpoint(self._journal.ledger, row))
        self._checkpoints[row.task_uid] = rows

    async def drop_checkpoints(self, task_uid: str, digests: set[str]) -> None:
        await self._journal.run(lambda: remove_checkpoints(self._journal.ledger, task_uid, digests))
        left = [row for row in self.checkpoints(task_uid) if row.digest not in digests]
        if left:
            self._checkpoints[task_uid] = left
        else:
            self._checkpoints.pop(task_uid, None)


def all_owners(ledger: Ledger) -> list[Owner]:
    return [_owner(row) for row in ledger.read(lambda connection: connection.execute(select(owners)).all())]


def held_of(ledger: Ledger, uid: str) -> tuple[Owner | None, list[CheckpointRow], list[AttemptRow]]:
    """What is known of one storage or task: its owner, its checkpoints newest first, its attempts."""

    def read(connection: Connection) -> tuple[Owner | None, list[CheckpointRow], list[AttemptRow]]:
        owner = connection.execute(select(owners).where(owners.c.storage == uid)).one_or_none()
        rows = _checkpoints(connection, select(*CHECKPOINT).where(checkpoints.c.task_uid == uid))
        known = connection.execute(select(attempts).where(attempts.c.task_uid == uid)).mappings()
        return None if owner is None else _owner(owner), rows, [AttemptRow(**row) for row in known]

    return ledger.read(read)


def put_owners(ledger: Ledger, held: Iterable[Owner]) -> None:
    """All or none."""
    rows = [asdict(owner) for owner in held]

    def put(connection: Connection) -> None:
        for row in rows:
            connection.execute(delete(owners).where(owners.c.storage == row["storage"]))
            connection.execute(owners.insert().values(**row))
        ledger.tell(connection, *(str(row["storage"]) for row in rows))

    ledger.write(put)


def remove_owner(ledger: Ledger, storage: str) -> None:
    """With its checkpoints, if it is a task."""

    def remove(connection: Connection) -> None:
        connection.execute(delete(owners).where(owners.c.storage == storage))
        connection.execute(delete(checkpoints).where(checkpoints.c.task_uid == storage))
        ledger.tell(connection, storage)

    ledger.write(remove)


def all_checkpoints(ledger: Ledger) -> list[CheckpointRow]:
    """Newest first."""
    return ledger.read(lambda connection: _checkpoints(connection, select(*CHECKPOINT)))


def put_checkpoint(ledger: Ledger, row: CheckpointRow) -> list[CheckpointRow]:
    """A row of the same digest gives way: the new one is the newest. All of the task, newest first."""

    def put(connection: Connection) -> list[CheckpointRow]:
        connection.execute(_those(row.task_uid, {row.digest}))
        connection.execute(checkpoints.insert().values(**asdict(row)))
        ledger.tell(connection, row.task_uid)
        return _checkpoints(connection, select(*CHECKPOINT).where(checkpoints.c.task_uid == row.task_uid))

    return ledger.write(put)


def remove_checkpoints(ledger: Ledger, task_uid: str, digests: set[str]) -> None:
    def remove(connection: Connection) -> None:
        connection.execute(_those(task_uid, digests))
        ledger.tell(connection, task_uid)

    ledger.write(remove)


def _those(task_uid: str, digests: set[str]) -> Delete:
    return delete(checkpoints).where(checkpoints.c.task_uid == task_uid, checkpoints.c.digest.in_(digests))


def _checkpoints(connection: Connection, query: Select[Any]) -> list[CheckpointRow]:
    rows = connection.execute(query.order_by(checkpoints.c.sequence.desc())).mappings()
    return [CheckpointRow(**row) for row in rows]


def _owner(row: Row[Any]) -> Owner:
    policy = DeletionPolicy(row.deletion_policy) if row.deletion_policy else None
    return Owner(row.storage, row.uid, OwnerKind(row.kind), row.namespace, row.name, policy)
