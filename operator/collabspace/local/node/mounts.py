"""Mount paths on a node without mount namespaces: a path below a mount is rewritten to the folder behind it."""

import re
from collections.abc import Mapping
from pathlib import Path

# A path starts where no other path or word goes on, and ends at a component's end: `/data` matches in `--in=/data/x`,
# `A:/data` and `file:///data`, but neither in `/mnt/data` or `https://host/data` nor in `/database`.
_BEFORE = r"(?:(?<![\w./~-])|(?<=\bfile://))"
_AFTER = r"(?![\w.~-])"


class Mounts:
    """Rewrites by the longest mount path first and once only, so that a target is never rewritten again."""

    def __init__(self, targets: Mapping[str, Path]) -> None:
        self._targets = {path.rstrip("/") or "/": str(folder) for path, folder in targets.items()}
        paths = sorted((path for path in self._targets if path != "/"), key=len, reverse=True)
        self._pattern = re.compile(f"{_BEFORE}(?:{'|'.join(map(re.escape, paths))}){_AFTER}") if paths else None

    def rewrite(self, text: str) -> str:
        """Every mounted path in a command line part or environment value."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._targets[match.group()], text)

    def resolve(self, path: str) -> Path | None:
        """The real place of one path, or None when it lies below no mount."""
        rewritten = self.rewrite(path)
        return Path(rewritten) if rewritten != path else None
