"""Where a file of a manifest may lie: inside its folder and nowhere else, whatever the manifest's author wrote."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from collabspace.api.manifest import FileEntry

MANIFEST_FILE = "manifest.json"
RESERVED = frozenset({MANIFEST_FILE})


class UnsafePathError(ValueError):
    """A path that leaves its folder, names a reserved file, or cannot exist beside another one."""


def check_paths(files: Iterable[FileEntry]) -> None:
    """Every path is relative, normal, unreserved and unique, and none is the folder of another.

    Raises UnsafePathError naming the path and the remedy.
    """
    seen: set[str] = set()
    folders: set[str] = set()
    for file in files:
        check_path(file.path)
        folded = file.path.casefold()
        if folded in seen:
            raise UnsafePathError(f"files: {file.path!r} appears twice (letter case aside); rename one")
        seen.add(folded)
        folders.update(str(parent) for parent in PurePosixPath(folded).parents)
    for clash in sorted(seen & folders):
        raise UnsafePathError(f"files: {clash!r} is a file and a folder at once; rename one of them")


def check_path(path: str) -> None:
    """One path alone. Raises UnsafePathError."""
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise UnsafePathError(f"files: {path!r} is not a plain relative path; remove '..', '.' and extra slashes")
    if any(not char.isprintable() or char == "\\" for char in path):
        raise UnsafePathError(f"files: {path!r} holds a character that no file name may have; rename the file")
    if path.casefold() in RESERVED:
        raise UnsafePathError(f"files: {path!r} is the manifest's own name; rename the file")
