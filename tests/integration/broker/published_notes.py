"""One published dataset that tests read: pushed by its owner, the same files at hand in a folder."""

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path

import yaml
from broker_harness import BrokerProcess, World, corpus

from collabspace.api import names
from collabspace.api.manifest import DatasetFormat, Manifest
from collabspace.client.protocol import UploadTarget
from collabspace.formats import SplitRule, prepare


@dataclass(frozen=True)
class Published:
    """A dataset `notes` of a team, with one version at the broker and the same files in a folder."""

    owner: str
    uid: str
    manifest: Manifest
    folder: Path

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def target(self) -> UploadTarget:
        return UploadTarget(kind="Dataset", namespace=self.owner, name="notes", uid=self.uid)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def pushed(world: World, broker: BrokerProcess, folder: Path) -> Published:
    published = await prepared(world, await world.team(), folder)
    token = await world.token(published.owner, names.PUBLISHER_ACCOUNT)
    with broker.client(token, claimed_by="dr-lee") as client:
        await asyncio.to_thread(client.push, published.target, published.manifest, published.folder)
    return published


async def prepared(world: World, owner: str, folder: Path) -> Published:
    """The same, not yet pushed."""
    uid = await world.dataset(owner)
    done = prepare(
        corpus(folder / "raw"),
        DatasetFormat.TOKEN_CLASSIFICATION,
        folder / "ready",
        owner_uid=uid,
        split=SplitRule(),
    )
    return Published(owner, uid, done.manifest, folder / "ready")


def kubeconfig_of_nobody(real: Path, target: Path) -> Path:
    """The same credential for a port where no API server listens."""
    return kubeconfig_through(free_port(), real, target)


def port_of(kubeconfig: Path) -> int:
    """Where the API server listens on this machine."""
    server: str = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    return int(server.rpartition(":")[2])


def kubeconfig_through(port: int, real: Path, target: Path) -> Path:
    """The same credential for another port of this machine."""
    config = yaml.safe_load(real.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    target.write_text(yaml.safe_dump(config))
    return target
