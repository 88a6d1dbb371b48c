"""The embedded cluster as one object: up, down, status, logs, and its parts by name."""

import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collabspace.local import binaries, controlplane, installation, platform
from collabspace.local.binaries import silent
from collabspace.local.certificates import Subject, write_kubeconfig
from collabspace.local.component import Component
from collabspace.local.controlplane import Trust
from collabspace.local.errors import LocalClusterError
from collabspace.local.processes import Process
from collabspace.local.state import LOOPBACK, Options, State

READY_SECONDS: Final = 90.0
PROBE_PAUSE_SECONDS: Final = 0.05
STOP_SECONDS: Final = 20.0
COMPONENTS: Final = (*controlplane.NAMES, *platform.NAMES)


@dataclass(frozen=True)
class ComponentStatus:
    """`missing` is empty when the component is ready, else says what it lacks; `pid` is None when it does not run."""

    name: str
    pid: int | None
    missing: str
    log: Path


class LocalCluster:
    """One embedded cluster, known by its name. Clusters of different names run side by side.

    Every method may be called by any process of the user, at any time. `progress` is called with one line for each
    step (see `binaries.Progress`). All failures are LocalClusterError.
    """

    def __init__(
        self,
        name: str = "collabspace",
        state_home: Path | None = None,
        progress: binaries.Progress = silent,
    ) -> None:
        self._state = State(name, state_home)
        self._progress = progress
        self.name = name

    @property
    def state(self) -> Path:
        """The folder of everything this cluster keeps."""
        return self._state.folder

    @property
    def kubeconfig(self) -> Path:
        """For the cluster's admin; written by `up`."""
        return self._state.kubeconfig

    @property
    def audit_log(self) -> Path:
        """One JSON event a line, written when the cluster was started with `Options(audit=True)`."""
        return self._state.audit_log

    @property
    def server(self) -> str:
        """The API server's address."""
        return self._state.address("kube-apiserver")

    @property
    def metrics(self) -> dict[str, str]:
        """Where Prometheus reads: host and port by component. Empty before the first start."""
        if not self._state.exists:
            return {}
        ports = {"operator": self._state.port("operator"), "broker": self._state.port("broker-metrics")}
        return {name: f"{LOOPBACK}:{port}" for name, port in ports.items()}

    @property
    def broker_url(self) -> str:
        return self._state.address("broker")

    @property
    def authority(self) -> Path:
        """The certificate by which the API server, the broker and the node are trusted."""
        return Trust.of(self._state).cluster.file

    @property
    def kubectl(self) -> Path:
        return self._state.binaries / "kubectl"

    def up(self, options: Options | None = None) -> None:
        """Everything runs and is ready when this returns. What runs already as wished is left alone.

        Without options, those of the last time hold. Components whose options changed are restarted.
        """
        self.start_control_plane(options)
        self.install()
        with self._state.lock():
            self._start(platform.components(self._state))

    def start_control_plane(self, options: Options | None = None) -> None:
        """The first part of `up`: etcd, API server, controller manager and scheduler, with nothing of ours on it."""
        with self._state.lock():
            chosen = options or (self._state.options if self._state.exists else Options())
            for name in chosen.arguments:
                self.process(name)
            programs = binaries.ensure(chosen.binaries, self._progress)
            self._state.make()
            running = any(self._state.process(name).pid for name in COMPONENTS)
            self._state.settle(chosen, programs, keep_ports=running)
            self._start(controlplane.components(self._state))

    def install(self) -> None:
        """The second part of `up`: our namespace, rights and kinds. The control plane must run."""
        with self._state.lock():
            self._progress("installing the platform's kinds and rights")
            installation.install(self.kubectl, self.kubeconfig, self.broker_url, self.authority)

    def down(self, *, wipe: bool = False) -> None:
        """Stop every process of this cluster, the last started first; with `wipe` also remove its state."""
        with self._state.lock():
            for name in reversed(COMPONENTS):
                self._stop(name)
            if wipe:
                self._state.wipe()

    def start(self, name: str) -> None:
        """Start one component and wait until it is ready."""
        self.process(name)
        with self._state.lock():
            self._start(self._described([name]))

    def stop(self, name: str) -> None:
        """Stop one component as `down` does: with the node end its containers."""
        self.process(name)
        with self._state.lock():
            self._stop(name)

    def kill(self, name: str) -> None:
        """End one component as a crash would. `up` or `start` brings it back."""
        self.process(name).kill()

    def restart(self, name: str) -> None:
        """End and start one component; returns when it is ready. Containers go on while the node restarts."""
        self.process(name)
        with self._state.lock():
            self._end_for_successor(name)
        self.start(name)

    def status(self) -> list[ComponentStatus]:
        """Of each component that was ever started here, in the order of start. Changes nothing."""
        started = [name for name in COMPONENTS if self._state.process(name).log.exists()]
        return [self._status(component) for component in self._described(started)]

    def logs(self, name: str) -> Path:
        """The log file of one component. Raises LocalClusterError when it was never started."""
        log = self.process(name).log
        if not log.exists():
            raise LocalClusterError(f"{name} of cluster {self.name} was never started; run `collabspace local up`")
        return log

    def process(self, name: str) -> Process:
        """One component as a process, for its id and for signals."""
        if name not in COMPONENTS:
            raise LocalClusterError(f"no component {name!r}; there are {', '.join(COMPONENTS)}")
        return self._state.process(name)

    def pid(self, name: str) -> int | None:
        """Process id of a component; None when it does not run."""
        return self.process(name).pid

    def user(self, name: str, groups: tuple[str, ...] = (), namespace: str = "default") -> Path:
        """A kubeconfig for a person of this name and groups, with no rights but those that RBAC gives them."""
        server = self.server
        trust = Trust.of(self._state)
        credential = trust.cluster.issue(Subject(name, groups), f"user-{name}")
        path = credential.cert.with_suffix(".kubeconfig")
        return write_kubeconfig(path, server, trust.cluster.file, credential, context=self.name, namespace=namespace)

    def _described(self, wanted: Collection[str]) -> list[Component]:
        """In the order of start. Describing makes credentials, so the platform's are left out until it is wanted."""
        halves = ((controlplane.NAMES, controlplane.components), (platform.NAMES, platform.components))
        described: list[Component] = []
        for half, describe in halves:
            if not set(half).isdisjoint(wanted):
                described += [component for component in describe(self._state) if component.name in wanted]
        return described

    def _status(self, component: Component) -> ComponentStatus:
        process = self._state.process(component.name)
        pid = process.pid
        missing = component.ready() if pid is not None else "not running"
        return ComponentStatus(component.name, pid, missing, process.log)

    def _start(self, components: Iterable[Component]) -> None:
        for component in components:
            process = self._state.process(component.name)
            if not process.runs(component.argv, component.environment):
                self._end_for_successor(component.name)
                self._progress(f"starting {component.name}")
                process.start(component.argv, component.environment, _inherited(component))
            self._wait_ready(component)

    def _wait_ready(self, component: Component) -> None:
        process = self._state.process(component.name)
        deadline = time.monotonic() + READY_SECONDS
        while missing := component.ready():
            if process.wait(PROBE_PAUSE_SECONDS):
                raise LocalClusterError(f"{component.name} ended before it was ready. {_evidence(process)}")
            if time.monotonic() > deadline:
                raise LocalClusterError(
                    f"{component.name} is not ready after {READY_SECONDS:.0f} s: {missing}. {_evidence(process)}"
                )

    def _end_for_successor(self, name: str) -> None:
        if name == "node":
            self._state.process(name).kill()
        else:
            self._stop(name)

    def _stop(self, name: str) -> None:
        process = self._state.process(name)
        if process.pid is not None:
            self._progress(f"stopping {name}")
        process.stop(platform.NODE_STOP_SECONDS if name == "node" else STOP_SECONDS)
        if name == "node":
            platform.end_containers(self._state)


def _evidence(process: Process) -> str:
    return f"The end of {process.log}:\n{process.tail()}"


def _inherited(component: Component) -> Mapping[str, str]:
    """Ours see the user's environment. The control plane does not: etcd takes any ETCD_* there for a setting."""
    if component.inherits_environment:
        return os.environ
    return {"PATH": os.defpath, "HOME": os.environ.get("HOME", "/")}
