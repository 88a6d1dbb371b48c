"""Aliases: names of a namespace for stored models, changed by compare-and-swap, each change once and on record.

The order of a change is: the model is read and found whole, the pointer is swapped, the swap is recorded. Whoever dies
in between leaves at most one swap without a record, that of the newest key; it is recorded by the next call on the
alias, at the next start, or within seconds by the broker that failed to. So no swap stays without a record, and no
record is written of a swap that did not take place.
"""

import asyncio
import hashlib
import logging
from http import HTTPStatus

from pydantic import ValidationError

from collabspace.api.manifest import Frozen
from collabspace.broker.custody import Custody, OwnerKind
from collabspace.broker.feed import Knowledge
from collabspace.broker.integrity import result_fault
from collabspace.broker.journal import Journal
from collabspace.broker.ledger import PROMOTED, Entry
from collabspace.broker.live import Cluster
from collabspace.broker.refusal import Refused, Undecided
from collabspace.broker.store import Store
from collabspace.client.protocol import AliasChange, AliasState, Decision, Standing
from collabspace.kube import clock
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
KEPT = 100
MAX_ALIASES = 1_000
TRIES = 8


class UnreadableAliasError(OSError):
    """There is a pointer that this release cannot read: nothing is decided on it."""


class Author(Frozen):
    """Who made the newest change, for its record. `claimed_by` is what a person said to be called."""

    account: str
    claimed_by: str | None = None


class Stored(Frozen):
    """The content of an alias' pointer."""

    state: AliasState
    author: Author


class Aliases:
    """Read from the store each time: other brokers may have changed them."""

    def __init__(
        self, store: Store, custody: Custody, knowledge: Knowledge, journal: Journal, cluster: Cluster
    ) -> None:
        self._store = store
        self._custody = custody
        self._knowledge = knowledge
        self._journal = journal
        self._cluster = cluster
        self._unsettled: set[tuple[str, str]] = set()

    async def restore(self) -> None:
        """Learns of all aliases, and records the newest change of each if that was not done. Raises Undecided."""
        for owner in await asyncio.to_thread(lambda: list(self._store.owners())):
            for stored in await self._every(owner, strict=False):
                self._knowledge.set_alias(stored.state)
                await self._record(stored)

    async def settle(self) -> None:
        """Records the changes of which it is not known whether they took place and are on record. Raises Undecided."""
        for namespace_uid, alias in list(self._unsettled):
            found = await self._read(namespace_uid, alias)
            if found is not None:
                self._knowledge.set_alias(found[0].state)
                await self._record(found[0])
            self._unsettled.discard((namespace_uid, alias))

    async def of(self, namespace_uid: str) -> list[AliasState]:
        """All aliases of a namespace, in order of their names; what cannot be read is left out, and reported."""
        return _states(await self._every(namespace_uid, strict=False))

    async def find(self, namespace_uid: str, alias: str) -> AliasState | None:
        found = await self._read(namespace_uid, alias)
        return None if found is None else found[0].state

    async def keeps(self, namespace: str, task_uid: str) -> bool:
        """Whether an alias of the namespace stands for a result of this task, or stood for one last.

        Raises Undecided, OSError."""
        namespace_uid = await self._cluster.namespace_uid(namespace)
        states = [] if namespace_uid is None else _states(await self._every(namespace_uid, strict=True))
        return any(task_uid in (state.task_uid, state.last and state.last.task_uid) for state in states)

    async def change(self, namespace: str, alias: str, wish: AliasChange, author: Author) -> AliasState:
        """Does it, unless its key says that it was done. What the alias stands for then. Raises Refused, Undecided.

        An OSError leaves open whether it took place: the same call again finds out.
        """
        namespace_uid = await self._cluster.namespace_uid(namespace)
        if namespace_uid is None:
            raise Refused(HTTPStatus.NOT_FOUND, "NamespaceMissing", "there is no such namespace (any more)")
        async with self._custody.lock(namespace_uid), self._custody.lock(wish.task_uid):
            for _ in range(TRIES):
                found = await self._read(namespace_uid, alias)
                if found is not None:
                    self._knowledge.set_alias(found[0].state)
                    await self._record(found[0])
                before = None if found is None else found[0].state
                if before is not None and wish.key in before.keys:
                    return before
                _check_present(alias, wish, before)
                task = await self._task(namespace, namespace_uid, wish, before)
                state = _next(namespace, namespace_uid, alias, task, wish, before)
                if await self._swap(Stored(state=state, author=author), None if found is None else found[1]):
                    return state
        raise Undecided("AliasBusy", "others set this alias at the same time; try again soon")

    async def _swap(self, stored: Stored, tag: str | None) -> bool:
        """False when another broker was faster."""
        state = stored.state
        key = state.namespace_uid, state.alias
        self._unsettled.add(key)
        content = stored.model_dump_json(by_alias=True).encode()
        place = state.namespace_uid, pointer_name(state.alias)
        if await asyncio.to_thread(self._store.swap_pointer, *place, content, tag) is None:
            return False
        self._knowledge.set_alias(state)
        await self._record(stored)
        await self._journal.tell(state.namespace_uid)
        self._unsettled.discard(key)
        return True

    async def _task(self, namespace: str, namespace_uid: str, wish: AliasChange, before: AliasState | None) -> str:
        """Name of the task whose result is wished for, once that is known to be the namespace's own and whole."""
        owner = self._custody.owner(wish.task_uid)
        name = None
        if owner is not None and owner.kind is OwnerKind.TASK and owner.namespace == namespace:
            task = await self._cluster.task(namespace, owner.name)
            if task is not None and task.metadata.uid == wish.task_uid:
                name = owner.name
        known = [] if before is None else [before.standing, before.last]
        name = name or next((each.task for each in known if each is not None and _is(each, wish)), None)
        if name is None:
            raise _incomplete("no task of this namespace has that uid")
        if before is None and len(await asyncio.to_thread(self._store.pointers, namespace_uid)) >= MAX_ALIASES:
            raise Refused(HTTPStatus.CONFLICT, "TooManyAliases", f"a namespace has at most {MAX_ALIASES}; reuse one")
        fault = await asyncio.to_thread(result_fault, self._store, wish.task_uid, wish.digest)
        if fault is not None:
            raise _incomplete(fault)
        return name

    async def _record(self, stored: Stored) -> None:
        """One record for the newest key, whoever writes it and however often. Raises Undecided."""
        state = stored.state
        entry = Entry(
            PROMOTED,
            Decision.ALLOWED,
            state.alias,
            namespace=state.namespace,
            account=stored.author.account,
            claimed_by=stored.author.claimed_by,
            task=state.task,
            task_uid=state.task_uid,
            version=state.digest,
            purpose=state.keys[0],
        )
        await self._journal.run(lambda: self._journal.ledger.keep_promotion(entry, clock.now()))

    async def _read(self, namespace_uid: str, alias: str) -> tuple[Stored, str] | None:
        """The alias and the tag of its pointer."""
        return await asyncio.to_thread(self._read_now, namespace_uid, pointer_name(alias))

    async def _every(self, owner: str, *, strict: bool) -> list[Stored]:
        """Those that can be read; `strict`: OSError when one cannot."""

        def read() -> list[Stored]:
            found = []
            for name in self._store.pointers(owner):
                try:
                    found.append(self._read_now(owner, name))
                except UnreadableAliasError:
                    say(logger, "alias-broken", logging.ERROR, owner=owner, name=name)
                    if strict:
                        raise
            return [each[0] for each in found if each is not None]

        return await asyncio.to_thread(read)

    def _read_now(self, owner: str, name: str) -> tuple[Stored, str] | None:
        """Blocks. Raises OSError; UnreadableAliasError when something else is there."""
        pointer = self._store.read_pointer(owner, name)
        if pointer is None:
            return None
        try:
            stored = Stored.model_validate_json(pointer.content)
        except ValidationError as error:
            raise UnreadableAliasError(f"the pointer {owner}/{name} is no alias of this release") from error
        return stored, pointer.tag


def _states(found: list[Stored]) -> list[AliasState]:
    return sorted((stored.state for stored in found), key=lambda state: state.alias)


def pointer_name(alias: str) -> str:
    """The name of an alias' pointer: nobody's characters become part of a key."""
    return hashlib.sha256(alias.encode()).hexdigest()


def _is(standing: Standing, wish: AliasChange) -> bool:
    return (standing.task_uid, standing.digest) == (wish.task_uid, wish.digest)


def _check_present(alias: str, wish: AliasChange, before: AliasState | None) -> None:
    stands = None if before is None else before.digest
    if stands != wish.replaces:
        now = "stands for nothing yet" if stands is None else f"stands for {stands} by now"
        raise Refused(HTTPStatus.CONFLICT, "AliasMoved", f"{alias} {now}, not for what was to be replaced; look again")


def _next(
    namespace: str, namespace_uid: str, alias: str, task: str, wish: AliasChange, before: AliasState | None
) -> AliasState:
    return AliasState(
        namespace=namespace,
        namespace_uid=namespace_uid,
        alias=alias,
        task_uid=wish.task_uid,
        task=task,
        digest=wish.digest,
        promoted_time=clock.rfc3339(clock.now()),
        keys=[wish.key, *(before.keys if before else [])][:KEPT],
        previous=[] if before is None else [before.digest, *before.previous][:KEPT],
        last=None if before is None else before.standing,
    )


def _incomplete(fault: str) -> Refused:
    message = f"this cannot be promoted: {fault}. Train again, or promote another result"
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "ResultIncomplete", message)
