"""The Node object and its Lease: how the control plane knows that this node is there and what it offers."""

import asyncio
import contextlib
import datetime as dt
import logging
import math
import platform
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from collabspace.api import names
from collabspace.kube import clock
from collabspace.kube.client import KubeError
from collabspace.local.node.api import NodeClient
from collabspace.local.node.environment import POD_ADDRESS, Machine
from collabspace.local.node.manifest import Object

RENEWALS_PER_LEASE = 4
# The control plane goes by the Lease; the Node's own times are only for readers.
REPORT_AGE = dt.timedelta(minutes=5)
MAX_PODS = 110
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """What the node says it has. GPUs are a number, not devices."""

    machine: Machine
    gpus: int
    log_port: int


class Registration:
    """Keeps Node and Lease alive; makes them again when someone deletes them.

    `catch_up` is awaited before the first sign of life, and before each that follows a silence of `lease_seconds`.
    """

    def __init__(
        self, client: NodeClient, name: str, offer: Offer, lease_seconds: int, catch_up: Callable[[], Awaitable[None]]
    ) -> None:
        self._client = client
        self._name = name
        self._offer = offer
        self._path = f"/api/v1/nodes/{name}"
        self._leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        self._lease_seconds = lease_seconds
        self._catch_up = catch_up
        self._renewed = -math.inf
        self._uid = ""

    async def run(self) -> None:
        """For ever: one look at the Node and one renewal, pause. Failures are logged and tried again."""
        pause = self._lease_seconds / RENEWALS_PER_LEASE
        while True:
            try:
                await self._beat()
            except KubeError as error:
                _LOG.warning("node %s not renewed, next try in %.1f s: %s", self._name, pause, error.message)
            await asyncio.sleep(pause)

    async def report_shutdown(self) -> None:
        """Tells the scheduler to send nothing more."""
        condition = _condition("Ready", "False", "KubeletNotReady", "node is shutting down", clock.now())
        await self._client.patch_status(self._path, None, {"conditions": [condition]})

    async def _beat(self) -> None:
        if time.monotonic() - self._renewed > self._lease_seconds:  # this clock goes on while the process is frozen
            await self._catch_up()
        begun = time.monotonic()
        try:
            node = await self._client.get(self._path, {"resourceVersion": "0"})
        except KubeError as error:
            if error.status != 404:
                raise
            node = await self._register()
        if node["metadata"].get("uid") != self._uid or _report_due(node, clock.now()):
            await self._client.patch_status(self._path, None, self._status(node))
            self._uid = node["metadata"]["uid"]
        await self._renew(node)
        self._renewed = begun

    async def _register(self) -> Object:
        """A node may give itself labels when it is made, ours among them: it lies outside the reserved domains."""
        architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
        labels = {
            "kubernetes.io/hostname": self._name,
            "kubernetes.io/arch": architecture,
            "kubernetes.io/os": "linux",
            names.SIMULATED_GPU_LABEL: "true",
        }
        node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._name, "labels": labels}}
        try:
            return await self._client.create("/api/v1/nodes", node)
        except KubeError as error:
            if error.status != 409:
                raise
            return await self._client.get(self._path)  # the cached answer before was older than the Node

    def _status(self, node: Object) -> Object:
        machine = self._offer.machine
        resources = {
            "cpu": str(machine.cpus),
            "memory": str(machine.memory_bytes),
            "pods": str(MAX_PODS),
            names.GPU_RESOURCE: str(self._offer.gpus),
        }
        now = clock.now()
        healthy = [
            _condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "", now),
            _condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "", now),
            _condition("PIDPressure", "False", "KubeletHasSufficientPID", "", now),
            _condition("Ready", "True", "KubeletReady", "process node is ready", now),
        ]
        old = {one["type"]: one for one in node.get("status", {}).get("conditions") or []}
        for condition in healthy:
            before = old.get(condition["type"], {})
            if before.get("status") == condition["status"]:
                condition["lastTransitionTime"] = before["lastTransitionTime"]
        return {
            "capacity": resources,
            "allocatable": resources,
            "conditions": healthy,
            "addresses": [
                {"type": "InternalIP", "address": POD_ADDRESS},
                {"type": "Hostname", "address": self._name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._offer.log_port}},
            "nodeInfo": self._info(),
        }

    def _info(self) -> Object:
        def first_line(path: str) -> str:
            with contextlib.suppress(OSError):
                return Path(path).read_text().strip()
            return ""

        ours = f"collabspace-{version('collabspace')}"
        return {
            "machineID": first_line("/etc/machine-id"),
            "systemUUID": "",
            "bootID": first_line("/proc/sys/kernel/random/boot_id"),
            "kernelVersion": platform.release(),
            "osImage": platform.system(),
            "containerRuntimeVersion": f"process://{version('collabspace')}",
            "kubeletVersion": ours,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        }

    async def _renew(self, node: Object) -> None:
        spec: Object = {
            "holderIdentity": self._name,
            "leaseDurationSeconds": self._lease_seconds,
            "renewTime": clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        try:
            await self._client.merge(f"{self._leases}/{self._name}", {"spec": spec})
        except KubeError as error:
            if error.status != 404:
                raise
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": node["metadata"]["uid"]}
            metadata = {"name": self._name, "namespace": "kube-node-lease", "ownerReferences": [owner]}
            lease: Object = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": metadata,
                "spec": spec,
            }
            await self._client.create(self._leases, lease)


def _report_due(node: Object, now: dt.datetime) -> bool:
    """Whether others changed what we said of our health, or it was said long ago."""
    ready: Object = next((one for one in node["status"].get("conditions") or [] if one["type"] == "Ready"), {})
    if ready.get("status") != "True":
        return True
    return now - clock.parse(ready["lastHeartbeatTime"]) > REPORT_AGE


def _condition(kind: str, status: str, reason: str, message: str, now: dt.datetime) -> Object:
    moment = clock.rfc3339(now)
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": moment,
        "lastTransitionTime": moment,
    }
