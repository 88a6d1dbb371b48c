"""What the embedded cluster keeps: one folder with keys, database, logs, and the settings it was started with."""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from collabspace.local.errors import LocalClusterError
from collabspace.local.files import write_whole
from collabspace.local.processes import Process

NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
PORTS: Final = (
    "etcd",
    "etcd-peer",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "node",
    "broker",
    "broker-metrics",
    "operator",
)
# Below the range that the kernel lends to outgoing connections, and NodePorts: a stopped component finds its port free.
PORT_RANGE: Final = (20000, 29999)
LOOPBACK: Final = "127.0.0.1"


class Options(BaseModel):
    """How to run a cluster. Kept in its state, so that a later `up` without options changes nothing.

    `gpus` is the number of simulated GPUs of its node; `arguments` are more arguments for a component, by its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: int = Field(default=4, ge=0, le=1024)
    audit: bool = False
    binaries: Path | None = None
    arguments: dict[str, tuple[str, ...]] = {}


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    options: Options
    binaries: Path
    ports: dict[str, int]


class State:
    """The folder of one cluster, `$XDG_STATE_HOME/collabspace/NAME` unless `home` is given. Made on first write."""

    def __init__(self, name: str, home: Path | None) -> None:
        if not NAME.fullmatch(name):
            raise LocalClusterError(
                f"cluster name {name!r}: use 1 to 40 lower-case letters, digits and hyphens, no hyphen at an end"
            )
        self.name = name
        self.folder = _base(home) / name
        self.keys = self.folder / "keys"
        self.logs = self.folder / "logs"
        self.kubeconfig = self.folder / "kubeconfig"
        self.audit_log = self.folder / "logs" / "audit.jsonl"
        self._settings_file = self.folder / "settings.json"

    @property
    def exists(self) -> bool:
        return self._settings_file.exists()

    @property
    def options(self) -> Options:
        return self._settings().options

    @property
    def binaries(self) -> Path:
        """The folder that holds the control plane's programs, as found at the last start."""
        return self._settings().binaries

    def port(self, name: str) -> int:
        """One of PORTS, on loopback; the same for the life of the state."""
        return self._settings().ports[name]

    def address(self, name: str, scheme: str = "https") -> str:
        return f"{scheme}://{LOOPBACK}:{self.port(name)}"

    def process(self, component: str) -> Process:
        return Process(component, self.folder / "processes", self.logs)

    def write(self, name: str, text: str) -> Path:
        """A file of configuration in the folder."""
        return write_whole(self.folder / name, text)

    def settle(self, options: Options, binaries: Path, *, keep_ports: bool) -> None:
        """Record how it is run from now on. Ports taken by others meanwhile are replaced unless `keep_ports`."""
        ports = dict(self._settings().ports) if self.exists else {}
        if not keep_ports:
            ports = {name: port for name, port in ports.items() if _is_free(port)}
        for name in PORTS:
            if name not in ports:
                ports[name] = _free_port(set(ports.values()))
        write_whole(
            self._settings_file, _Settings(options=options, binaries=binaries, ports=ports).model_dump_json(indent=2)
        )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One command at a time changes this cluster. Raises LocalClusterError when another does."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with Path(self.folder.parent, f".{self.name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LocalClusterError(
                    f"another command is changing cluster {self.name}; wait for it, then try again"
                ) from error
            yield

    def make(self) -> None:
        for folder in (self.folder, self.keys, self.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def wipe(self) -> None:
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _settings(self) -> _Settings:
        try:
            return _Settings.model_validate_json(self._settings_file.read_bytes())
        except FileNotFoundError as error:
            raise LocalClusterError(
                f"cluster {self.name} was never started; run `collabspace local up --name {self.name}`"
            ) from error
        except ValidationError as error:
            raise LocalClusterError(
                f"{self._settings_file} is damaged ({error.error_count()} errors); "
                f"run `collabspace local down --wipe --name {self.name}`"
            ) from error


def known(home: Path | None = None) -> list[str]:
    """Names of the clusters that have a state, running or not, in order."""
    base = _base(home)
    found = base.iterdir() if base.is_dir() else ()
    return sorted(each.name for each in found if each.is_dir() and NAME.fullmatch(each.name))


def _base(home: Path | None) -> Path:
    state_home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return (home or Path(state_home) / "collabspace").absolute()


def _free_port(taken: set[int]) -> int:
    first, last = PORT_RANGE
    for _ in range(1000):
        port = first + secrets.randbelow(last - first + 1)
        if port not in taken and _is_free(port):
            return port
    raise LocalClusterError(f"no free port found between {first} and {last} on {LOOPBACK}; stop what listens there")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closed connection's port is free
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True
