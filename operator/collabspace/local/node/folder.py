"""Where a pod's files lie. Names are short: work folders hold sockets, whose paths the kernel limits to 107 bytes."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from collabspace.local.node.manifest import Object, Pod
from collabspace.local.node.volumes import write


@dataclass(frozen=True)
class PodFolder:
    """`v/` volumes, `c/<container>/<attempt>/` runs, `home` and `tmp` for containers that name none of their own."""

    path: Path

    @property
    def volumes(self) -> Path:
        return self.path / "v"

    @property
    def home(self) -> Path:
        return self.path / "home"

    @property
    def tmp(self) -> Path:
        return self.path / "tmp"  # below the agent's own folder, not the world's /tmp

    def run(self, container: str, attempt: int) -> Path:
        return self.path / "c" / container / str(attempt)

    def attempts(self, container: str) -> list[int]:
        """Runs that have left a trace, oldest first."""
        place = self.path / "c" / container
        return sorted(int(entry.name) for entry in place.iterdir() if entry.name.isdigit()) if place.exists() else []

    def make(self, pod: Pod) -> None:
        """Creates the folder and notes whose it is, for a later agent that no longer finds the pod in the API."""
        for place in (self.path, self.home, self.tmp):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        kinds = {True: "initContainers", False: "containers"}
        spec: Object = {"initContainers": [], "containers": [], "restartPolicy": "Never"}
        for container in pod.containers:
            spec[kinds[container.init]].append({"name": container.name, "image": container.image})
        metadata: Object = {"uid": pod.uid, "namespace": pod.namespace, "name": pod.name, "resourceVersion": "0"}
        write(self.path / "pod.json", orjson.dumps({"metadata": metadata, "spec": spec}), 0o600)

    def note(self) -> Object | None:
        """What `make` noted, or None when it did not get that far."""
        file = self.path / "pod.json"
        note: Object | None = orjson.loads(file.read_bytes()) if file.exists() else None
        return note


class PodFolders:
    """All pod folders below the agent's state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._root = state_dir / "pods"

    def of(self, uid: str) -> PodFolder:
        digest = hashlib.sha256(uid.encode()).digest()
        return PodFolder(self._root / base64.b32encode(digest)[:10].decode().lower())

    def all(self) -> Iterator[PodFolder]:
        if self._root.exists():
            yield from map(PodFolder, sorted(self._root.iterdir()))
