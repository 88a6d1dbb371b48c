"""Canonical files against their manifest: names, sizes, hashes. Nothing of them is parsed before these agree."""

import hashlib
from pathlib import Path

from collabspace.api.manifest import FileEntry, Manifest, Split
from collabspace.formats.folder import walk
from collabspace.formats.intake import DataFile, Intake
from collabspace.formats.problem import FormatError, Problem, Problems

_AGAIN = "Prepare the data again; canonical files are never edited."


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_files(folder: Path, manifest: Manifest, problems: Problems) -> None:
    """Adds findings: a file missing, left over, a link, of another size or hash than the manifest says."""
    found = {file.name: file for file in walk(folder, problems, hidden=True)}
    named: set[str] = set()
    for entry in manifest.files:
        file = found.get(entry.path)
        if entry.path in named:
            problems.add(entry.path, None, "the manifest names the file twice", _AGAIN)
        elif file is None:
            problems.add(entry.path, None, "the file is missing", "Send every file of the manifest.")
        else:
            _check_bytes(entry, file, problems)
        named.add(entry.path)
    for name in sorted(found.keys() - named):
        problems.add(name, None, "the file is not in the manifest", "Remove it.")
    if not manifest.files:
        problems.add("", None, "the manifest names no file", _AGAIN)


def _check_bytes(entry: FileEntry, file: DataFile, problems: Problems) -> None:
    if file.size != entry.bytes:
        message = f"the file has {file.size} bytes, the manifest says {entry.bytes}"
        problems.add(entry.path, None, message, "Send it again.")
    elif sha256(file.path) != entry.sha256:
        problems.add(entry.path, None, "the file's sha256 is not the manifest's", "Send it again.")


def check_split_names(manifest: Manifest, suffix: str, problems: Problems) -> None:
    """Adds a finding for a file that is not called `<its split><suffix>`."""
    for entry in manifest.files:
        if entry.split is None or entry.path != entry.split + suffix:
            message = "is no canonical file name of its split"
            problems.add(entry.path, None, message, f"Call it <split>{suffix}.")


def open_entry(folder: Path, entry: FileEntry, intake: Intake) -> DataFile:
    """The file of an entry, after its size and hash were checked. Raises FormatError; never leaves `folder`."""
    path = folder / entry.path
    inside = ".." not in path.parts and path.resolve().is_relative_to(folder.resolve())
    if not inside or path.is_symlink() or not path.is_file():
        problem = Problem(entry.path, None, "the file is missing or a link", "Fetch the version again.")
        raise FormatError([problem])
    file = DataFile(path, entry.path, path.stat().st_size)
    _check_bytes(entry, file, intake.problems)
    intake.problems.raise_if_any()
    return file


def entries_of(manifest: Manifest, split: Split | None) -> list[FileEntry]:
    """The entries of one split, or all; a version that was never split gives all of it for any split."""
    unsplit = all(entry.split is None for entry in manifest.files)
    return [entry for entry in manifest.files if split is None or unsplit or entry.split is split]


def compare(name: str, said: object, found: object, problems: Problems) -> None:
    """Adds a finding when the manifest's field does not say what the records do."""
    if said != found:
        problems.add("", None, f"{name} of the manifest does not agree with the records", _AGAIN)
