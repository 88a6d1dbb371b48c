"""The real operator process under its own identity, a broker of a few lines at the edge, and pods ended by hand."""

import asyncio
import base64
import hashlib
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Protocol

from collabspace.api import names
from collabspace.cli import team_objects
from collabspace.kube import clock, config
from collabspace.kube.client import KubeClient, KubeError, Object
from collabspace.local.certificates import Subject
from collabspace.local.cluster import LocalCluster
from collabspace.local.controlplane import Trust

IDENTITY = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{names.OPERATOR_ACCOUNT}"
GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{names.SYSTEM_NAMESPACE}", "system:authenticated")
DATASETS = f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.SHARED_DATASETS}"
TASKS = f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.COLLAB_TASKS}"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
PODS = "/api/v1/namespaces/{}/pods"
START_SECONDS = 60
WAIT_SECONDS = 30


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class Process(Protocol):
    """What subprocess.Popen has."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sign: signal.Signals) -> None: ...

    def kill(self) -> None: ...


def executed(environment: dict[str, str], log: Path) -> Process:
    """An operator as it is started for real."""
    with log.open("ab") as sink:
        command = [sys.executable, "-m", "collabspace.controller.main"]
        return subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)


class OperatorProcess:
    """`collabspace-operator`; `spawn` is how it is started, anew each time."""

    spawn: ClassVar[Callable[[dict[str, str], Path], Process]] = staticmethod(executed)

    def __init__(self, environment: dict[str, str], log: Path, port: int) -> None:
        self.environment = environment
        self.log = log
        self.port = port
        self.process: Process | None = None

    def start(self) -> None:
        self.launch()
        self.until_ready()

    def launch(self) -> None:
        self.process = type(self).spawn({"PATH": os.environ["PATH"], **self.environment}, self.log)

    def until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.probe("/readyz")[0] != 200:
            assert self.running(), self.log.read_text()[-4000:]
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            threading.Event().wait(0.05)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(sign)
        return self.process.wait(30)

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def probe(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, default: float | None = None) -> float:
        """The value of one series, given with its labels as /metrics writes them."""
        line = next((each for each in self.probe("/metrics")[1].splitlines() if each.startswith(name + " ")), None)
        if line is None and default is not None:
            return default
        assert line is not None, f"no series {name}"
        return float(line.rsplit(" ", 1)[1])


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        # An operator that was ended leaves its connections as they are.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class FakeBroker:
    """Speaks the feed and takes usage; what it tells is set by tests."""

    def __init__(self) -> None:
        self.datasets: dict[str, Object] = {}
        self.attempts: dict[tuple[str, int], Object] = {}
        self.usage: dict[str, Object] = {}
        self.tokens: set[str] = set()
        self.namespaces: dict[str, str] = {}
        self.tasks: dict[tuple[str, str], str] = {}
        self.aliases: dict[tuple[str, str], Object] = {}
        self.promotions: list[Object] = []
        # Told before an alias is set and after: what a test wants to happen just then.
        self.around: Callable[[str], None] = lambda _when: None
        self._change = threading.Condition()
        self._sequence = 0
        self._stopping = False
        broker = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                broker.tokens.add(self.headers["Authorization"])
                cursor = self.path.split("cursor=", 1)[1].split("&", 1)[0]
                self._send(broker.answer(cursor))

            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.startswith("/v1/aliases/"):
                    broker.around("before")
                    status, answer = broker.promote(*self.path.split("/")[3:5], body)
                    broker.around("after")
                    self._send(answer, status)
                    return
                with broker._change:
                    broker.usage[self.path.removeprefix("/v1/usage/")] = body
                    broker._change.notify_all()
                self._send({})

            def _send(self, body: Object, status: int = 200) -> None:
                raw = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                # An operator that was ended does not wait for its answer.
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.end_headers()
                    self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, cursor: str) -> Object:
        with self._change:
            if cursor == str(self._sequence):
                self._change.wait_for(lambda: self._stopping or cursor != str(self._sequence), timeout=10)
            return {
                "cursor": str(self._sequence),
                "full": True,
                "datasets": list(self.datasets.values()),
                "attempts": list(self.attempts.values()),
                "aliases": list(self.aliases.values()),
            }

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Nobody gets an answer within."""
        with self._change:
            yield

    def stop(self) -> None:
        with self._change:
            self._stopping = True
            self._change.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def promote(self, namespace: str, alias: str, change: Object) -> tuple[int, Object]:
        """Sets the alias as the broker does: once for each key, and only if it stands for what it is to replace."""
        with self._change:
            known = self.aliases.get((namespace, alias))
            if known is not None and change["key"] in known["keys"]:
                return 200, known
            if (known["digest"] if known is not None else None) != change.get("replaces"):
                return 409, {"reason": "AliasMoved", "message": "the alias stands for something else"}
            self.promotions.append(change)
        task = next(name for (_, name), uid in self.tasks.items() if uid == change["taskUid"])
        self.alias(namespace, alias, change["taskUid"], task, change["digest"], change["key"])
        return 200, self.aliases[namespace, alias]

    def alias(self, namespace: str, alias: str, uid: str, task: str, stands_for: str, key: str = "person/1") -> None:
        """The alias of the namespace stands for this result from now on."""
        known = self.aliases.get((namespace, alias), {"keys": [], "previous": []})
        state = {
            "namespace": namespace,
            "namespaceUid": self.namespaces[namespace],
            "alias": alias,
            "taskUid": uid,
            "task": task,
            "digest": stands_for,
            "promotedTime": "2026-01-02T03:04:05Z",
            "keys": [key, *known["keys"]],
            "previous": [*([known["digest"]] if "digest" in known else []), *known["previous"]],
        }
        self._tell(self.aliases, (namespace, alias), state)

    def publish(self, uid: str, *versions: str, **more: Any) -> None:
        """The dataset's versions, newest first."""
        summaries = [
            {
                "digest": each,
                "createdTime": "2026-01-02T03:04:05Z",
                "format": "Tabular",
                "records": 10,
                "bytes": 1000,
                "files": 2,
            }
            for each in versions
        ]
        self._tell(self.datasets, uid, {"uid": uid, "versions": summaries, **more})

    def attempt(self, uid: str, number: int = 1, **facts: Any) -> None:
        self._tell(self.attempts, (uid, number), {"taskUid": uid, "attempt": number, **facts})

    def committed(self, uid: str, result: str, size: int = 2048, number: int = 1) -> None:
        """The broker holds this result of the attempt."""
        self.attempt(uid, number, result={"digest": result, "records": 1, "bytes": size, "created": True})

    def await_usage(self, uid: str, number: int = 1) -> Object:
        key = f"{uid}/{number}"
        with self._change:
            assert self._change.wait_for(lambda: key in self.usage, timeout=WAIT_SECONDS)
            return self.usage[key]

    def _tell(self, place: dict[Any, Object], key: Any, value: Object) -> None:
        with self._change:
            place[key] = value
            self._sequence += 1
            self._change.notify_all()


class FakeNode(threading.Thread):
    """A Node that is Ready as long as its Lease is renewed; pods bound to it do nothing by themselves."""

    def __init__(self, kubeconfig: Path, name: str, allocatable: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.node = name
        self._kubeconfig = kubeconfig
        self.allocatable = allocatable | {"pods": "1000"}
        self._end = threading.Event()
        self._made = threading.Event()

    def start(self) -> None:
        super().start()
        assert self._made.wait(30)

    def stop(self) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        async with KubeClient(config.load(self._kubeconfig)) as admin:
            await admin.create("/api/v1/nodes", {"metadata": {"name": self.node}})
            await self._report(admin)
            lease: Object = {"metadata": {"name": self.node}, "spec": {"holderIdentity": self.node}}
            await admin.create(leases, lease | {"spec": lease["spec"] | self._now()})
            self._made.set()
            while not await asyncio.to_thread(self._end.wait, 5):
                # Some tests take the API server away.
                with suppress(KubeError):
                    await admin.merge(f"{leases}/{self.node}", {"spec": self._now()})
                    await self._report(admin)
            await admin.delete(f"/api/v1/nodes/{self.node}")

    async def _report(self, admin: KubeClient) -> None:
        ready = {"type": "Ready", "status": "True", "reason": "Test", "lastHeartbeatTime": clock.rfc3339(clock.now())}
        status = {"capacity": self.allocatable, "allocatable": self.allocatable, "conditions": [ready]}
        await admin.merge(f"/api/v1/nodes/{self.node}/status", {"status": status})
        # The node controller would do so too, but it takes its time after an outage of the API server.
        await admin.merge(f"/api/v1/nodes/{self.node}", {"spec": {"taints": None}})

    def _now(self) -> Object:
        return {"renewTime": clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "leaseDurationSeconds": 40}


def wait_until(good: Callable[[], bool], operator: OperatorProcess) -> None:
    """Blocks until it holds, which the operator brings about."""
    deadline = time.monotonic() + 60
    while not good():
        assert time.monotonic() < deadline, operator.log.read_text()[-4000:]
        threading.Event().wait(0.05)


async def until(
    client: KubeClient, path: str, name: str, good: Callable[[Object], bool], seconds: float = WAIT_SECONDS
) -> Object:
    """The object once `good` holds for it; fails with its last state."""
    only = {"fieldSelector": f"metadata.name={name}"}
    last: Object = {}
    try:
        async with asyncio.timeout(seconds):
            while True:
                listing = await client.list(path, only)
                for last in listing["items"]:
                    if good(last):
                        return last
                async for event in client.watch(path, listing["metadata"]["resourceVersion"], only):
                    if event["type"] in ("ADDED", "MODIFIED"):
                        last = event["object"]
                        if good(last):
                            return last
    except TimeoutError:
        raise AssertionError(f"{path}/{name} is not as wanted: {json.dumps(last, indent=1)[-4000:]}") from None


async def gone(client: KubeClient, path: str, name: str, seconds: float = 2 * WAIT_SECONDS + 10) -> None:
    """Returns once there is no such object."""
    only = {"fieldSelector": f"metadata.name={name}"}
    async with asyncio.timeout(seconds):
        listing = await client.list(path, only)
        while listing["items"]:
            async for event in client.watch(path, listing["metadata"]["resourceVersion"], only):
                if event["type"] == "DELETED":
                    return
            listing = await client.list(path, only)


def conditions(item: Object) -> dict[str, Object]:
    return {each["type"]: each for each in item.get("status", {}).get("conditions", ())}


def condition(item: Object, kind: str) -> tuple[str, str]:
    found = conditions(item).get(kind, {"status": "", "reason": ""})
    return found["status"], found["reason"]


def story(item: Object) -> list[tuple[str, str]]:
    """Outcome and reason of each attempt, in order."""
    return [(each["outcome"], each["reason"]) for each in item["status"]["attempts"]]


def reason(item: Object) -> str:
    return str(item.get("status", {}).get("reason", ""))


@dataclass
class Teams:
    """Teams with data and tasks, made by the admin as people make them."""

    admin: KubeClient
    broker: FakeBroker
    made: list[str] = field(default_factory=list)

    async def team(self, gpus: str | None = "4", cpus: str | None = None, *, complete: bool = True) -> str:
        name = f"op-{uuid.uuid4().hex[:8]}"
        settings = {names.GPU_QUOTA: gpus, names.CPU_QUOTA: cpus}
        known = {key: value for key, value in settings.items() if value is not None}
        made = await self.admin.create("/api/v1/namespaces", team_objects.namespace(name, known, labelled=complete))
        self.broker.namespaces[name] = made["metadata"]["uid"]
        self.made.append(name)
        if complete:
            await self.furnish(name)
        return name

    async def furnish(self, name: str) -> None:
        for path, item in team_objects.contents(name, {"url": self.broker.url, "ca.crt": "-"}):
            await self.admin.apply(path, item, "test")

    async def uid(self, namespace: str) -> str:
        return str((await self.admin.get(f"/api/v1/namespaces/{namespace}"))["metadata"]["uid"])

    async def dataset(self, namespace: str, name: str = "table", *versions: str, **spec: Any) -> Object:
        body = {
            "apiVersion": names.API_VERSION,
            "kind": "SharedDataset",
            "metadata": {"name": name},
            "spec": {"format": "Tabular", "contract": {"target": {"column": "y", "kind": "Class"}}, **spec},
        }
        made = await self.admin.create(DATASETS.format(namespace), body)
        if versions:
            self.broker.publish(made["metadata"]["uid"], *versions)
        return made

    async def grant(self, owner: str, to: str, name: str = "table", **changes: Any) -> None:
        """Makes this the dataset's only grant."""
        known = {"name": "g", "namespace": to, "namespaceUID": await self.uid(to), "uses": ["Train"]} | changes
        grant = {key: value for key, value in known.items() if value is not None}
        await self.admin.merge(f"{DATASETS.format(owner)}/{name}", {"spec": {"grants": [grant]}})

    async def task(self, namespace: str, name: str = "task", gpu: int = 0, **spec: Any) -> Object:
        body = task_body(name, namespace, gpu, **spec)
        return await self.admin.create(TASKS.format(namespace), body)

    async def ready(self, gpus: str | None = "4", **more: Any) -> str:
        """A team with one dataset of one version of its own."""
        team = await self.team(gpus, **more)
        await self.dataset(team, "table", digest("one"))
        return team

    async def until_task(
        self, namespace: str, name: str, good: Callable[[Object], bool], seconds: float = WAIT_SECONDS
    ) -> Object:
        return await until(self.admin, TASKS.format(namespace), name, good, seconds)

    async def until_reason(self, namespace: str, name: str, wanted: str, seconds: float = WAIT_SECONDS) -> Object:
        return await self.until_task(namespace, name, lambda item: reason(item) == wanted, seconds)

    async def pod(
        self, namespace: str, task: str, attempt: int = 1, good: Callable[[Object], bool] = lambda _: True
    ) -> Object:
        """The pod of the task's attempt, as the Job controller made it, once `good` holds for it."""
        selector = {"labelSelector": f"{names.TASK_LABEL}={task},{names.ATTEMPT_LABEL}={attempt}"}
        # The garbage collector learns of a new kind only every half a minute.
        async with asyncio.timeout(2 * WAIT_SECONDS + 10):
            while True:
                listing = await self.admin.list(PODS.format(namespace), selector)
                found = [pod for pod in listing["items"] if good(pod)]
                if found:
                    return found[0]
                version = listing["metadata"]["resourceVersion"]
                async for event in self.admin.watch(PODS.format(namespace), version, selector, 10):
                    if event["type"] in ("ADDED", "MODIFIED") and good(event["object"]):
                        return event["object"]

    async def leaving_pod(self, namespace: str, task: str, attempt: int = 1) -> Object:
        """The same once it was told to go, as a kubelet sees it before it sends SIGTERM."""
        return await self.pod(namespace, task, attempt, lambda pod: "deletionTimestamp" in pod["metadata"])

    async def run_pod(self, namespace: str, task: str, attempt: int = 1) -> None:
        """The pod is running and ready."""
        now = clock.rfc3339(clock.now())
        await self._pod_status(
            namespace,
            task,
            attempt,
            {
                "phase": "Running",
                "startTime": now,
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [_container({"running": {"startedAt": now}}, ready=True)],
            },
        )

    async def end_pod(
        self, namespace: str, task: str, code: int = 0, why: str = "", message: str = "", attempt: int = 1
    ) -> None:
        """The pod's container ended with this exit code and termination message."""
        now = clock.rfc3339(clock.now())
        ended = {"exitCode": code, "reason": why or ("Completed" if code == 0 else "Error"), "finishedAt": now}
        await self._pod_status(
            namespace,
            task,
            attempt,
            {
                "phase": "Succeeded" if code == 0 else "Failed",
                "startTime": now,
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [_container({"terminated": ended | {"message": message}}, ready=False)],
            },
        )

    async def _pod_status(self, namespace: str, task: str, attempt: int, status: Object) -> None:
        name = (await self.pod(namespace, task, attempt))["metadata"]["name"]
        await self.admin.merge(f"{PODS.format(namespace)}/{name}/status", {"status": status})

    async def remove(self) -> None:
        """Namespaces go without waiting; pods at once, since no kubelet ends them."""
        for namespace in self.made:
            for task in (await self.admin.list(TASKS.format(namespace)))["items"]:
                await self.admin.delete(f"{TASKS.format(namespace)}/{task['metadata']['name']}")
            for pod in (await self.admin.list(PODS.format(namespace)))["items"]:
                try:
                    await self.admin.delete(f"{PODS.format(namespace)}/{pod['metadata']['name']}", grace_seconds=0)
                except KubeError as error:
                    assert error.status == 404
            await self.admin.delete(f"/api/v1/namespaces/{namespace}")


def _container(state: Object, *, ready: bool) -> Object:
    image = names.TRAINER_IMAGE
    return {
        "name": names.TRAINER_CONTAINER,
        "state": state,
        "ready": ready,
        "image": image,
        "imageID": image,
        "restartCount": 0,
    }


def task_body(name: str, namespace: str, gpu: int = 0, **spec: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "CollabTask",
        "metadata": {"name": name},
        "spec": {
            "task": "Tabular",
            "method": "LogisticRegression",
            "datasets": [{"name": "train", "datasetRef": {"namespace": namespace, "name": "table"}}],
            "resourcesPerNode": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": str(gpu)},
            **spec,
        },
    }


def end_record(result: str | None, code: int = 0, **more: Any) -> str:
    record = {"code": code, "reason": "Completed", "bytes": 2048, "step": 30, "totalSteps": 30}
    return json.dumps(record | ({"digest": result} if result else {}) | more)


class Audit:
    """What the operator asked of the API server, read from the server's own log."""

    def __init__(self, path: Path, admin: KubeClient) -> None:
        self._path = path
        self._admin = admin

    @asynccontextmanager
    async def record(self) -> AsyncIterator[list[Object]]:
        """Fills the list with the operator's requests made meanwhile, watches apart."""
        await self._flushed()
        start = self._path.stat().st_size
        found: list[Object] = []
        yield found
        await self._flushed()
        with self._path.open("rb") as log:
            log.seek(start)
            for line in log.read().splitlines():
                entry = json.loads(line)
                if entry["user"]["username"] == IDENTITY and entry["verb"] != "watch":
                    found.append(entry)

    async def _flushed(self) -> None:
        """Entries are written after their answers: all up to now are there once one of our own is."""
        marker = f"marker-{uuid.uuid4().hex}"
        start = self._path.stat().st_size
        with suppress(KubeError):
            await self._admin.get(f"/api/v1/namespaces/{marker}")
        async with asyncio.timeout(10):
            while marker not in self._path.read_bytes()[start:].decode():  # noqa: ASYNC110 a file of another program tells nobody
                await asyncio.sleep(0.01)


def calls(entries: list[Object], namespace: str) -> list[tuple[str, str]]:
    """(verb, resource) of requests in a namespace, events apart."""
    found = []
    for entry in entries:
        target = entry.get("objectRef") or {}
        if target.get("namespace") == namespace and target["resource"] != "events":
            parts = (target["resource"], target.get("subresource"))
            found.append((entry["verb"], "/".join(part for part in parts if part)))
    return found


class Store:
    """The cluster's etcd itself: the way to write what the API server would refuse."""

    def __init__(self, cluster: LocalCluster) -> None:
        trust = Trust.of(cluster._state)
        caller = trust.etcd.issue(Subject("kube-apiserver"), "etcd-client")
        self._url = cluster._state.address("etcd")
        self._context = ssl.create_default_context(cafile=trust.etcd.file)
        self._context.load_cert_chain(caller.cert, caller.key)

    def change(self, plural: str, namespace: str, name: str, change: Callable[[Object], None]) -> None:
        """Edits a stored object of ours in place."""

        def changed(raw: bytes) -> bytes:
            item = json.loads(raw)
            change(item)
            return json.dumps(item).encode()

        self._rewrite(f"/registry/{names.GROUP}/{plural}/{namespace}/{name}", changed)

    def annotate_namespace(self, name: str, key: str, was: str, now: str) -> None:
        """Gives an annotation another value of the same length; namespaces are stored as protocol buffers."""
        old, new = (f"{key}\x12{chr(len(value))}{value}".encode() for value in (was, now))
        self._rewrite(f"/registry/namespaces/{name}", lambda raw: raw.replace(old, new))

    def _rewrite(self, path: str, change: Callable[[bytes], bytes]) -> None:
        key = base64.b64encode(path.encode()).decode()
        found = self._call("range", {"key": key})["kvs"][0]
        value = change(base64.b64decode(found["value"]))
        self._call("put", {"key": key, "value": base64.b64encode(value).decode()})

    def _call(self, verb: str, body: Object) -> Object:
        request = urllib.request.Request(f"{self._url}/v3/kv/{verb}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10, context=self._context) as answer:
            return json.loads(answer.read())
