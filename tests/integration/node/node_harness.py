"""A node agent as a process with its own credential, and pods made to run on it."""

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from collabspace.kube.client import KubeClient
from collabspace.local.certificates import Authority, Subject, write_kubeconfig
from collabspace.local.cluster import LocalCluster

Object = dict[str, Any]
SHELL = "collabspace/test-shell"
PATIENCE = 60  # seconds; what takes longer does not come, also on a busy machine


class NodeProcess:
    """The agent as a process that can be killed and started again on the same state."""

    def __init__(
        self, cluster: LocalCluster, name: str, state_dir: Path, *flags: str, server: str | None = None
    ) -> None:
        self.name = name
        self.state_dir = state_dir
        keys = cluster.state / "keys"
        trusted, kubelet = Authority(keys, "cluster"), Authority(keys, "kubelet")
        subject = Subject(f"system:node:{name}", ("system:nodes",))
        serving = trusted.issue(Subject(subject.name, subject.groups, ("127.0.0.1", name)), f"{name}-serving")
        self.kubeconfig = write_kubeconfig(
            state_dir.parent / f"{name}.kubeconfig",
            server or cluster.server,
            trusted.file,
            trusted.issue(subject, name),
            context=name,
        )
        self._argv = [
            sys.executable,
            "-m",
            "collabspace.local.node",
            "--kubeconfig",
            str(self.kubeconfig),
            "--name",
            name,
        ]
        self._argv += ["--state-dir", str(state_dir), "--gpus", "2", "--serving-cert", str(serving.cert)]
        self._argv += [
            "--serving-key",
            str(serving.key),
            "--client-ca",
            str(kubelet.file),
            "--allow-test-image",
            *flags,
        ]
        self._log = state_dir.parent / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """As a crash would end it."""
        self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """As its owner would end it; returns the exit status. Its way to the API server may lead through our loop."""
        return await asyncio.to_thread(self.stop_and_wait)

    def stop_and_wait(self) -> int:
        return self._end(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def folders(self, uid: str) -> list[Path]:
        """Of the pod of this uid: one, or none once it is removed."""
        return [note.parent for note in (self.state_dir / "pods").glob("*/pod.json") if uid in note.read_text()]

    def wait(self) -> int:
        """Exit status of an agent that ends by itself."""
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def log(self) -> str:
        return self._log.read_text()

    async def announced(self, admin: KubeClient) -> None:
        """Until the Node names the port on which the newest agent serves logs."""
        port = int(re.findall(r"serves logs on 127\.0\.0\.1:(\d+)", self.log())[-1])

        def holds(node: Object) -> bool:
            known: bool = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] == port
            return known

        await wait_for(admin, "/api/v1/nodes", self.name, holds)

    def journal(self, namespace: str) -> list[Object]:
        """Starts and ends of the processes of one namespace."""
        file = self.state_dir / "journal.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [line for line in lines if line["namespace"] == namespace]

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(PATIENCE)


class Pods:
    """Makes pods of one namespace on one node and waits for what becomes of them."""

    def __init__(self, admin: KubeClient, namespace: str, node: str) -> None:
        self.admin = admin
        self.namespace = namespace
        self.node = node
        self.path = f"/api/v1/namespaces/{namespace}/pods"

    async def create(self, name: str, script: str = "", *, container: Object | None = None, **spec: Any) -> Object:
        """A pod that runs a shell script; `container` and `spec` add to or replace its parts."""
        body = {"name": "main", "image": SHELL, "command": ["/bin/sh", "-c", script], **(container or {})}
        pod: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": spec.pop("labels", {}), "annotations": spec.pop("annotations", {})},
            "spec": {
                "containers": [body],
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "nodeSelector": {"kubernetes.io/hostname": self.node},
                **spec,
            },
        }
        return await self.admin.create(self.path, pod)

    async def wait(self, name: str, holds: Callable[[Object], bool], seconds: float = PATIENCE) -> Object:
        """The pod as soon as the condition holds."""
        return await wait_for(self.admin, self.path, name, holds, seconds)

    async def phase(self, name: str, phase: str, seconds: float = PATIENCE) -> Object:
        return await self.wait(name, lambda pod: pod["status"].get("phase") == phase, seconds)

    async def end(self, name: str, seconds: float = PATIENCE) -> Object:
        """The state `terminated` of the only main container, once the pod is over."""
        pod = await self.wait(name, lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"), seconds)
        state: Object = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        return state

    async def waits(self, name: str, reason: str) -> str:
        """The message with which the only main container waits for this reason; it may wait for others before."""

        def holds(pod: Object) -> bool:
            return any(_waiting(one).get("reason") == reason for one in pod["status"].get("containerStatuses", []))

        message: str = _waiting((await self.wait(name, holds))["status"]["containerStatuses"][0])["message"]
        return message

    async def gone(self, name: str, seconds: float = PATIENCE) -> None:
        await self.wait(name, lambda pod: not pod, seconds)

    async def up(self, name: str) -> None:
        """Until the pod's script has said something: what it did before that, such as a trap, is done."""
        await self.phase(name, "Running")
        async with contextlib.aclosing(self.admin.stream(f"{self.path}/{name}/log", {"follow": "true"})) as lines:
            await anext(lines)

    async def delete(self, name: str, grace_seconds: int | None = None) -> None:
        await self.admin.delete(f"{self.path}/{name}", grace_seconds=grace_seconds)

    async def logs(self, name: str, **options: str) -> str:
        parts = [part async for part in self.admin.stream(f"{self.path}/{name}/log", options)]
        return b"".join(parts).decode()


async def wait_for(
    admin: KubeClient, path: str, name: str, holds: Callable[[Object], bool], seconds: float = PATIENCE
) -> Object:
    """An object of a collection as soon as the condition holds of it; an object that is gone is an empty dict."""
    only = {"fieldSelector": f"metadata.name={name}"}
    seen: Object = {}
    try:
        async with asyncio.timeout(seconds):
            listed = await admin.list(path, only)
            seen = listed["items"][0] if listed["items"] else {}
            if holds(seen):
                return seen
            version = listed["metadata"]["resourceVersion"]
            while True:
                async with contextlib.aclosing(admin.watch(path, version, only)) as events:
                    async for event in events:
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            seen = {} if event["type"] == "DELETED" else event["object"]
                            if holds(seen):
                                return seen
    except TimeoutError:
        raise AssertionError(f"{name} did not come so far in {seconds} s; last seen: {json.dumps(seen)}") from None


def _waiting(status: Object) -> Object:
    waiting: Object = status["state"].get("waiting", {})
    return waiting


def status_writes(cluster: LocalCluster, namespace: str, pod: str, user: str) -> int:
    """How often the user has written the status of the pod, as the API server's audit log counts so far."""
    whole = cluster.audit_log.read_text().rpartition("\n")[0]
    lines = (json.loads(line) for line in whole.splitlines() if f"/pods/{pod}/status" in line)
    return sum(
        line["user"]["username"] == user
        and line["objectRef"]["namespace"] == namespace
        and line["responseStatus"]["code"] == 200
        for line in lines
    )


def is_ready(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions") or []
    untainted = not any(
        taint["key"] == "node.kubernetes.io/not-ready" for taint in node.get("spec", {}).get("taints", [])
    )
    return untainted and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Returns once a condition on files or processes holds, for which there is nothing to wait on but looking."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 another process makes it true
            await asyncio.sleep(0.02)


class Gate:
    """A way to the API server that can be shut for one client alone; TLS passes through it untouched."""

    def __init__(self, server: str) -> None:
        self._target = urlsplit(server)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        ends = {writer, far_writer}
        self._open |= ends
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@contextlib.asynccontextmanager
async def running_node(
    cluster: LocalCluster, admin: KubeClient, folder: Path, server: str | None = None, flags: tuple[str, ...] = ()
) -> AsyncIterator[NodeProcess]:
    """A ready node of one test; whatever happened in the test, its containers and its Node end with it."""
    name = f"own-{uuid.uuid4().hex[:8]}"
    node = NodeProcess(cluster, name, folder / "s", *flags, server=server)
    node.start()
    try:
        await wait_for(admin, "/api/v1/nodes", name, is_ready)
        yield node
    finally:
        node.kill()
        last = NodeProcess(cluster, name, folder / "s", "--stop-containers-on-exit", server=server)
        runs = node.log().count("serves logs")
        last.start()
        try:
            await until(lambda: last.log().count("serves logs") > runs)
        finally:
            await last.stop()
            await admin.delete(f"/api/v1/nodes/{name}")
