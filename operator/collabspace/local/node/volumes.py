"""Volumes of a pod as folders below the pod's own, and the tokens among them kept fresh."""

import datetime as dt
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from collabspace.local.node.api import NodeClient, Token
from collabspace.local.node.environment import ConfigError, Machine, pod_field, resource_field
from collabspace.local.node.manifest import Container, Object, Pod, UnsupportedError

ROTATE_AT = 0.8
LONGEST_USE = dt.timedelta(hours=24)
RETRY = dt.timedelta(seconds=10)


def rotation_time(issued: dt.datetime, expires: dt.datetime) -> dt.datetime:
    """When to replace a token: at 80 % of its life, after a day at the latest."""
    return issued + min((expires - issued) * ROTATE_AT, LONGEST_USE)


@dataclass(frozen=True)
class TokenFile:
    """A token that a projected volume asks for, and its place."""

    path: Path
    audience: str | None
    seconds: int
    mode: int


class Volumes:
    """Makes the pod's volumes once and refreshes their tokens. `folder` is made and removed here."""

    def __init__(self, pod: Pod, folder: Path, client: NodeClient, machine: Machine) -> None:
        self._pod = pod
        self._folder = folder
        self._client = client
        self._machine = machine
        self._tokens: dict[TokenFile, dt.datetime] = {}
        self._made = False

    @property
    def next_rotation(self) -> dt.datetime | None:
        return min(self._tokens.values(), default=None)

    async def make(self) -> None:
        """Fills every volume. Safe to repeat: contents are replaced, files of an emptyDir stay.

        Raises ConfigError for missing sources, UnsupportedError for kinds of volume that this node has not.
        """
        if self._made:
            return
        for volume in self._pod.volumes:
            place = inside(self._folder, volume["name"])
            place.mkdir(mode=0o777, parents=True, exist_ok=True)
            await self._fill(volume, place)
        self._made = True

    async def refresh(self, now: dt.datetime) -> None:
        """Replaces every token whose time has come. A failed request is tried again after ten seconds."""
        for token_file, due in list(self._tokens.items()):
            if due <= now:
                self._tokens[token_file] = now + RETRY
                await self._write_token(token_file)

    def adopt(self) -> None:
        """After a restart of the agent: folders are as they were, tokens of unknown age are due at once."""
        for volume in self._pod.volumes:
            for source in volume.get("projected", {}).get("sources") or []:
                if "serviceAccountToken" in source:
                    self._expect_token(source["serviceAccountToken"], volume, inside(self._folder, volume["name"]))
        self._made = True

    def remove(self) -> None:
        """Takes tokens, secrets and work files off the disk."""
        self._tokens.clear()
        if self._folder.exists():
            remove_tree(self._folder)

    def mounts_of(self, container: Container) -> dict[str, Path]:
        """Mount path -> folder. Raises UnsupportedError."""
        targets: dict[str, Path] = {}
        for mount in container.mounts:
            path = mount["mountPath"]
            if path.rstrip("/") == "" or mount.get("subPathExpr"):
                raise UnsupportedError(
                    f"volumeMounts {mount['name']!r}: this node can neither mount at '/' nor expand subPathExpr; use"
                    " another mountPath and subPath"
                )
            target = inside(inside(self._folder, mount["name"]), mount.get("subPath") or ".")
            if not target.exists():
                target.mkdir(parents=True)
            targets[path] = target
        return targets

    async def _fill(self, volume: Object, place: Path) -> None:
        mode = 0o644
        if "configMap" in volume:
            await self._data("configmap", volume["configMap"], volume["configMap"].get("name", ""), place, mode)
        elif "secret" in volume:
            await self._data("secret", volume["secret"], volume["secret"]["secretName"], place, mode)
        elif "downwardAPI" in volume:
            self._downward(volume["downwardAPI"], place, volume["downwardAPI"].get("defaultMode", mode))
        elif "projected" in volume:
            await self._project(volume, place)
        elif "emptyDir" not in volume:
            kind = ", ".join(key for key in volume if key != "name")
            raise UnsupportedError(
                f"volume {volume['name']!r}: this node has no {kind}; it has emptyDir, configMap, secret,"
                " downwardAPI and projected. For others use kind or a real cluster."
            )

    async def _project(self, volume: Object, place: Path) -> None:
        mode = volume["projected"].get("defaultMode", 0o644)
        for source in volume["projected"].get("sources") or []:
            if "serviceAccountToken" in source:
                await self._write_token(self._expect_token(source["serviceAccountToken"], volume, place))
            elif "configMap" in source:
                await self._data("configmap", source["configMap"], source["configMap"]["name"], place, mode)
            elif "secret" in source:
                await self._data("secret", source["secret"], source["secret"]["name"], place, mode)
            elif "downwardAPI" in source:
                self._downward(source["downwardAPI"], place, mode)
            else:
                raise UnsupportedError(f"volume {volume['name']!r}: projected source {', '.join(source)} is not known")

    async def _data(self, kind: str, source: Object, name: str, place: Path, mode: int) -> None:
        data = await self._client.data(self._pod.namespace, kind, name)
        if data is None and not source.get("optional"):
            raise ConfigError(f'{kind} "{name}" not found')
        data = data or {}
        mode = source.get("defaultMode", mode)
        items = source.get("items") or [{"key": key, "path": key} for key in data]
        for item in items:
            if item["key"] in data:
                write(inside(place, item["path"]), data[item["key"]], item.get("mode", mode))
            elif not source.get("optional"):
                raise ConfigError(f"{kind} {name!r} has no key {item['key']!r}")

    def _downward(self, source: Object, place: Path, mode: int) -> None:
        for item in source.get("items") or []:
            if "fieldRef" in item:
                text = pod_field(self._pod, item["fieldRef"]["fieldPath"])
            else:
                reference = item["resourceFieldRef"]
                owner = next(one for one in self._pod.containers if one.name == reference.get("containerName"))
                text = resource_field(owner, reference, self._machine)
            write(inside(place, item["path"]), text.encode(), item.get("mode", mode))

    def _expect_token(self, source: Object, volume: Object, place: Path) -> TokenFile:
        token_file = TokenFile(
            path=inside(place, source["path"]),
            audience=source.get("audience") or None,
            seconds=int(source.get("expirationSeconds") or 3600),
            mode=volume["projected"].get("defaultMode", 0o644) & 0o600,  # there is one user here: no one else may read
        )
        self._tokens.setdefault(token_file, dt.datetime.min.replace(tzinfo=dt.UTC))
        return token_file

    async def _write_token(self, token_file: TokenFile) -> None:
        token: Token = await self._client.token(self._pod, token_file.audience, token_file.seconds)
        write(token_file.path, token.text.encode(), token_file.mode)
        self._tokens[token_file] = rotation_time(token.issued, token.expires)


def inside(folder: Path, relative: str) -> Path:
    """`relative` below `folder`. Raises UnsupportedError when it would lead out."""
    path = Path(os.path.normpath(folder / relative))
    if not path.is_relative_to(folder):
        raise UnsupportedError(f"path {relative!r} leads out of its volume; use a relative path without '..'")
    return path


def remove_tree(folder: Path) -> None:
    """Removes a folder, folders that a container made unwritable included: agent and containers are one user."""
    for place, below, _ in os.walk(folder):
        for name in below:
            if not (child := Path(place, name)).is_symlink():
                child.chmod(0o700)
    shutil.rmtree(folder)


def write(path: Path, content: bytes, mode: int) -> None:
    """Replaces the file in one step, so that a reader sees the old or the new content and never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    new.replace(path)
