"""Files of a folder by path, hash and size: what results and checkpoints are published with."""

import hashlib
from pathlib import Path

from collabspace.api.manifest import FileEntry


def file_entries(folder: Path) -> list[FileEntry]:
    """Every file of the folder, sorted by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        FileEntry(path=str(path.relative_to(folder)), sha256=sha256_of(path), bytes=path.stat().st_size)
        for path in paths
    ]


def sha256_of(path: Path) -> str:
    """Hexadecimal."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
