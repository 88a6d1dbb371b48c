"""What this node takes from a Pod object: parsed once, here. What it cannot do is refused by name, not ignored."""

import datetime as dt
import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from collabspace.kube import clock

Object = dict[str, Any]


class UnsupportedError(Exception):
    """The pod asks for something that this node does not do; the message names field, value and remedy."""


@dataclass(frozen=True)
class Container:
    """One container; `init` ones run first, in order; `sidecar` ones are init containers that stay."""

    name: str
    image: str
    init: bool
    sidecar: bool
    command: tuple[str, ...]
    args: tuple[str, ...]
    working_dir: str
    env: tuple[Object, ...]
    env_from: tuple[Object, ...]
    mounts: tuple[Object, ...]
    resources: Object
    termination_path: str
    fall_back_to_logs: bool

    @property
    def memory_limit_bytes(self) -> int | None:
        limit = self.resources.get("limits", {}).get("memory")
        return None if limit is None else math.ceil(quantity(limit))


@dataclass(frozen=True)
class Pod:
    """One version of a pod bound to this node. Times are timezone aware."""

    uid: str
    namespace: str
    name: str
    resource_version: int
    generation: int
    labels: dict[str, str]
    annotations: dict[str, str]
    service_account: str
    host_name: str
    node_name: str
    restart_policy: str
    grace_seconds: int
    active_deadline_seconds: int | None
    containers: tuple[Container, ...]
    volumes: tuple[Object, ...]
    delete_at: dt.datetime | None
    status: Object = field(hash=False)

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    @property
    def only_noted(self) -> bool:
        """Known from this node's own folder and not, or not yet, from the API server."""
        return self.resource_version == 0

    @property
    def terminal(self) -> bool:
        return self.status.get("phase") in ("Succeeded", "Failed")

    @property
    def started(self) -> dt.datetime | None:
        moment = self.status.get("startTime")
        return clock.parse(moment) if moment else None

    @property
    def main_containers(self) -> tuple[Container, ...]:
        return tuple(container for container in self.containers if not container.init)

    @property
    def init_containers(self) -> tuple[Container, ...]:
        return tuple(container for container in self.containers if container.init)


def parse(pod: Object) -> Pod:
    """A Pod as the API server sends it, whose validation is relied upon for types and required fields."""
    metadata, spec = pod["metadata"], pod["spec"]
    deletion = metadata.get("deletionTimestamp")
    containers = [_container(item, init=True) for item in spec.get("initContainers") or []]
    containers += [_container(item, init=False) for item in spec["containers"]]
    return Pod(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        resource_version=int(metadata["resourceVersion"]),
        generation=int(metadata.get("generation") or 0),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        service_account=spec.get("serviceAccountName") or "default",
        host_name=spec.get("hostname") or metadata["name"],
        node_name=spec.get("nodeName") or "",
        restart_policy=spec.get("restartPolicy") or "Always",
        grace_seconds=int(spec.get("terminationGracePeriodSeconds", 30)),
        active_deadline_seconds=spec.get("activeDeadlineSeconds"),
        containers=tuple(containers),
        volumes=tuple(spec.get("volumes") or ()),
        delete_at=clock.parse(deletion) if deletion else None,
        status=pod.get("status") or {},
    )


def _container(item: Object, *, init: bool) -> Container:
    return Container(
        name=item["name"],
        image=item["image"],
        init=init,
        sidecar=init and item.get("restartPolicy") == "Always",
        command=tuple(item.get("command") or ()),
        args=tuple(item.get("args") or ()),
        working_dir=item.get("workingDir") or "",
        env=tuple(item.get("env") or ()),
        env_from=tuple(item.get("envFrom") or ()),
        mounts=tuple(item.get("volumeMounts") or ()),
        resources=item.get("resources") or {},
        termination_path=item.get("terminationMessagePath") or "/dev/termination-log",
        fall_back_to_logs=item.get("terminationMessagePolicy") == "FallbackToLogsOnError",
    )


def quantity(text: str | int) -> Decimal:
    """A Kubernetes quantity (`500m`, `2Gi`) in its base unit."""
    value: Decimal = parse_quantity(str(text))
    return value
