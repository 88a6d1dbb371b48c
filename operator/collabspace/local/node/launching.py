"""From a container in a manifest to an argument list, an environment and folders that a shim can start."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from collabspace.api import names
from collabspace.local.node.container import ContainerRun, Launch
from collabspace.local.node.environment import EnvironmentBuilder
from collabspace.local.node.expansion import expand
from collabspace.local.node.folder import PodFolder
from collabspace.local.node.images import Images
from collabspace.local.node.manifest import Container, Pod, UnsupportedError
from collabspace.local.node.mounts import Mounts
from collabspace.local.node.volumes import Volumes

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Preparation:
    """Everything of one pod that its containers are prepared from."""

    pod: Pod
    folder: PodFolder
    volumes: Volumes
    images: Images
    environment: EnvironmentBuilder

    async def launch(self, container: Container, run: ContainerRun) -> Launch:
        """Raises UnknownImageError, EntryPointError, ConfigError, UnsupportedError, KubeError; starts nothing."""
        image = self.images.find(container.image)
        await self.volumes.make()
        mounts = self.mounts(container, run)
        meant, real = await self.environment.build(container, self._base(), mounts)
        arguments = image.arguments(
            tuple(expand(part, meant) for part in container.command),
            tuple(expand(part, meant) for part in container.args),
        )
        self.termination_file(container, run, fresh=True)
        return Launch(
            argv=(arguments[0], *map(mounts.rewrite, arguments[1:])),
            env=real,
            working_dir=self._working_dir(container, mounts),
            memory_limit_bytes=container.memory_limit_bytes,
            record=self._record(container, run.attempt),
        )

    def mounts(self, container: Container, run: ContainerRun) -> Mounts:
        """Its volumes and, where that lies in none of them, the file for its last message."""
        targets: dict[str, Path] = dict(self.volumes.mounts_of(container))
        if Mounts(targets).resolve(container.termination_path) is None:
            targets[container.termination_path] = run.termination_file
        return Mounts(targets)

    def termination_file(self, container: Container, run: ContainerRun, *, fresh: bool = False) -> Path:
        """Where the container's last message lies; `fresh` empties it for a new run."""
        file = self.mounts(container, run).resolve(container.termination_path)
        if file is None:
            raise UnsupportedError(f"terminationMessagePath {container.termination_path!r}: use an absolute path")
        if fresh:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
            file.touch(mode=0o600)
        return file

    def _base(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{SYSTEM_PATH}",
            "HOME": str(self.folder.home),
            "TMPDIR": str(self.folder.tmp),
            "LANG": "C.UTF-8",
            "HOSTNAME": self.pod.host_name,
        }

    def _working_dir(self, container: Container, mounts: Mounts) -> Path:
        if not container.working_dir:
            return self.folder.home
        place = mounts.resolve(container.working_dir)
        if place is None:
            return Path(container.working_dir)
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _record(self, container: Container, attempt: int) -> dict[str, str]:
        return {
            "uid": self.pod.uid,
            "namespace": self.pod.namespace,
            "pod": self.pod.name,
            "container": container.name,
            "run": str(attempt),
            "taskUid": self.pod.labels.get(names.TASK_UID_LABEL, ""),
            "attempt": self.pod.labels.get(names.ATTEMPT_LABEL, ""),
            "index": self.pod.labels.get("batch.kubernetes.io/job-completion-index", ""),
        }


def last_message(file: Path, max_bytes: int) -> str:
    """What a container left as its last words. Only of a plain file: a link could lead to something of ours."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""  # it was removed, or is a link: no message
    with os.fdopen(descriptor, "rb") as stream:
        if not file.is_file():
            return ""
        return stream.read(max_bytes).decode(errors="replace")[:max_bytes]


def newest_runs(runs: Mapping[str, list[ContainerRun]]) -> dict[str, ContainerRun]:
    """Container name -> its newest run."""
    return {name: found[-1] for name, found in runs.items() if found}
