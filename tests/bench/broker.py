"""What the broker costs: one decision beside the bare calls it consists of, and a stream of bytes.

    python tests/bench/broker.py [--decisions 120] [--stream-mib 256]

A decision is POST /v1/sessions of a trainer's pod with a token that the broker has not seen: TokenReview, live GETs of
pod, Job and task, of dataset and namespace side by side, and one record on disk. The bare lane makes just these calls
with the broker's own account, and one fsync. Blocks of both lanes take turns, alone and with four callers at once. The
stream is a result file fetched over TLS; per core means per second of the broker's CPU.
"""

import argparse
import asyncio
import itertools
import math
import os
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration" / "broker"))

import broker_harness
from broker_harness import DATASETS, JOBS, NODE, TASKS, BrokerProcess, Pin, Pod, World, raw_manifest, written
from published_notes import Published, pushed

from collabspace.api import names
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError, Object
from collabspace.local import binaries, installation
from collabspace.local.certificates import LOOPBACK, Authority, Subject
from collabspace.local.cluster import LocalCluster
from collabspace.local.state import Options

GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{names.SYSTEM_NAMESPACE}", "system:authenticated")
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
WEIGHTS = "model.safetensors"
BLOCKS = 4
CROWD = 4
MIB = 1 << 20
broker_harness.START_SECONDS = 180  # a bench may run on a busy machine


@dataclass
class Bench:
    """A broker, a hospital's dataset, a lab's running pod that may read it, and the broker's own rights."""

    broker: BrokerProcess
    world: World
    account: KubeClient
    published: Published
    pod: Pod
    folder: Path


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    binaries.ensure(progress=print)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    cluster = LocalCluster(f"bench-{os.getpid()}", folder / "state", lambda _line: None)
    try:
        cluster.start_control_plane(Options(audit=False))
        cluster.install()
        kubeconfig = cluster.user(f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{names.BROKER_ACCOUNT}", GROUPS)
        broker = broker_of(folder, kubeconfig)
        async with (
            KubeClient(config.load(cluster.kubeconfig)) as admin,
            KubeClient(config.load(kubeconfig)) as account,
        ):
            await unguarded(admin)
            await admin.create("/api/v1/nodes", {"metadata": {"name": NODE}})
            try:
                await asyncio.to_thread(broker.start)
                world = World(admin)
                published = await pushed(world, broker, folder / "notes")
                lab = await world.team()
                await world.grant(published.owner, lab)
                pod = await world.trainer(lab, [Pin(published.owner, published.uid, published.digest)])
                yield Bench(broker, world, account, published, pod, folder)
            finally:
                await asyncio.to_thread(broker.stop)
    finally:
        cluster.down(wipe=True)
        shutil.rmtree(folder)


def broker_of(folder: Path, kubeconfig: Path) -> BrokerProcess:
    authority = Authority(folder / "authority", "broker")
    serving = authority.issue(Subject(names.BROKER_ACCOUNT, hosts=LOOPBACK))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        "COLLABSPACE_KUBECONFIG": str(kubeconfig),
        "COLLABSPACE_BROKER_PORT": str(port),
        "COLLABSPACE_BROKER_TLS_CERT": str(serving.cert),
        "COLLABSPACE_BROKER_TLS_KEY": str(serving.key),
        "COLLABSPACE_BROKER_STORE": str(folder / "store"),
        "COLLABSPACE_BROKER_LEDGER": f"sqlite:///{folder / 'ledger.db'}",
        "COLLABSPACE_BROKER_REQUESTS_PER_SECOND": "100000",
    }
    return BrokerProcess(environment, folder, f"https://127.0.0.1:{port}", authority.file.read_text())


async def unguarded(admin: KubeClient) -> None:
    """No admission policy: the admin makes the trainer's Job, as the operator would."""
    for body in installation.manifests():
        if body["kind"] == "ValidatingAdmissionPolicyBinding":
            await admin.delete(f"{BINDINGS}/{body['metadata']['name']}")
    async with asyncio.timeout(60):
        while True:
            try:
                await admin.create(JOBS.format(names.SYSTEM_NAMESPACE), installation.FORBIDDEN_JOB, {"dryRun": "All"})
                return
            except KubeError:
                await asyncio.sleep(0.2)


async def decisions(at: Bench, tokens: list[str], crowd: int) -> list[float]:
    """Seconds that each decision took, `crowd` at once, each caller on a connection that is open."""

    def caller(own: list[str]) -> list[float]:
        took = []
        wish = {"uid": at.published.uid, "digest": at.published.digest}
        with at.broker.http() as http:
            http.get("/livez")
            for token in own:
                headers = {"Authorization": f"Bearer {token}"}
                began = time.monotonic()
                answer = http.post("/v1/sessions", json=wish, headers=headers)
                took.append(time.monotonic() - began)
                assert answer.status_code == 201, answer.text
                http.delete(f"/v1/sessions/{answer.json()['id']}", headers=headers)
        return took

    shares = [tokens[number::crowd] for number in range(crowd)]
    return list(itertools.chain(*await asyncio.gather(*(asyncio.to_thread(caller, share) for share in shares))))


async def bare(at: Bench, tokens: list[str], crowd: int) -> list[float]:
    """The same calls by the same account, without a broker."""
    paths = bare_paths(at)
    waiting = iter(tokens)
    took: list[float] = []

    async def caller(number: int) -> None:
        with (at.folder / f"synced-{number}").open("wb", buffering=0) as file:
            for token in waiting:
                began = time.monotonic()
                await once(at.account, token, paths)
                file.write(b"r" * 1000)
                await asyncio.to_thread(os.fsync, file.fileno())
                took.append(time.monotonic() - began)

    await asyncio.gather(*(caller(number) for number in range(crowd)))
    return took


def bare_paths(at: Bench) -> list[list[str]]:
    """What the broker reads: one after the other, and what stands together at once."""
    lab, task = at.pod.namespace, at.pod.task.name
    return [
        [at.pod.path],
        [f"{JOBS.format(lab)}/{names.job_name(task, at.pod.attempt)}"],
        [f"{TASKS.format(lab)}/{task}"],
        [f"{DATASETS.format(at.published.owner)}/notes", f"/api/v1/namespaces/{lab}"],
    ]


async def once(account: KubeClient, token: str, paths: list[list[str]]) -> None:
    spec = {"token": token, "audiences": [names.BROKER_AUDIENCE]}
    body: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    answer = await account.create(REVIEWS, body)
    assert answer["status"]["authenticated"]
    for together in paths:
        await asyncio.gather(*(account.get(path) for path in together))


async def compare(at: Bench, count: int) -> None:
    """Prints both lanes, alone and in a crowd."""
    print(f"{'':16}{'broker p50':>12}{'p99':>9}{'bare p50':>12}{'p99':>9}{'ratio':>8}   (ms)", flush=True)
    for crowd in (1, CROWD):
        lanes: dict[str, list[float]] = {"broker": [], "bare": []}
        for _ in range(BLOCKS):
            run: dict[str, Callable[[Bench, list[str], int], Awaitable[list[float]]]]
            run = {"bare": bare, "broker": decisions}
            for lane, measure in run.items():
                tokens = [await at.pod.token() for _ in range(count // BLOCKS)]
                lanes[lane] += await measure(at, tokens, crowd)
        broker, calls = lanes["broker"], lanes["bare"]
        ratio = statistics.median(broker) / statistics.median(calls)
        cells = [statistics.median(broker), percentile(broker), statistics.median(calls), percentile(calls)]
        broker_p50, broker_p99, bare_p50, bare_p99 = (1000 * cell for cell in cells)
        who = "alone" if crowd == 1 else f"{crowd} at once"
        print(f"{who:16}{broker_p50:12.1f}{broker_p99:9.1f}{bare_p50:12.1f}{bare_p99:9.1f}{ratio:8.2f}", flush=True)


def percentile(values: list[float]) -> float:
    """The 99th; of few values that is the largest."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


async def stream(at: Bench, mib: int) -> None:
    """Stores one file as a result and fetches it three times."""
    content = {WEIGHTS: os.urandom(MIB) * mib}
    manifest = raw_manifest(at.pod.task.uid, content)
    folder = written(at.folder / "result", content)
    with at.broker.client(await at.pod.token()) as client:
        await asyncio.to_thread(client.publish_result, at.pod.task, at.pod.attempt, folder, manifest)
    reader = await at.world.token(at.pod.namespace, names.READER_ACCOUNT)

    def fetch() -> int:
        path = f"/v1/results/{at.pod.namespace}/{at.pod.task.name}/files/{WEIGHTS}"
        with at.broker.http(reader) as http, http.stream("GET", path) as response:
            assert response.status_code == 200
            return sum(len(chunk) for chunk in response.iter_raw())

    for _ in range(3):
        used, began = cpu_seconds(at.broker), time.monotonic()
        assert await asyncio.to_thread(fetch) == mib * MIB
        took, used = time.monotonic() - began, cpu_seconds(at.broker) - used
        rates = f"{mib * MIB / 1e6 / took:6.0f} MB/s, {mib * MIB / 1e6 / used:6.0f} MB/s per core of the broker"
        print(f"stream of {mib} MiB: {rates}", flush=True)


def cpu_seconds(broker: BrokerProcess) -> float:
    """User and system time of the broker so far."""
    process = broker._process
    assert process is not None
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the control plane ends as well
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=120, help="of each lane, alone and at four at once")
    parser.add_argument("--stream-mib", type=int, default=256)
    options = parser.parse_args()
    print(f"load at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    async with bench() as at:
        await compare(at, options.decisions)
        await stream(at, options.stream_mib)
    print(f"load at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
