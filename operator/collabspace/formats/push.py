"""The two doors of every format: prepare() before a push, check() when the broker commits one."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collabspace.api.manifest import (
    ColumnSchema,
    DatasetFormat,
    Digest,
    Manifest,
    SourceFile,
    Split,
    TargetColumn,
)
from collabspace.formats.canonical import check_files, compare, sha256
from collabspace.formats.intake import Intake, Progress
from collabspace.formats.iob import TagScheme
from collabspace.formats.limits import MAX_TOTAL_BYTES
from collabspace.formats.registry import find_format
from collabspace.formats.request import Converted, Request
from collabspace.formats.split import SplitRule


@dataclass(frozen=True)
class Prepared:
    """What a push would send. `counts`: records per split; `label_counts`: entities or rows per split and label."""

    manifest: Manifest
    readme: str | None
    counts: dict[Split, int]
    label_counts: dict[Split, dict[str, int]]
    warnings: list[str]


def prepare(  # noqa: PLR0913 the options of a push, spelled out for its callers; inside they travel as one Request
    source: Path,
    format: DatasetFormat,
    destination: Path,
    *,
    owner_uid: str,
    split: SplitRule,
    target: TargetColumn | None = None,
    columns: Sequence[ColumnSchema] = (),
    tags: TagScheme = "iob2",
    parents: Sequence[Digest] = (),
    progress: Progress | None = None,
    max_bytes: int = MAX_TOTAL_BYTES,
) -> Prepared:
    """Parses, checks, splits and converts `source` (a folder or one file) into canonical files in `destination`.

    `destination` is made if it is missing and must be empty; nothing is left in it after an error. Equal input gives
    an equal manifest. `progress` is told (bytes done, bytes in all). `max_bytes` bounds the decompressed data.
    Raises FormatError with what is wrong with the data, ValueError for a destination that is not empty.
    """
    chosen = find_format(format)
    destination.mkdir(parents=True, exist_ok=True)
    if any(destination.iterdir()):
        raise ValueError(f"the destination {destination} is not empty: name a new folder")
    intake = Intake(max_bytes, progress)
    request = Request(source, destination, split, target, tuple(columns), tags)
    try:
        converted = chosen.convert(request, intake)
        manifest = _manifest(converted, format, owner_uid, parents)
    except BaseException:
        _clear(destination)
        raise
    counts = {file.split: file.records for file in converted.files if file.split is not None}
    return Prepared(manifest, converted.readme, counts, converted.label_counts, converted.warnings)


def _manifest(converted: Converted, format: DatasetFormat, owner_uid: str, parents: Sequence[Digest]) -> Manifest:
    return Manifest(
        owner_uid=owner_uid,
        format=format,
        files=converted.files,
        source_files=[
            SourceFile(path=file.name, sha256=sha256(file.path), bytes=file.size) for file in converted.sources
        ],
        labels=converted.labels,
        label_counts=converted.label_counts,
        columns=converted.columns,
        target=converted.target,
        split_mode=converted.split_mode,
        parents=list(parents),
    )


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def check(folder: Path, manifest: Manifest, *, max_bytes: int = MAX_TOTAL_BYTES) -> None:
    """Proves that `folder` holds the files of `manifest`, all of them and no other, and that they say what it says.

    Raises FormatError. Trusts nothing of the manifest: names, sizes and hashes first, then every record is read.
    """
    chosen = find_format(manifest.format)
    intake = Intake(max_bytes)
    check_files(folder, manifest, intake.problems)
    intake.problems.raise_if_any()
    is_split = any(file.split is not None for file in manifest.files)
    compare("splitMode", manifest.split_mode != "None", is_split, intake.problems)
    chosen.check(folder, manifest, intake)
    intake.problems.raise_if_any()
