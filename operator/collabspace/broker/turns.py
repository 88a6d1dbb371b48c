"""Who may change what is stored for an owner: one caller at a time, of one broker of all that are on the ledger."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from weakref import WeakValueDictionary

from collabspace.broker import replicas
from collabspace.broker.journal import Journal
from collabspace.broker.refusal import Undecided
from collabspace.kube.logs import say

logger = logging.getLogger(__name__)
WAIT_SECONDS = 20.0
POLL_SECONDS = 0.1


async def _nothing(_: str) -> None:
    return


class Turn:
    """An async context manager, as a lock is one. Entering raises Undecided when another broker is at it for long."""

    def __init__(self, turns: "Turns", storage: str) -> None:
        self._turns = turns
        self._storage = storage
        self._lock = asyncio.Lock()

    def locked(self) -> bool:
        """Whether somebody here holds it."""
        return self._lock.locked()

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        try:
            await self._turns.take(self._storage)
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        try:
            await self._turns.give(self._storage)
        finally:
            self._lock.release()


class Turns:
    """`refresh` is called with a storage whose turn was taken: another broker may have changed it since."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turns: WeakValueDictionary[str, Turn] = WeakValueDictionary()
        self.refresh: Callable[[str], Awaitable[None]] = _nothing
        self.held: set[str] = set()

    def of(self, storage: str) -> Turn:
        turn = self._turns.get(storage)
        if turn is None:
            turn = self._turns[storage] = Turn(self, storage)
        return turn

    async def take(self, storage: str) -> None:
        ledger = self._journal.ledger
        if not ledger.shared:
            return
        # Said first: what is not held is given back with every beat, should it be left over.
        self.held.add(storage)
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while not await self._journal.run(lambda: ledger.take_turn(storage)):
                if time.monotonic() > deadline:
                    raise Undecided("StorageBusy", "another broker is changing this; try again soon")
                await asyncio.sleep(POLL_SECONDS)
            await self.refresh(storage)
        except BaseException:
            self.held.discard(storage)
            raise

    async def give(self, storage: str) -> None:
        ledger = self._journal.ledger
        if not ledger.shared:
            return
        self.held.discard(storage)
        try:
            await self._journal.run(lambda: ledger.write(lambda c: replicas.give_turn(c, storage, ledger.replica)))
        except Undecided as error:
            say(logger, "turn-not-given-back", logging.WARNING, reason=error.reason)
