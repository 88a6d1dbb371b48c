"""Keys that need a look, each at most once in the queue and never by two workers at a time."""

import asyncio
from collections import OrderedDict, deque
from typing import NamedTuple

from collabspace.controller.metrics import QUEUE_DEPTH


class WorkKey(NamedTuple):
    """What to look at. `kind` picks the reconciler."""

    kind: str
    namespace: str
    name: str


class _Lane:
    """First come, first served within a namespace; namespaces take turns, so that none waits behind another's burst."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, deque[WorkKey]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._keys)

    def append(self, key: WorkKey) -> None:
        self._keys.setdefault(key.namespace, deque()).append(key)

    def popleft(self) -> WorkKey:
        namespace, keys = next(iter(self._keys.items()))
        key = keys.popleft()
        if keys:
            self._keys.move_to_end(namespace)
        else:
            del self._keys[namespace]
        return key


class KeyQueue:
    """Two lanes: what may wait (statuses in a burst) goes after all that is urgent.

    Keys are taken always, but none is handed out between shut() and open().
    """

    def __init__(self) -> None:
        self._urgent = _Lane()
        self._patient = _Lane()
        self._waiting: dict[WorkKey, bool] = {}
        self._working: set[WorkKey] = set()
        self._again: dict[WorkKey, bool] = {}
        self._timers: dict[WorkKey, asyncio.TimerHandle] = {}
        self._filled = asyncio.Event()
        self._open = True
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def pressed(self) -> bool:
        """Whether urgent keys wait."""
        return bool(self._urgent)

    def open(self) -> None:
        """Keys are handed out from now on."""
        self._open = True
        self._filled.set()

    def shut(self) -> None:
        """No key is handed out from now on."""
        self._open = False

    async def idle(self) -> None:
        """Waits until no key is in work."""
        await self._idle.wait()

    def add(self, key: WorkKey, *, urgent: bool = True) -> None:
        """The key will be looked at after this call, once. A key in work is looked at again when that is done."""
        if key in self._working:
            self._again[key] = self._again.get(key, False) or urgent
            return
        known = self._waiting.get(key)
        if known is not None and (known or not urgent):
            return
        # A key that moves up leaves its old place behind; get() passes over it.
        self._waiting[key] = urgent
        (self._urgent if urgent else self._patient).append(key)
        self._filled.set()
        QUEUE_DEPTH.set(len(self._waiting))

    def later(self, key: WorkKey, seconds: float | None) -> None:
        """The key will be looked at in so many seconds; replaces what was planned before. None: nothing is planned."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if seconds is not None:
            # Very long timers are cut: the world is looked at anew then, which is harmless.
            self._timers[key] = asyncio.get_running_loop().call_later(min(seconds, 86_400.0), self._due, key)

    def hasten(self) -> None:
        """All that is planned for later is looked at now."""
        for key, timer in list(self._timers.items()):
            timer.cancel()
            self._due(key)

    async def get(self) -> WorkKey:
        """The next key, while the queue is open; call done() when finished with it."""
        while True:
            while self._open and (self._urgent or self._patient):
                urgent = bool(self._urgent)
                key = (self._urgent if urgent else self._patient).popleft()
                if self._waiting.get(key) is urgent:
                    del self._waiting[key]
                    self._working.add(key)
                    self._idle.clear()
                    QUEUE_DEPTH.set(len(self._waiting))
                    return key
            self._filled.clear()
            await self._filled.wait()

    def done(self, key: WorkKey) -> None:
        self._working.discard(key)
        if not self._working:
            self._idle.set()
        urgent = self._again.pop(key, None)
        if urgent is not None:
            self.add(key, urgent=urgent)

    def _due(self, key: WorkKey) -> None:
        self._timers.pop(key, None)
        self.add(key)
