"""A broker process of the tests' own, teams with data, and trainer pods that the Job controller itself has made."""

import hashlib
import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
from store_places import Folder, Place

from collabspace.api import names
from collabspace.api.manifest import FileEntry, Manifest
from collabspace.api.run import RUN_VARIABLE, Execution, Role, RunDataset, RunDocument, TaskReference, Training
from collabspace.client.client import BrokerClient
from collabspace.kube.client import KubeClient, KubeError, Object

DATASETS = f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.SHARED_DATASETS}"
TASKS = f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.COLLAB_TASKS}"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
NODE = "no-kubelet"
START_SECONDS = 120
# Planted in every place where a secret or a record of data passes through the broker; no sink may ever show it.
MARKER = "zqxmarker"
UNVERIFIED = ssl.create_default_context()
UNVERIFIED.check_hostname, UNVERIFIED.verify_mode = False, ssl.CERT_NONE


class Process(Protocol):
    """What subprocess.Popen has."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float) -> object: ...

    def send_signal(self, sign: signal.Signals) -> None: ...


def executed(environment: dict[str, str], log: Path) -> Process:
    """A broker as it is started for real."""
    with log.open("ab") as sink:
        command = [sys.executable, "-m", "collabspace.broker.main"]
        return subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)


class BrokerProcess:
    """`collabspace-broker`; what it writes goes to `log`. `place` is where its store is, which may be in S3.

    `spawn` is how it is started, anew each time."""

    def __init__(
        self,
        environment: dict[str, str],
        folder: Path,
        url: str,
        ca: str,
        *,
        place: Place | None = None,
        spawn: Callable[[dict[str, str], Path], Process] = executed,
    ) -> None:
        self.environment = environment
        self.folder = folder
        self.url = url
        self.ca = ca
        self.place = place or Folder(Path(environment["COLLABSPACE_BROKER_STORE"]))
        self._spawn = spawn
        self.log = folder / "broker.log"
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def staging(self) -> Path:
        """Where uploads are while they are under way."""
        return Path(self.environment.get("COLLABSPACE_BROKER_STAGING") or self.environment["COLLABSPACE_BROKER_STORE"])

    def staged(self, owner: str) -> list[str]:
        """Files of uploads under way."""
        folder = self.staging / owner / "uploads"
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def start(self) -> None:
        self.launch()
        self.until_ready()

    def launch(self) -> None:
        self._process = self._spawn({"PATH": os.environ["PATH"], **self.environment}, self.log)

    def lacks(self, word: str) -> str:
        """What a broker that is not ready says it lacks, once it has this word in it."""
        said: list[str] = []

        def told() -> bool:
            # Who has no certificate yet shows one of nobody, and probes do not mind.
            with httpx.Client(base_url=self.url, verify=UNVERIFIED, timeout=30, trust_env=False) as http:
                try:
                    answer = http.get("/readyz")
                    said[:] = [answer.text]
                    return answer.status_code == 503 and word in answer.text and http.get("/livez").text == "ok"
                except httpx.TransportError:
                    assert self._process is not None and self._process.poll() is None, self.log.read_text()[-4000:]
                    return False

        try:
            awaited(told, f"nobody says {word}")
        except AssertionError as error:
            raise AssertionError(f"{error}, but {said}") from None
        return said[0]

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(sign)
        self._process.wait(30)

    def http(self, token: str | None = None) -> httpx.Client:
        headers = {} if not token else {"Authorization": f"Bearer {token}"}
        context = ssl.create_default_context(cadata=self.ca)
        return httpx.Client(base_url=self.url, verify=context, headers=headers, timeout=30, trust_env=False)

    def metrics(self) -> str:
        """What Prometheus would read."""
        answer = httpx.get(f"http://{self.environment['COLLABSPACE_BROKER_METRICS']}/metrics", trust_env=False)
        return answer.raise_for_status().text

    def client(self, token: str, **options: Any) -> BrokerClient:
        return BrokerClient(self.url, lambda: token, self.ca, **{"patience": 5.0, **options})

    def rows(self, where: str = "1", *values: object) -> list[dict[str, Any]]:
        """Ledger records read straight from the file, not through any code of ours."""
        with sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True) as connection:
            connection.row_factory = sqlite3.Row
            query = f"SELECT * FROM access WHERE {where} ORDER BY sequence"
            found = [dict(row) for row in connection.execute(query, values)]
        connection.close()
        return found

    def until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with self.http() as http:
            while True:
                assert self._process is not None and self._process.poll() is None, self.log.read_text()[-4000:]
                try:
                    if http.get("/readyz").status_code == 200:
                        return
                except httpx.TransportError:
                    assert time.monotonic() < deadline, self.log.read_text()[-4000:]
                threading.Event().wait(0.05)


def awaited(holds: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
    """Returns once it holds. Blocks: call it in a thread."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.05)


@dataclass
class World:
    """The API server as its admin sees it, with the verbs that broker tests need."""

    admin: KubeClient
    made: list[str] = field(default_factory=list)

    async def team(self, name: str | None = None) -> str:
        """A namespace with the three accounts of a team."""
        name = name or f"b-{uuid.uuid4().hex[:8]}"
        await self.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
        self.made.append(name)
        for account in (names.TRAINER_ACCOUNT, names.PUBLISHER_ACCOUNT, names.READER_ACCOUNT, "other"):
            body = {"metadata": {"name": account, "namespace": name}}
            await self.admin.create(f"/api/v1/namespaces/{name}/serviceaccounts", body)
        return name

    async def uid(self, namespace: str) -> str:
        return str((await self.admin.get(f"/api/v1/namespaces/{namespace}"))["metadata"]["uid"])

    async def dataset(self, namespace: str, name: str = "notes", **spec: Any) -> str:
        """A SharedDataset; its uid."""
        body = {
            "apiVersion": names.API_VERSION,
            "kind": "SharedDataset",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"format": "TokenClassification", **spec},
        }
        return str((await self.admin.create(DATASETS.format(namespace), body))["metadata"]["uid"])

    async def grant(self, owner: str, to: str, name: str = "notes", **changes: Any) -> None:
        """Makes this the dataset's only grant."""
        grant = {
            "name": "research",
            "namespace": to,
            "namespaceUID": await self.uid(to),
            "uses": ["Train"],
            "purpose": "named entities",
            **changes,
        }
        grant = {key: value for key, value in grant.items() if value is not None}
        await self.admin.merge(f"{DATASETS.format(owner)}/{name}", {"spec": {"grants": [grant]}})

    async def revoke(self, owner: str, name: str = "notes") -> None:
        await self.admin.merge(f"{DATASETS.format(owner)}/{name}", {"spec": {"grants": []}})

    async def token(
        self, namespace: str, account: str, pod: Object | None = None, audience: str = names.BROKER_AUDIENCE
    ) -> str:
        spec: Object = {"audiences": [audience], "expirationSeconds": 600}
        if pod is not None:
            meta = pod["metadata"]
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        return str((await self.admin.create(path, body))["status"]["token"])

    async def trainer(
        self,
        namespace: str,
        pins: list["Pin"],
        *,
        task: str = "ner",
        attempt: int = 1,
        account: str = names.TRAINER_ACCOUNT,
        labels: dict[str, str] | None = None,
        spec: Object | None = None,
        training: Object | None = None,
    ) -> "Pod":
        """A running pod of an attempt, with its Job and CollabTask; the task is made once for all its attempts.

        `spec` and `training` are put over what the task and its run document say otherwise."""
        made = await self._task(namespace, task, pins, spec or {})
        reference = TaskReference(namespace=namespace, name=task, uid=made["metadata"]["uid"])
        datasets = [
            RunDataset(name=pin.name, owner=f"{pin.owner}/{pin.dataset}", uid=pin.uid, digest=pin.digest, role=pin.role)
            for pin in pins
        ]
        learned = Training(
            task="TokenClassification", method="FullFineTuning", seed=0, parameters={}, datasets=datasets
        ).model_copy(update=training or {})
        run = RunDocument(task=reference, training=learned, execution=Execution(attempt=attempt))
        job = await self.admin.create(JOBS.format(namespace), job_body(run, made, account, labels or {}))
        pod = await self.pod_of(namespace, job)
        return Pod(self, namespace, pod, reference, attempt)

    async def _task(self, namespace: str, name: str, pins: list["Pin"], spec: Object) -> Object:
        body = {
            "apiVersion": names.API_VERSION,
            "kind": "CollabTask",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "task": "TokenClassification",
                "method": "FullFineTuning",
                "datasets": [
                    {"name": p.name, "datasetRef": {"namespace": p.owner, "name": p.dataset}, "role": p.role.value}
                    for p in pins
                ],
            }
            | spec,
        }
        try:
            return await self.admin.create(TASKS.format(namespace), body)
        except KubeError as error:
            if error.status != 409:
                raise
            return await self.admin.get(f"{TASKS.format(namespace)}/{name}")

    async def pod_of(self, namespace: str, job: Object) -> Object:
        """The pod that the Job controller makes, said to run (there is no kubelet that could)."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        only = {"labelSelector": f"job-name={job['metadata']['name']}"}
        pods = await self.admin.list(path, only)
        found = pods["items"]
        if not found:
            async for event in self.admin.watch(path, pods["metadata"]["resourceVersion"], only):
                found = [event["object"]]
                break
        name = found[0]["metadata"]["name"]
        return await self.admin.merge(f"{path}/{name}/status", {"status": {"phase": "Running"}})

    async def deleted(self, path: str, grace_seconds: int = 0) -> None:
        """Deletes an object and returns when it is gone."""
        await self.admin.delete(path, grace_seconds=grace_seconds)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                await self.admin.get(path)
            except KubeError as error:
                assert error.status == 404
                return
        raise AssertionError(f"{path} does not go away")


@dataclass(frozen=True)
class Pin:
    """A version that a run document pins."""

    owner: str
    uid: str
    digest: str
    dataset: str = "notes"
    name: str = "notes"
    role: Role = Role.TRAIN


@dataclass(frozen=True)
class Pod:
    world: World
    namespace: str
    body: Object
    task: TaskReference
    attempt: int

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.body['metadata']['name']}"

    async def token(self, audience: str = names.BROKER_AUDIENCE) -> str:
        return await self.world.token(self.namespace, names.TRAINER_ACCOUNT, self.body, audience)


def job_body(run: RunDocument, task: Object, account: str, labels: dict[str, str]) -> Object:
    container = {
        "name": names.TRAINER_CONTAINER,
        "image": names.TRAINER_IMAGE,
        "env": [{"name": RUN_VARIABLE, "value": run.to_environment()}],
    }
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": "CollabTask",
        "name": task["metadata"]["name"],
        "uid": task["metadata"]["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.job_name(run.task.name, run.execution.attempt),
            "namespace": run.task.namespace,
            "ownerReferences": [owner],
        },
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": account,
                    "nodeName": NODE,
                    "containers": [container],
                },
            },
        },
    }


def corpus(folder: Path, sentences: int = 60, word: str = MARKER) -> Path:
    """A folder in CoNLL layout, with every split and with a word that must appear nowhere but in the data."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", sentences), ("validation", 6), ("test", 6)):
        lines = [
            f"the\tO\n{split}\tO\npatient\tO\n{number}\tO\nhas\tO\n{word}\tB-Disease\nfever\tI-Disease\n.\tO\n\n"
            for number in range(count)
        ]
        (folder / f"{split}.conll").write_text("".join(lines))
    return folder


def raw_manifest(owner: str, files: dict[str, bytes], format: str = "Result") -> Manifest:
    """A manifest of these very bytes."""
    entries = [
        FileEntry(path=path, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content), split=None)
        for path, content in files.items()
    ]
    return Manifest(owner_uid=owner, format=format, files=entries)  # type: ignore[arg-type]


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def contents(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    return {file.path: (folder / file.path).read_bytes() for file in manifest.files}


def log_events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line]
