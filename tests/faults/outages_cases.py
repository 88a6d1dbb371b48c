"""The outages of outages.py: what is away, and how it comes back."""

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from proxy_messages import Event, EventRule, Forward, Request, Rule, Stream
from rig import Rig

import postgres_server
from collabspace.local.cluster import LocalCluster
from collabspace.local.errors import LocalClusterError

APISERVER = "kube-apiserver"
# As they run in a cluster of several: who cannot renew its Lease for 10 s ends. Without that, Kubernetes' controllers
# find their way back to an API server only after their watches' own pause, of up to a minute.
ELECTED = dict.fromkeys(("kube-controller-manager", "kube-scheduler"), ("--leader-elect=true",))
RESTART_SECONDS = 10.0


class Kubelet(threading.Thread):
    """Starts Kubernetes' own controllers again when they have ended, after the pause that a kubelet makes first."""

    def __init__(self, cluster: LocalCluster) -> None:
        super().__init__(name="kubelet", daemon=True)
        self._cluster = cluster
        self._gone: dict[str, float] = {}
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.5):
            for name in ELECTED:
                if self._cluster.pid(name) is not None:
                    self._gone.pop(name, None)
                elif self._due(name):
                    with suppress(LocalClusterError):  # another component is being started
                        self._cluster.start(name)

    def stop(self) -> None:
        self._end.set()
        self.join()

    def _due(self, name: str) -> bool:
        waited = time.monotonic() - self._gone.setdefault(name, time.monotonic())
        return waited >= RESTART_SECONDS and self._cluster.pid(APISERVER) is not None


class Outages:
    """Each is a context: away within it, back after it."""

    def __init__(self, rig: Rig, server: postgres_server.PostgresServer) -> None:
        self._rig = rig
        self._server = server

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """The API server is killed."""
        await asyncio.to_thread(self._rig.cluster.kill, APISERVER)
        yield
        await asyncio.to_thread(self._rig.cluster.start, APISERVER)

    @asynccontextmanager
    async def black_hole(self) -> AsyncIterator[None]:
        """The operator's requests get no answer, and its watches tell nothing."""
        proxy, over = self._rig.api, asyncio.Event()

        async def held(_request: Request, _forward: Forward) -> None:
            await over.wait()

        proxy.rules.append(Rule(lambda _request: True, held, None))
        proxy.event_rules.append(EventRule(lambda _event: True, _swallow, None))
        yield
        # The connections of before are no more; what was swallowed comes with new ones.
        proxy.clear()
        over.set()
        for stream in list(proxy.streams):
            stream.cut()

    @asynccontextmanager
    async def etcd(self) -> AsyncIterator[None]:
        """The database of the API server is killed and started again."""
        await asyncio.to_thread(self._rig.cluster.kill, "etcd")
        yield
        await asyncio.to_thread(self._rig.cluster.start, "etcd")

    @asynccontextmanager
    async def store(self) -> AsyncIterator[None]:
        """The volume of the store is not there: an empty folder in its place."""
        place, aside = self._rig.store, self._rig.folder / "store-aside"
        place.rename(aside)
        place.mkdir()
        yield
        shutil.rmtree(place)
        aside.rename(place)

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[None]:
        await asyncio.to_thread(self._server.stop)
        yield
        await asyncio.to_thread(self._server.start)


async def _swallow(_stream: Stream, _event: Event) -> list[bytes]:
    return []


@dataclass(frozen=True)
class Case:
    """`asked`: whether the API server can be asked meanwhile."""

    name: str
    seconds: float
    outage: Callable[[Outages], Any]
    asked: bool


CASES = (
    *(Case("API server stopped", seconds, Outages.stopped, False) for seconds in (2, 30, 120)),
    *(Case("API server a black hole", seconds, Outages.black_hole, True) for seconds in (2, 30, 120)),
    Case("etcd restarted", 5, Outages.etcd, False),
    Case("store away", 300, Outages.store, True),
    Case("ledger database away", 300, Outages.ledger, True),
)
