"""What lies in a pushed folder: data files, the card, companions; everything else is refused by name."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collabspace.api.manifest import Split
from collabspace.formats.intake import DataFile
from collabspace.formats.limits import MAX_DEPTH, MAX_FILES, MAX_PATH_CHARACTERS, MAX_README_BYTES
from collabspace.formats.problem import Problems, printable

README = "README.md"

_WORDS = {
    Split.TRAIN: ("train", "training"),
    Split.VALIDATION: ("validation", "valid", "dev", "devel", "val"),
    Split.TEST: ("test", "testing", "eval", "evaluation"),
}
_EDGE = r"[-._ 0-9/]"
_WORD = {
    split: re.compile(rf"(?:^|{_EDGE})(?:{'|'.join(words)})(?:{_EDGE}|$)", re.IGNORECASE)
    for split, words in _WORDS.items()
}


@dataclass(frozen=True)
class Sources:
    """The pushed files: `data` in order of their names, `companions` by name, `readme` as text."""

    data: tuple[DataFile, ...]
    companions: dict[str, DataFile]
    readme: str | None

    @property
    def files(self) -> tuple[DataFile, ...]:
        return tuple(sorted((*self.data, *self.companions.values()), key=lambda file: file.name))

    @property
    def size(self) -> int:
        return sum(file.size for file in self.data)


def splits_named(name: str) -> list[Split]:
    """The splits whose word stands in a file's or folder's name, bounded by start, end, `/` or one of `-._ 0-9`."""
    return [split for split, word in _WORD.items() if word.search(name)]


def walk(folder: Path, problems: Problems, *, hidden: bool = False) -> Iterator[DataFile]:
    """Every regular file below `folder`, in order of their names; links are findings. `hidden`: in dot folders too.

    Nothing is opened or followed; the folder itself may be reached by a link, since its owner named it.
    """
    found = sorted(_scan(folder, "", hidden, problems), key=lambda file: file.name)
    if len(found) > MAX_FILES:
        problems.stop("", None, f"more than {MAX_FILES} files", "Join them into fewer shards.")
    yield from found


def _scan(folder: Path, prefix: str, hidden: bool, problems: Problems) -> Iterator[DataFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            mode = entry.stat(follow_symlinks=False)
            if len(name) > MAX_PATH_CHARACTERS:
                problems.add(name, None, f"the path is longer than {MAX_PATH_CHARACTERS} characters", "Move it up.")
            elif not name.isprintable():
                problems.add(name, None, "the name holds an unprintable character", "Rename it.")
            elif stat.S_ISLNK(mode.st_mode):
                problems.add(name, None, "is a link", "Copy what it points to in its place (cp -L).")
            elif stat.S_ISREG(mode.st_mode):
                yield DataFile(Path(entry.path), name, mode.st_size)
            elif not stat.S_ISDIR(mode.st_mode):
                problems.add(name, None, "is neither a file nor a folder", "Remove it.")
            elif prefix.count("/") >= MAX_DEPTH:
                problems.add(name, None, f"lies deeper than {MAX_DEPTH} folders", "Move it up.")
            elif hidden or not entry.name.startswith("."):
                yield from _scan(Path(entry.path), name + "/", hidden, problems)


def find_sources(source: Path, extensions: tuple[str, ...], companions: tuple[str, ...], problems: Problems) -> Sources:
    """Sorts the files of `source`, a folder or one file. Adds a finding for each file that has no place."""
    if not source.exists():
        problems.stop(printable(source.name), None, "does not exist", "Name a file or a folder.")
    files = list(walk(source, problems)) if source.is_dir() else [_single(source, problems)]
    data: list[DataFile] = []
    beside: dict[str, DataFile] = {}
    readme: str | None = None
    for file in files:
        if file.name == README:
            readme = read_readme(file, problems)
        elif is_ignored(file.name):
            continue
        elif file.name in companions:
            beside[file.name] = file
        elif file.extension in extensions:
            data.append(file)
        else:
            remedy = f"Remove it; data files end in {', '.join(extensions)}, each also with .gz."
            problems.add(file.name, None, "is not a data file of this format", remedy)
    if not data:
        problems.add("", None, "no data file found", f"Data files end in {', '.join(extensions)}.")
    return Sources(tuple(data), beside, readme)


def is_ignored(name: str) -> bool:
    """Licences and dotfiles are no data and no mistake either."""
    last = name.rsplit("/", 1)[-1]
    return last.startswith(".") or last.upper().startswith("LICENSE")


def read_readme(file: DataFile, problems: Problems) -> str | None:
    if file.size > MAX_README_BYTES:
        problems.add(file.name, None, f"is larger than {MAX_README_BYTES} bytes", "Shorten it.")
        return None
    try:
        return file.path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.add(file.name, None, "is not UTF-8", "Save the file as UTF-8.")
        return None


def _single(source: Path, problems: Problems) -> DataFile:
    path = source.resolve()  # a person who names a link means the file behind it
    if not path.is_file():
        problems.stop(source.name, None, "is neither a file nor a folder", "Name a file or a folder.")
    return DataFile(path, source.name, path.stat().st_size)
