"""Where bad inputs are tried: one operator process, etcd under the API server, a team that has no part in it, and what
is seen of it all."""

import asyncio
import base64
import contextlib
import json
import re
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bad_input import GOOD, PLURALS, SELECTION, TASK
from operator_harness import GROUPS, IDENTITY, FakeBroker, FakeNode, OperatorProcess, Store, Teams, digest

from collabspace.api import names
from collabspace.kube import config
from collabspace.kube.client import KubeClient, Object
from collabspace.kube.watch import Watch
from collabspace.local.cluster import LocalCluster

JOBS, PODS, NAMESPACES = "jobs", "pods", "namespaces"
OURS = tuple(PLURALS.values())
FOLLOWED = (*OURS, JOBS, PODS)
START_SECONDS, WAIT_SECONDS = 60.0, 60.0
# Lines of its log that no input may bring about.
WRONG = re.compile(r"Traceback|failed; again|; again in|CRITICAL|never retrieved")
# On a busy machine the API server lets a request wait too long now and then; no input is to blame.
UNREACHED = ": 0 Unreachable; again in"
REFUSED = re.compile(r"status of (\S+) (\S+)/(\S+) refused")
NAMED = re.compile(r"\S+/\S+|again in .*")
Place = tuple[str, str, str]
"""Plural, namespace and name."""


def api_path(plural: str, namespace: str, name: str = "") -> str:
    group = {JOBS: "/apis/batch/v1", PODS: "/api/v1"}.get(plural, f"/apis/{names.API_VERSION}")
    return f"{group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


class Etcd(Store):
    """Whole objects, written past the API server; it reads JSON where it would have written something else."""

    def read(self, place: Place) -> Object:
        found = self._call("range", {"key": _key(place)})["kvs"][0]
        return json.loads(base64.b64decode(found["value"]))  # type: ignore[no-any-return]

    def put(self, place: Place, item: Object) -> None:
        value = base64.b64encode(json.dumps(item).encode()).decode()
        self._call("put", {"key": _key(place), "value": value})

    def remove(self, place: Place) -> None:
        self._call("deleterange", {"key": _key(place)})


def _key(place: Place) -> str:
    plural, namespace, name = place
    folder = f"{names.GROUP}/{plural}" if plural in OURS else plural
    path = f"/registry/{folder}/{namespace}/{name}" if namespace else f"/registry/{folder}/{name}"
    return base64.b64encode(path.encode()).decode()


class View:
    """Every object of the kinds that matter, as watched."""

    def __init__(self) -> None:
        self.items: dict[Place, Object] = {}
        self.owned: dict[str, set[Place]] = defaultdict(set)
        """By the uid of an owner, those that ever named it."""
        self._news = asyncio.Event()

    def sink(self, plural: str) -> "_Sink":
        return _Sink(self, plural)

    def told(self) -> None:
        self._news.set()

    def get(self, plural: str, namespace: str, name: str) -> Object | None:
        return self.items.get((plural, namespace, name))

    def of(self, plural: str, namespace: str) -> list[Object]:
        return [item for (kind, place, _), item in self.items.items() if (kind, place) == (plural, namespace)]

    async def until(self, good: Callable[[], bool], seconds: float = WAIT_SECONDS, look: float = 0.25) -> bool:
        """Whether it came to hold in time; looked at when something changes, and now and then for what nothing tells
        of, such as a line in a log."""
        end = time.monotonic() + seconds
        while not good():
            if time.monotonic() > end:
                return False
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), look)
        return True


class _Sink:
    def __init__(self, view: View, plural: str) -> None:
        self._view = view
        self._plural = plural

    def apply(self, kind: str | None, raw: Object) -> None:
        meta = raw["metadata"]
        place = (self._plural, meta.get("namespace") or "", meta["name"])
        if kind == "DELETED":
            self._view.items.pop(place, None)
        else:
            self._view.items[place] = raw
            for owner in meta.get("ownerReferences") or ():
                self._view.owned[owner["uid"]].add(place)
        self._view.told()

    def retain(self, keys: Set[tuple[str, str]], resource_version: str) -> None:
        for place in [each for each in self._view.items if each[0] == self._plural and each[1:] not in keys]:
            del self._view.items[place]
        self._view.told()


class Door:
    """Requests with any body whatever; the answer is told, not raised."""

    def __init__(self, admin: KubeClient) -> None:
        self._admin = admin
        self._session = admin.access.session(32)

    async def close(self) -> None:
        await self._session.close()

    async def send(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> tuple[int, Object]:
        headers = {"Content-Type": kind, "Accept": "application/json"}
        if (token := self._admin.access.authorization()) is not None:
            headers["Authorization"] = token
        data = json.dumps(body).encode() if body is not None else None
        url = self._admin.access.server + path
        async with self._session.request(method, url, data=data, headers=headers) as response:
            raw = await response.read()
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = {"message": raw.decode(errors="replace")}
        return response.status, answer

    async def merge(self, path: str, body: Object) -> tuple[int, Object]:
        return await self.send("PATCH", path, body, "application/merge-patch+json")


class Follower:
    """What was added to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0

    def lines(self) -> list[str]:
        with self._path.open("rb") as file:
            file.seek(self._at)
            *whole, rest = file.read().split(b"\n")
            self._at = file.tell() - len(rest)
        return [each.decode(errors="replace") for each in whole]


class UnboundNode(FakeNode):
    """Offers room for every task and takes no pod: pods stay unbound, so that they end without a kubelet."""

    def __init__(self, kubeconfig: Path, name: str) -> None:
        super().__init__(kubeconfig, name, {"cpu": "1000000", "memory": "10000Ti", "nvidia.com/gpu": "64"})
        self.allocatable["pods"] = "0"


@dataclass
class Stage:
    """All of it. `wrong` are findings about the operator as a whole."""

    cluster: LocalCluster
    admin: KubeClient
    door: Door
    etcd: Etcd
    teams: Teams
    operator: OperatorProcess
    view: View
    log: Follower
    audit: Follower
    bystander: str = ""
    bystander_state: dict[Place, str] = field(default_factory=dict)
    alarms: set[Place] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    unreached: int = 0
    pid: int = 0

    def listen(self) -> None:
        """Reads on in the operator's log."""
        for line in self.log.lines():
            if found := REFUSED.search(line):
                self.alarms.add((found[1], found[2], found[3]))
            elif UNREACHED in line:
                self.unreached += 1
            elif WRONG.search(line):
                self.wrong.append(f"log: {_without_names(line)[:400]}")

    async def reckon(self) -> None:
        """Counts what the operator asked of the API server, by namespace, object and whether it was a write."""
        marker = f"marker-{uuid.uuid4().hex}"
        await self.door.send("GET", f"/api/v1/namespaces/{marker}")
        async with asyncio.timeout(20):
            while not self._count(marker):  # noqa: ASYNC110 a file of another program tells nobody
                await asyncio.sleep(0.02)

    def _count(self, marker: str) -> bool:
        seen = False
        for line in self.audit.lines():
            seen |= marker in line
            if IDENTITY not in line:
                continue
            entry = json.loads(line)
            target = entry.get("objectRef") or {}
            if entry["user"]["username"] != IDENTITY or entry["verb"] == "watch" or target.get("resource") == "leases":
                continue
            lane = "reads" if entry["verb"] in ("get", "list") else "writes"
            name = target.get("name") or entry["requestURI"].rsplit("?", 1)[-1]
            self.calls[target.get("namespace", ""), name, "events" if target.get("resource") == "events" else lane] += 1
        return seen

    def check(self) -> None:
        """The process is the one that was started, and those who have no part in it are as they were."""
        self.listen()
        process = self.operator.process
        if process is None or process.poll() is not None or process.pid != self.pid:
            self.wrong.append("the operator ended")
            self.operator.start()
            self.pid = self.operator.process.pid if self.operator.process is not None else 0
        now = self._bystanders()
        for place in now.keys() | self.bystander_state.keys():
            if now.get(place) != self.bystander_state.get(place):
                self.wrong.append(
                    f"{place} of a bystander was touched: {self.bystander_state.get(place)} {now.get(place)}"
                )
        self.bystander_state = now
        for (namespace, name, lane), count in self.calls.items():
            if namespace == self.bystander and lane == "writes":
                self.wrong.append(f"{count} writes on {name} of a bystander")

    def _bystanders(self) -> dict[Place, str]:
        return {place: _mark(place, item) for place, item in self.view.items.items() if place[1] == self.bystander}

    async def team(self) -> str:
        """A team with a dataset that has a version."""
        name = await self.teams.team("4")
        await self.teams.dataset(name, "table", digest("one"), deletionPolicy="Delete")
        return name

    async def prepare(self) -> None:
        """The bystanders: a task that runs and one that waits."""
        self.bystander = await self.teams.ready("1")
        await self.teams.task(self.bystander, "holds", gpu=1)
        await self.teams.until_reason(self.bystander, "holds", "Starting")
        await self.teams.run_pod(self.bystander, "holds")
        await self.teams.until_reason(self.bystander, "holds", "Training")
        await self.teams.task(self.bystander, "waits", gpu=1)
        await self.teams.until_reason(self.bystander, "waits", "WaitingForQuota")
        await self.view.until(lambda: self.view.get(names.COLLAB_TASKS, self.bystander, "waits") is not None)
        await self.reckon()
        self.calls.clear()
        self.bystander_state = self._bystanders()

    def good(self, kind: str, namespace: str, name: str) -> Object:
        item = GOOD[kind](namespace)
        item["metadata"] |= {"name": name, "namespace": namespace}
        return item


@contextlib.asynccontextmanager
async def stage(cluster: LocalCluster, folder: Path, log: Path | None = None) -> AsyncIterator[Stage]:
    """On a control plane with an audit log; removes nothing, as the control plane goes too."""
    node = UnboundNode(cluster.kubeconfig, f"inputs-{uuid.uuid4().hex[:6]}")
    broker = FakeBroker()
    async with contextlib.AsyncExitStack() as stack:
        node.start()
        stack.callback(node.stop)
        stack.callback(broker.stop)
        admin = await stack.enter_async_context(KubeClient(config.load(cluster.kubeconfig)))
        door = Door(admin)
        stack.push_async_callback(door.close)
        operator = _operator(cluster, broker, log or folder / "operator.log")
        stack.callback(lambda: operator.stop() if operator.running() else None)
        view = View()
        watches = [_watch(admin, plural, view) for plural in FOLLOWED]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.run()) for each in watches]
            await asyncio.gather(*(each.synced.wait() for each in watches))
            found = Stage(
                cluster,
                admin,
                door,
                Etcd(cluster),
                Teams(admin, broker),
                operator,
                view,
                Follower(operator.log),
                Follower(cluster.audit_log),
                pid=operator.process.pid if operator.process is not None else 0,
            )
            await found.prepare()
            yield found
            for task in tasks:
                task.cancel()


def _watch(admin: KubeClient, plural: str, view: View) -> Watch:
    group = {JOBS: "/apis/batch/v1", PODS: "/api/v1"}.get(plural, f"/apis/{names.API_VERSION}")
    return Watch(admin, plural, f"{group}/{plural}", view.sink(plural))


def _operator(cluster: LocalCluster, broker: FakeBroker, log: Path) -> OperatorProcess:
    port = cluster.metrics["operator"].rsplit(":", 1)[1]
    environment = {
        "COLLABSPACE_KUBECONFIG": str(cluster.user(IDENTITY, GROUPS)),
        "COLLABSPACE_BROKER_URL": broker.url,
        "COLLABSPACE_METRICS_PORT": port,
        "COLLABSPACE_INSTANCE": "tested",
        "PYTHONWARNINGS": "default",
    }
    process = OperatorProcess(environment, log, int(port))
    process.start()
    return process


def _mark(place: Place, item: Object) -> str:
    """What tells an object from a changed one; on pods the scheduler writes too."""
    meta = item["metadata"]
    return str(item["status"].get("phase") if place[0] == PODS else meta["resourceVersion"]) + str(meta["uid"])


def _without_names(line: str) -> str:
    """Of a log line what is the same for every object."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    words = NAMED.sub("…", str(entry.get("message")))
    return " ".join((str(entry.get("level")), words, str(entry.get("exception", "")), *entry.get("at", ())))


def owned(view: View, kind: str, namespace: str, uid: str) -> list[Object]:
    """Its children: Jobs of a task, tasks of a selection."""
    plural = {TASK: JOBS, SELECTION: names.COLLAB_TASKS}.get(kind)
    if plural is None:
        return []
    return [view.items[place] for place in view.owned[uid] if place in view.items and place[:2] == (plural, namespace)]
