"""A folder is written, pushed and looked at: the fixtures that every test of the formats shares."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from collabspace.api.manifest import DatasetFormat, Manifest
from collabspace.formats import FormatError, Prepared, SplitRule, prepare

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

    def table(self, source: Files | Path, **options: Any) -> Pushed:
        return self.push(source, DatasetFormat.TABULAR, **options)

    def model(self, source: Files | Path, **options: Any) -> Pushed:
        return self.push(source, DatasetFormat.MODEL, **options)


@pytest.fixture
def work(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture
def refused() -> Callable[..., list[str]]:
    """Calls a push that must be refused; gives the lines of the error."""

    def call(push: Callable[..., Pushed], *arguments: Any, **options: Any) -> list[str]:
        with pytest.raises(FormatError) as caught:
            push(*arguments, **options)
        return str(caught.value).split("\n")

    return call


SENTENCE = "Marfan\tB-Disease\nsyndrome\tI-Disease\nruns\tO\n"


@pytest.fixture
def splits() -> Callable[..., dict[str, str]]:
    """Three sound CoNLL files; keyword arguments put other content into one of them."""

    def build(**changed: str) -> dict[str, str]:
        return {f"{name}.tsv": changed.get(name, SENTENCE) for name in ("train", "validation", "test")}

    return build


@pytest.fixture
def json_splits() -> Callable[[list[object]], dict[str, str]]:
    """The same records as train, validation and test."""

    def build(records: list[object]) -> dict[str, str]:
        text = "".join(json.dumps(record) + "\n" for record in records)
        return {f"{name}.jsonl": text for name in ("train", "validation", "test")}

    return build
