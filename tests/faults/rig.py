"""One embedded cluster on which fault plans run, one after the other.

Real API server, etcd and Job controller, the real broker, a played node, and the operator as a process of its own
behind fault proxies.

    with Rig(folder) as rig:
        team = rig.call(rig.team())
        ...

Everything of the rig lives on one event loop in a thread of its own (`rig.loop`): `rig.call(coroutine)` runs a
coroutine there and returns its result, and what is `async` here must run there. `rig.operator` and `rig.broker` are
processes: `start()`, `kill()`, `freeze()`, `thaw()` from any thread. Between operator and API server stands `rig.api`,
between operator and broker `rig.broker_door` (both FaultProxy: append to `.rules` and `.event_rules`, `clear()` ends
all faults; proxy_faults.py has the faults). Trainers, the node and the rig itself take the direct way.
"""

import asyncio
import os
import signal
import socket
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from eyes import Eyes
from fault_proxy import FaultProxy
from loop_thread import LoopThread
from player import Player
from views import Views

from collabspace.api import names
from collabspace.cli import team_objects
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError, Object
from collabspace.local.certificates import LOOPBACK, Subject, service_account
from collabspace.local.cluster import LocalCluster
from collabspace.local.controlplane import Trust
from collabspace.local.node.api import NodeClient
from collabspace.local.state import Options
from forked_programs import Forked, ForkServer

NODE = "played"
INSTANCE = "planned"
START_SECONDS = 90


class Program:
    """A process started from a fork server, any number of times one after the other."""

    def __init__(self, server: ForkServer, environment: dict[str, str], log: Path) -> None:
        self._server = server
        self.environment = environment
        self.log = log
        self._process: Forked | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Does not wait until it is ready."""
        self._process = self._server.spawn({"PATH": os.environ["PATH"], **self.environment}, self.log)
        self.starts += 1

    def fileno(self) -> int:
        """Becomes readable when the process of the last start has ended."""
        assert self._process is not None
        return self._process.fileno()

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """Returns when it has ended."""
        if self._process is not None and self.running():
            self._process.send_signal(sign)
            self._process.wait(30)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def words(self, size: int = 4000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""


class Rig:
    """See the module. `kubeconfig` is the admin's; `audit_log`, `ledger` (sqlite), `store` (a folder) and `journal` (of
    processes, as the embedded node writes it) are for observers."""

    def __init__(
        self,
        folder: Path,
        say: Callable[[str], None] = print,
        *,
        audit: bool = True,
        arguments: dict[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.folder = folder
        self._say = say
        self._options = Options(audit=audit, arguments=arguments or {})
        self._servers: list[ForkServer] = []
        self._background: list[asyncio.Task[Any]] = []
        self.namespaces: list[str] = []
        self.owner: str | None = None
        """The namespace of data that all plans read, made by the first."""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cluster = LocalCluster(f"faults-{os.getpid()}", self.folder / "cluster", self._say)
        self.thread = LoopThread()
        self.loop = self.thread.loop
        try:
            operator_server, broker_server = (
                ForkServer("collabspace.controller.main"),
                ForkServer("collabspace.broker.main"),
            )
            self._servers = [operator_server, broker_server]
            self.cluster.start_control_plane(self._options)
            self.cluster.install()
            self.call(self._open(operator_server, broker_server))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in ("operator", "broker"):
            if hasattr(self, name):
                getattr(self, name).kill()
        self.call(self._close())
        self.thread.close()
        for server in self._servers:
            server.close()
        self.cluster.down()
        # What plans are judged by stays; etcd's files and keys do not.
        self.cluster.down(wipe=kind is None)

    @property
    def kubeconfig(self) -> Path:
        return self.cluster.kubeconfig

    @property
    def audit_log(self) -> Path:
        return self.cluster.audit_log

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def journal(self) -> Path:
        return self.player.journal.path

    def call(self, work: Coroutine[Any, Any, Any], seconds: float | None = 300) -> Any:
        """The coroutine's result, from a thread other than the rig's."""
        return self.thread.call(work, seconds)

    async def _open(self, operator_server: ForkServer, broker_server: ForkServer) -> None:
        trust = Trust.of(self.cluster._state)
        self.admin = KubeClient(config.load(self.cluster.kubeconfig), connections=64)
        operator_access = config.load(self.cluster.user(service_account(names.OPERATOR_ACCOUNT).name))
        self.api = FaultProxy(operator_access.server, operator_access.ssl)
        await self.api.start()
        self.views = Views()
        self.api.taps.replied.append(self.views.replied)
        self.api.taps.came.append(self.views.came)
        self._start_broker(trust, broker_server)
        trusting = ssl.create_default_context(cafile=str(trust.cluster.file))
        self.broker_door = FaultProxy(self.broker_url, trusting)
        await self.broker_door.start()
        self._prepare_operator(operator_server)
        node = self.cluster.user(f"system:node:{NODE}", ("system:nodes",))
        self.node_client = NodeClient(config.load(node))
        self.broker_ca = trust.cluster.file.read_text()
        self.player = Player(self.node_client, NODE, self.broker_url, self.broker_ca, self.folder)
        self.eyes = Eyes(self.admin)
        for part in (self.player.run(), self.eyes.run()):
            self._background.append(asyncio.create_task(part))
        await self.player.registered.wait()
        await asyncio.to_thread(self._until_broker_is_ready)
        self.operator.start()
        await self.until_operator_is_ready()

    async def _close(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for name in ("api", "broker_door"):
            if hasattr(self, name):
                await getattr(self, name).stop()
        for name in ("admin", "node_client"):
            if hasattr(self, name):
                await getattr(self, name).close()

    def _start_broker(self, trust: Trust, server: ForkServer) -> None:
        kubeconfig = self.cluster.user(service_account(names.BROKER_ACCOUNT).name)
        serving = trust.cluster.issue(Subject(names.BROKER_ACCOUNT, hosts=LOOPBACK), "broker-serving")
        port = free_port()
        self.broker_url = f"https://127.0.0.1:{port}"
        environment = {
            "COLLABSPACE_KUBECONFIG": str(kubeconfig),
            "COLLABSPACE_BROKER_PORT": str(port),
            "COLLABSPACE_BROKER_TLS_CERT": str(serving.cert),
            "COLLABSPACE_BROKER_TLS_KEY": str(serving.key),
            "COLLABSPACE_BROKER_LEDGER": f"sqlite:///{self.ledger}",
            "COLLABSPACE_BROKER_STORE": str(self.store),
        }
        self.broker = Program(server, environment, self.folder / "broker.log")
        self.broker.start()

    def _until_broker_is_ready(self) -> None:
        context = ssl.create_default_context(cadata=self.broker_ca)
        with httpx.Client(base_url=self.broker_url, verify=context, trust_env=False, timeout=5) as http:
            self._until_ready(self.broker, lambda: http.get("/readyz").status_code == 200)

    def _prepare_operator(self, server: ForkServer) -> None:
        """Plain HTTP to the proxies, which speak TLS with its certificate: half the handshakes of each start."""
        real = yaml.safe_load(self.cluster.user(service_account(names.OPERATOR_ACCOUNT).name).read_text())
        real["clusters"][0]["cluster"] = {"server": self.api.url}
        proxied = self.folder / "operator.kubeconfig"
        proxied.write_text(yaml.safe_dump(real))
        self.metrics_port = free_port()
        environment = {
            "COLLABSPACE_KUBECONFIG": str(proxied),
            "COLLABSPACE_BROKER_URL": self.broker_door.url,
            "COLLABSPACE_METRICS_PORT": str(self.metrics_port),
            "COLLABSPACE_INSTANCE": INSTANCE,
            "PYTHONWARNINGS": "default",
        }
        self.operator = Program(server, environment, self.folder / "operator.log")

    async def until_operator_is_ready(self) -> None:
        url = f"http://127.0.0.1:{self.metrics_port}/readyz"

        def wait() -> None:
            with httpx.Client(trust_env=False, timeout=5) as http:
                self._until_ready(self.operator, lambda: http.get(url).status_code == 200)

        await asyncio.to_thread(wait)

    def _until_ready(self, program: Program, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if ready():
                    return
            except httpx.TransportError:
                assert time.monotonic() < deadline, program.words()
            assert program.running(), program.words()
            threading.Event().wait(0.02)

    async def team(self, prefix: str = "f", gpus: int | None = 8, name: str | None = None) -> str:
        """A namespace set up as a team; its name."""
        name = name or f"{prefix}-{uuid.uuid4().hex[:8]}"
        settings = {names.GPU_QUOTA: str(gpus)} if gpus is not None else {}
        await self.admin.create("/api/v1/namespaces", team_objects.namespace(name, settings, labelled=True))
        self.namespaces.append(name)
        broker = {names.BROKER_URL_KEY: self.broker_url, names.BROKER_CA_KEY: self.broker_ca}
        await asyncio.gather(*(self._make(path, item) for path, item in team_objects.contents(name, broker)))
        return name

    async def _make(self, path: str, item: Object) -> None:
        await self.admin.create(path.rpartition("/")[0], item)

    async def remove(self, namespace: str) -> None:
        """Deletes the namespace without waiting for its end."""
        self.player.forget(namespace)
        self.namespaces.remove(namespace)
        try:
            await self.admin.delete(f"/api/v1/namespaces/{namespace}")
        except KubeError as error:
            if error.status != 404:
                raise

    async def publisher_token(self, namespace: str) -> str:
        spec: Object = {"audiences": [names.BROKER_AUDIENCE], "expirationSeconds": 3600}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{names.PUBLISHER_ACCOUNT}/token"
        return str((await self.admin.create(path, body))["status"]["token"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
