"""What is wrong with a push, said once for every format: file, line, finding, remedy; never the data itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from collabspace.formats.limits import MAX_NAME_CHARACTERS

SHOWN = 20
STOP_AFTER = 1_000


@dataclass(frozen=True)
class Problem:
    """One finding. `path` is relative to the pushed folder, empty when it concerns the data as a whole.

    `line` counts from 1; in a Parquet file it is the row.
    """

    path: str
    line: int | None
    message: str
    remedy: str

    def __str__(self) -> str:
        place = printable(self.path, 1_024) + ("" if self.line is None else f":{self.line}")
        return f"{place + ': ' if self.path else ''}{self.message}. {self.remedy}"


class FormatError(Exception):
    """Data that cannot be accepted. `problems` holds the first 20; `more` counts the others."""

    def __init__(self, problems: Sequence[Problem], more: int = 0) -> None:
        super().__init__(problems, more)
        self.problems = list(problems)
        self.more = more

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        return "\n".join([*lines, f"and {self.more} more"] if self.more else lines)


class Problems:
    """Collects what is found, so that one run names all of it; reading goes on until it is pointless."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[tuple[str, int | None, str, str | Callable[[], str]]] = []

    def add(self, path: str, line: int | None, message: str, remedy: str | Callable[[], str]) -> None:
        """Keeps one finding; a remedy that depends on what comes later is a function, called at the end.

        Raises FormatError at the thousandth: such a file is of another kind, and reading on costs only time.
        """
        self.count += 1
        if len(self._first) < SHOWN:
            self._first.append((path, line, message, remedy))
        if self.count >= STOP_AFTER:
            self.raise_if_any()

    def stop(self, path: str, line: int | None, message: str, remedy: str) -> NoReturn:
        """Adds a finding after which nothing more can be read."""
        self.add(path, line, message, remedy)
        raise self._error()

    def raise_if_any(self) -> None:
        if self.count:
            raise self._error()

    def _error(self) -> FormatError:
        problems = [
            Problem(path, line, message, remedy if isinstance(remedy, str) else remedy())
            for path, line, message, remedy in self._first
        ]
        return FormatError(problems, self.count - len(problems))


def printable(name: str, limit: int = MAX_NAME_CHARACTERS) -> str:
    """A name from outside, safe for a terminal: nothing unprintable (escapes, bidi marks), not longer than `limit`."""
    shown = "".join(character if character.isprintable() else "?" for character in name[:limit])
    return shown + ("…" if len(name) > limit else "")


def quoted(name: str) -> str:
    return f'"{printable(name)}"'


def listed(names: Sequence[str]) -> str:
    """The first ten names, quoted, and how many are left out."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(quoted(name) for name in names[:10]) + more
