"""The environment of a container: what its manifest says, on top of the little that any program needs.

Nothing of the agent's own environment gets in: it may hold credentials.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from collabspace.local.node.expansion import expand
from collabspace.local.node.manifest import Container, Object, Pod, UnsupportedError, quantity
from collabspace.local.node.mounts import Mounts

POD_ADDRESS = "127.0.0.1"
# Reads the data of a ConfigMap or Secret of the pod's namespace: (kind, name) -> bytes by key, or None when missing.
DataReader = Callable[[str, str], Awaitable[dict[str, bytes] | None]]


class ConfigError(Exception):
    """A reference leads nowhere; the container waits until it does."""


@dataclass(frozen=True)
class Machine:
    """What the node offers; used where a container asks for a limit that it does not set."""

    cpus: int
    memory_bytes: int


def pod_field(pod: Pod, path: str) -> str:
    """The value of a `fieldRef`, as the downward API writes it. Raises UnsupportedError."""
    plain = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "metadata.labels": _lines(pod.labels),
        "metadata.annotations": _lines(pod.annotations),
        "spec.nodeName": pod.node_name,
        "spec.serviceAccountName": pod.service_account,
        "status.podIP": POD_ADDRESS,
        "status.podIPs": POD_ADDRESS,
        "status.hostIP": POD_ADDRESS,
        "status.hostIPs": POD_ADDRESS,
    }
    if path in plain:
        return plain[path]
    for prefix, values in (("metadata.labels['", pod.labels), ("metadata.annotations['", pod.annotations)):
        if path.startswith(prefix) and path.endswith("']"):
            return values.get(path[len(prefix) : -2], "")
    raise UnsupportedError(f"fieldRef.fieldPath {path!r} is not known to this node; known: {', '.join(plain)}")


def resource_field(container: Container, reference: Object, machine: Machine) -> str:
    """The value of a `resourceFieldRef`, rounded up to the divisor. Raises UnsupportedError."""
    kind, _, resource = str(reference["resource"]).partition(".")
    whole = {"cpu": str(machine.cpus), "memory": str(machine.memory_bytes)}
    default = whole.get(resource) if kind == "limits" else "0"
    amount = container.resources.get(kind, {}).get(resource, default)
    if amount is None:
        raise UnsupportedError(
            f"resourceFieldRef.resource {reference['resource']!r}: set the limit, this node has none"
        )
    divisor = quantity(reference.get("divisor") or "1") or quantity("1")
    return str(math.ceil(quantity(amount) / divisor))


class EnvironmentBuilder:
    """Builds the environment of one container of one pod."""

    def __init__(self, pod: Pod, machine: Machine, read: DataReader) -> None:
        self._pod = pod
        self._machine = machine
        self._read = read

    async def build(
        self, container: Container, base: dict[str, str], mounts: Mounts
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Two environments: as the manifest means it (for `$(NAME)`), and with mount paths rewritten (for the process).

        Values of Secrets are never rewritten. Raises ConfigError, UnsupportedError, KubeError.
        """
        meant = dict(base)
        secret: set[str] = set()
        for source in container.env_from:
            values, is_secret = await self._whole(source)
            meant |= values
            secret = secret | values.keys() if is_secret else secret - values.keys()
        for entry in container.env:
            value = await self._value(container, entry, meant)
            if value is None:
                continue
            meant[entry["name"]] = value
            (secret.add if "secretKeyRef" in entry.get("valueFrom", {}) else secret.discard)(entry["name"])
        real = {name: value if name in secret else mounts.rewrite(value) for name, value in meant.items()}
        return meant, real

    async def _whole(self, source: Object) -> tuple[dict[str, str], bool]:
        kind = "secret" if "secretRef" in source else "configmap"
        reference = source.get("secretRef") or source["configMapRef"]
        data = await self._data(kind, reference)
        return {source.get("prefix", "") + key: value for key, value in (data or {}).items()}, kind == "secret"

    async def _value(self, container: Container, entry: Object, known: dict[str, str]) -> str | None:
        source = entry.get("valueFrom")
        if not source:
            return expand(entry.get("value") or "", known)
        if "fieldRef" in source:
            return pod_field(self._pod, source["fieldRef"]["fieldPath"])
        if "resourceFieldRef" in source:
            return resource_field(container, source["resourceFieldRef"], self._machine)
        for field, kind in (("configMapKeyRef", "configmap"), ("secretKeyRef", "secret")):
            if field in source:
                return await self._key(kind, source[field])
        raise UnsupportedError(f"env {entry['name']!r}: valueFrom {', '.join(source)} is not known to this node")

    async def _key(self, kind: str, reference: Object) -> str | None:
        data = await self._data(kind, reference)
        if data is not None and reference["key"] in data:
            return data[reference["key"]]
        if data is None or reference.get("optional"):
            return None
        raise ConfigError(f"couldn't find key {reference['key']} in {kind} {self._pod.namespace}/{reference['name']}")

    async def _data(self, kind: str, reference: Object) -> dict[str, str] | None:
        data = await self._read(kind, reference["name"])
        if data is None and not reference.get("optional"):
            raise ConfigError(f'{kind} "{reference["name"]}" not found')
        return None if data is None else {key: value.decode(errors="replace") for key, value in data.items()}


def _lines(values: dict[str, str]) -> str:
    return "".join(f'{key}="{_escaped(value)}"\n' for key, value in sorted(values.items())).rstrip("\n")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
