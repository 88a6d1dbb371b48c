"""Where the files of a manifest may lie beside each other; that none leaves its folder is a rule of FileEntry."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from collabspace.api.manifest import FileEntry

MANIFEST_FILE = "manifest.json"


class UnsafePathError(ValueError):
    """A path that is the manifest's own, or that cannot exist beside another one."""


def check_paths(files: Iterable[FileEntry]) -> None:
    """Every path is unreserved and unique, and none is the folder of another, letter case aside.

    Raises UnsafePathError naming the path and the remedy.
    """
    seen: set[str] = set()
    folders: set[str] = set()
    for file in files:
        folded = file.path.casefold()
        if folded == MANIFEST_FILE:
            raise UnsafePathError(f"files: {file.path!r} is the manifest's own name; rename the file")
        if folded in seen:
            raise UnsafePathError(f"files: {file.path!r} appears twice (letter case aside); rename one")
        seen.add(folded)
        folders.update(str(parent) for parent in PurePosixPath(folded).parents)
    for clash in sorted(seen & folders):
        raise UnsafePathError(f"files: {clash!r} is a file and a folder at once; rename one of them")
