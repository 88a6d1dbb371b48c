"""Writes a folder, pushes it and keeps what came of it: the ground that the tests of the formats stand on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collabspace.api.manifest import DatasetFormat, Manifest
from collabspace.formats import Prepared, SplitRule, prepare

SENTENCE = "Marfan\tB-Disease\nsyndrome\tI-Disease\nruns\tO\n"

Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class Pushed:
    """A push that went well: what prepare() said, and the folder it wrote."""

    prepared: Prepared
    folder: Path

    @property
    def manifest(self) -> Manifest:
        return self.prepared.manifest


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


class Workplace:
    """Writes sources below one folder of the test and pushes them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._count = 0

    def source(self, files: Files) -> Path:
        self._count += 1
        folder = self._root / f"source-{self._count}"
        folder.mkdir()
        return write(folder, files)

    def push(self, source: Files | Path, format: DatasetFormat, **options: Any) -> Pushed:
        path = source if isinstance(source, Path) else self.source(source)
        self._count += 1
        folder = self._root / f"canonical-{self._count}"
        options.setdefault("split", SplitRule())
        options.setdefault("owner_uid", "owner")
        return Pushed(prepare(path, format, folder, **options), folder)

    def tokens(self, source: Files | Path, **options: Any) -> Pushed:
        return self.push(source, DatasetFormat.TOKEN_CLASSIFICATION, **options)

    def texts(self, source: Files | Path, **options: Any) -> Pushed:
        return self.push(source, DatasetFormat.TEXT_CLASSIFICATION, **options)

    def table(self, source: Files | Path, **options: Any) -> Pushed:
        return self.push(source, DatasetFormat.TABULAR, **options)

    def model(self, source: Files | Path, **options: Any) -> Pushed:
        return self.push(source, DatasetFormat.MODEL, **options)
