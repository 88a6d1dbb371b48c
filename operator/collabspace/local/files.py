"""Files that others read while they are written: changed whole or not at all."""

from pathlib import Path


def write_whole(path: Path, text: str) -> Path:
    """The file holds the text, for its owner only; nothing is written when it does already. Returns the path."""
    if not (path.exists() and path.read_text() == text):
        scratch = path.with_name(f".{path.name}.new")
        scratch.touch(mode=0o600)
        scratch.write_text(text)
        scratch.rename(path)
    return path
