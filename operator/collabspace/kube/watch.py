"""A list followed by a watch that never gives up and always knows when it last had a sign of life."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Set
from typing import Any, Protocol

from collabspace.kube.cache import Key
from collabspace.kube.client import KubeClient, KubeError

STREAM_SECONDS = 45
RELIST_SECONDS = 600
BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
GONE = 410
# For how long a list that is too old is asked for again: kinds may be kept in databases that count apart.
LAG_SECONDS = 10.0
log = logging.getLogger(__name__)


class Sink(Protocol):
    """Who is told; kube.cache.Cache is one."""

    def apply(self, kind: str | None, raw: dict[str, Any]) -> None: ...

    def retain(self, keys: Set[Key], resource_version: str) -> None: ...


class Backoff:
    """Growing, capped and jittered pauses; endless."""

    def __init__(self, steps: tuple[float, ...] = BACKOFF_SECONDS) -> None:
        self._steps = steps
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        step = self._steps[min(self._failures, len(self._steps) - 1)]
        self._failures += 1
        return step * random.uniform(0.7, 1.3)  # noqa: S311 spreads callers, keeps no secret


class Life:
    """Signs of life of one watch: when it was last served, when it was last answered at all, when it last tried.

    A watch that is refused and says so is not deaf, nor is one that nobody answers while nobody answers anything.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._served = self._answered = self._tried = self._loop.time()

    def served(self) -> None:
        self._served = self._answered = self._tried = self._loop.time()

    def failed(self, status: int) -> None:
        """A try ended with this HTTP status; 0: no answer came."""
        self._tried = self._loop.time()
        if status:
            self._answered = self._tried

    def age(self) -> float:
        """Seconds since the API server last served it."""
        return self._loop.time() - self._served

    def silence(self, reachable: float) -> float:
        """Seconds of silence that nothing excuses, when the API server has answered others for `reachable` seconds."""
        now = self._loop.time()
        return max(now - self._tried, min(now - self._answered, reachable))


class Watch:
    """Keeps a sink equal to what one path lists. `synced` is set after the first list.

    `since` gives a resourceVersion that is known already, or nothing: a list from before it is not taken.
    """

    def __init__(
        self,
        client: KubeClient,
        name: str,
        path: str,
        sink: Sink,
        params: Mapping[str, str] | None = None,
        since: Callable[[], str] = str,
    ) -> None:
        self.name = name
        self.synced = asyncio.Event()
        self._client = client
        self._path = path
        self._sink = sink
        self._params = dict(params or {})
        self._since = since
        self._lags_since: float | None = None
        self.life = Life()

    async def run(self) -> None:
        """Until cancelled. An unreachable or refusing API server is waited for."""
        backoff = Backoff()
        while True:
            try:
                version = await self._list(self.life.served)
                backoff.reset()
                await self._follow(version, backoff)
            except KubeError as error:
                self.life.failed(error.status)
                pause = backoff.next()
                log.warning("list of %s failed (%s %s); again in %.1f s", self.name, error.status, error.reason, pause)
                await asyncio.sleep(pause)

    async def list(self) -> None:
        """One full list into the sink; no sign of life, for a stream may be deaf all the same. Raises KubeError."""
        await self._list(lambda: None)

    async def _list(self, served: Callable[[], None]) -> str:
        """The same, `served` is called with each page; the version from which a watch goes on."""
        version, seen, known = "", set[Key](), self._since()
        async for page in self._client.pages(self._path, self._params):
            version = str(page["metadata"]["resourceVersion"])
            self._refuse_old(version, known)
            for raw in page["items"]:
                meta = raw["metadata"]
                seen.add((meta.get("namespace") or "", meta["name"]))
                self._sink.apply(None, raw)
            served()
        self._sink.retain(seen, version)
        self.synced.set()
        return version

    def _refuse_old(self, version: str, known: str) -> None:
        """Raises KubeError for a list from before what is known: who shows it lags behind what was done since."""
        if not (version.isdecimal() and known.isdecimal() and int(version) < int(known)):
            self._lags_since = None
            return
        now = asyncio.get_running_loop().time()
        if self._lags_since is None:
            self._lags_since = now
        if now - self._lags_since < LAG_SECONDS:
            raise KubeError(0, "TooOld", f"the list of {self.name} is of version {version}, {known} is known")

    async def _follow(self, version: str, backoff: Backoff) -> None:
        """Watches on from `version`; returns when it is time to list anew: now and then, or when it is too old."""
        loop = asyncio.get_running_loop()
        relist_at = loop.time() + RELIST_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 spreads the lists
        while loop.time() < relist_at:
            try:
                async for event in self._client.watch(self._path, version, self._params, STREAM_SECONDS):
                    self.life.served()
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._sink.apply(event["type"], event["object"])
                self.life.served()
                backoff.reset()
            except KubeError as error:
                self.life.failed(error.status)
                if error.status == GONE:
                    return
                pause = backoff.next()
                log.info("watch of %s broke (%s %s); again in %.1f s", self.name, error.status, error.reason, pause)
                await asyncio.sleep(pause)
