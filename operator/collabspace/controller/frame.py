"""kopf as the frame that watches our kinds: handlers only pass events on, and nothing of kopf's is stored anywhere.

Each setting answers a hazard seen in kopf 1.45.
"""

import asyncio
import datetime as dt
import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import kopf

from collabspace.api import names
from collabspace.controller.world import World
from collabspace.kube import clock
from collabspace.kube.cache import Cache
from collabspace.kube.client import PAGE, WATCH_SILENCE_SECONDS
from collabspace.kube.config import Access
from collabspace.kube.watch import STREAM_SECONDS, Backoff, Life

# Not longer: an API server that starts refuses twice or thrice before it serves, and each costs one pause.
STEPS = (0.2, 0.5, 1.0, 2.0, 5.0)


class Endless:
    """Back-offs without end: an API server that is away for an hour must not end the operator."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain(STEPS, itertools.repeat(STEPS[-1]))


class NoDiffbase(kopf.DiffBaseStorage):  # type: ignore[misc]  # kopf ships no types that mypy follows
    """Nothing is compared and nothing is kept; saves two deep copies for every event."""

    def build(self, **_: Any) -> dict[str, Any]:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class NoProgress(kopf.ProgressStorage):  # type: ignore[misc]  # kopf ships no types that mypy follows
    """There are no handlers with a state to remember."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


def settings() -> kopf.OperatorSettings:
    """kopf's settings: no writes, no throttles, short timeouts, no observation of CRDs."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.posting.loggers = False
    chosen.peering.standalone = True
    chosen.scanning.disabled = True
    chosen.persistence.diffbase_storage = NoDiffbase()
    chosen.persistence.progress_storage = NoProgress()
    chosen.persistence.finalizer = f"{names.GROUP}/not-used"
    chosen.queueing.worker_limit = None
    chosen.queueing.idle_timeout = 0.5
    chosen.networking.request_timeout = 10
    chosen.networking.connect_timeout = 5
    chosen.networking.error_backoffs = Endless()
    chosen.watching.server_timeout = STREAM_SECONDS
    chosen.watching.inactivity_timeout = WATCH_SILENCE_SECONDS
    chosen.watching.chunk_size = PAGE
    chosen.process.ultimate_exiting_timeout = 20
    return chosen


class Pulse:
    """When kopf's watch of each kind was last served; its streams end every STREAM_SECONDS and are opened anew.

    `relisted` holds the path of each kind that kopf has listed once more, since what it knew was too old: it tells
    nobody what was deleted in between.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.lives = {path: Life() for path in paths}
        self.relisted: asyncio.Queue[str] = asyncio.Queue()
        self._listed: set[str] = set()

    def answered(self, path: str, status: int) -> None:
        life = self.lives.get(path)
        if life is not None and status < 400:
            life.served()
        elif life is not None:
            life.failed(status)

    def listed(self, path: str) -> None:
        """kopf has listed this kind."""
        if path in self._listed:
            self.relisted.put_nowait(path)
        elif path in self.lives:
            self._listed.add(path)

    def failed(self, path: str) -> None:
        life = self.lives.get(path)
        if life is not None:
            life.failed(0)


def registry(access: Access, world: World, pulse: Pulse) -> kopf.OperatorRegistry:
    """Handlers for our three kinds and for namespaces, and a login that never runs out of credentials."""
    found = kopf.OperatorRegistry()
    for plural, cache in (
        (names.SHARED_DATASETS, world.datasets),
        (names.COLLAB_TASKS, world.tasks),
        (names.MODEL_SELECTIONS, world.selections),
    ):
        kopf.on.event(names.GROUP, names.VERSION, plural, id=plural, registry=found)(_handler(cache))
    kopf.on.event("", "v1", "namespaces", id="namespaces", registry=found)(_handler(world.namespaces))
    kopf.on.login(id="login", registry=found)(_login(access, pulse))
    return found


def _handler(cache: Cache[Any]) -> Callable[..., Any]:
    async def handle(event: Any, **_: Any) -> None:
        cache.apply(event["type"], event["object"])

    return handle


def _login(access: Access, pulse: Pulse) -> Callable[..., Any]:
    backoff = Backoff()
    last = [0.0]

    async def login(**_: Any) -> kopf.AiohttpSession:
        loop = asyncio.get_running_loop()
        # A 401 brings us here at once, with credentials that may be the same: they are tried again, ever more slowly.
        if loop.time() - last[0] < 60:
            await asyncio.sleep(backoff.next())
        else:
            backoff.reset()
        last[0] = loop.time()
        return kopf.AiohttpSession(
            server=access.server,
            aiohttp_session=_session(access, pulse),
            expiration=clock.now() + dt.timedelta(days=365),
        )

    return login


def _session(access: Access, pulse: Pulse) -> aiohttp.ClientSession:
    """A session that asks for its credential anew at each request and notes each answered one."""

    async def authorize(_session: Any, _context: SimpleNamespace, params: aiohttp.TraceRequestStartParams) -> None:
        value = access.authorization()
        if value is not None:
            params.headers["Authorization"] = value

    async def note(_session: Any, _context: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        pulse.answered(params.url.path, params.response.status)
        if params.response.status < 400 and not {"watch", "continue"} & params.url.query.keys():
            pulse.listed(params.url.path)

    async def fail(_session: Any, _context: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams) -> None:
        pulse.failed(params.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(authorize)
    trace.on_request_end.append(note)
    trace.on_request_exception.append(fail)
    connector = aiohttp.TCPConnector(ssl=access.ssl if access.ssl is not None else False, limit=0)
    return aiohttp.ClientSession(connector=connector, trace_configs=[trace])
