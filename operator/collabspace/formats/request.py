"""What every format is asked and what it answers: the seam along which a new format is one new file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from collabspace.api.manifest import ColumnSchema, FileEntry, Manifest, Split, TargetColumn
from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.iob import TagScheme
from collabspace.formats.split import SplitRule


@dataclass(frozen=True)
class Request:
    """A push: where it lies, where its canonical files go, and what the owner said about it."""

    source: Path
    destination: Path
    split: SplitRule
    target: TargetColumn | None
    columns: tuple[ColumnSchema, ...]
    tags: TagScheme


@dataclass(frozen=True)
class Converted:
    """Canonical files as written, and what was learnt on the way. `sources` are the files as pushed."""

    files: list[FileEntry]
    sources: tuple[DataFile, ...]
    readme: str | None
    split_mode: Literal["Provided", "Hash", "None"] = "None"
    labels: list[str] = field(default_factory=list)
    label_counts: dict[Split, dict[str, int]] = field(default_factory=dict)
    columns: list[ColumnSchema] = field(default_factory=list)
    target: TargetColumn | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Format:
    """One format. `check` is called after names, sizes and hashes were found right; findings go to the intake."""

    convert: Callable[[Request, Intake], Converted]
    check: Callable[[Path, Manifest, Intake], None]
