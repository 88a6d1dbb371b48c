"""Several operator processes side by side, and what the API server's audit log says about which of them wrote when."""

import datetime as dt
import json
import signal
import socket
import threading
import time
from pathlib import Path

from operator_harness import IDENTITY, OperatorProcess, until

from collabspace.api import names, timestamp
from collabspace.kube.client import KubeClient, Object

LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{names.SYSTEM_NAMESPACE}/leases"
LEASE = names.OPERATOR_ACCOUNT
TAKEOVER_SECONDS = 60
READS = ("get", "list", "watch")


class Replica(OperatorProcess):
    """One operator of several, ended and started at will."""

    def __init__(self, kubeconfig: Path, broker_url: str, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        environment = {
            "COLLABSPACE_KUBECONFIG": str(kubeconfig),
            "COLLABSPACE_BROKER_URL": broker_url,
            "COLLABSPACE_METRICS_PORT": str(port),
            "PYTHONWARNINGS": "default",
        }
        super().__init__(environment, log, port)

    def words(self, subsystem: str) -> str:
        """What /readyz says of a subsystem."""
        lines = dict(line.split(": ", 1) for line in self.probe("/readyz?verbose")[1].splitlines() if ": " in line)
        return lines[subsystem]

    @property
    def identity(self) -> str:
        return self.words("process")

    def leads(self) -> bool:
        return self.metric("collabspace_leader") == 1

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def wait(self, seconds: float = TAKEOVER_SECONDS) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def end(self) -> None:
        if self.running():
            self.stop(signal.SIGKILL)


class Pair:
    """Two operators of one cluster; each call brings back whoever has ended."""

    def __init__(self, *replicas: Replica) -> None:
        self.replicas = replicas

    def roles(self) -> tuple[Replica, Replica]:
        """(leader, standby), both ready."""
        for replica in self.replicas:
            if not replica.running():
                replica.start()
        deadline = time.monotonic() + TAKEOVER_SECONDS
        while True:
            leaders = [replica for replica in self.replicas if replica.leads()]
            assert len(leaders) < 2
            if leaders:
                other = next(replica for replica in self.replicas if replica is not leaders[0])
                return leaders[0], other
            assert time.monotonic() < deadline
            threading.Event().wait(0.1)

    def end(self) -> None:
        for replica in self.replicas:
            replica.end()


async def until_holds(admin: KubeClient, identity: str) -> Object:
    """The Lease, once this process holds it."""
    return await until(admin, LEASES, LEASE, lambda lease: holder(lease) == identity, TAKEOVER_SECONDS)


def holder(lease: Object) -> str:
    return str(lease["spec"].get("holderIdentity") or "")


class Write:
    """One change that the API server made for an operator process."""

    def __init__(self, entry: Object) -> None:
        target = entry.get("objectRef") or {}
        self.process = entry["userAgent"].rsplit("(", 1)[-1].rstrip(")")
        self.received: dt.datetime = timestamp.parse(entry["requestReceivedTimestamp"])
        self.verb = entry["verb"]
        self.what = "/".join(filter(None, (target.get("resource"), target.get("subresource"))))
        self.name = target.get("name", "")

    def __repr__(self) -> str:
        return f"{self.received.isoformat()} {self.process}: {self.verb} {self.what} {self.name}"


def writes(audit_log: Path, since: int = 0) -> list[Write]:
    """All changes made for operators in the log from this byte on, in the order of their requests. Tokens, which change
    nothing, are left out."""
    found = []
    with audit_log.open("rb") as log:
        log.seek(since)
        for line in log.read().splitlines():
            entry = json.loads(line)
            if entry["user"]["username"] != IDENTITY or entry["verb"] in READS:
                continue
            if 200 <= entry["responseStatus"]["code"] < 300 and (entry["objectRef"].get("subresource") != "token"):
                found.append(Write(entry))
    return sorted(found, key=lambda write: write.received)


def out_of_turn(found: list[Write]) -> list[Write]:
    """Changes by a process that did not hold the Lease at the time."""
    leader, wrong = "", []
    for write in found:
        if write.what == "leases":
            leader = write.process
        elif leader and write.process != leader:
            wrong.append(write)
    return wrong
