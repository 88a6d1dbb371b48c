"""How the command line fails: one line that says what is wrong and what to do next, and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_TIMED_OUT = 124
EXIT_INTERRUPTED = 130


class CommandError(Exception):
    """An expected failure. Shown as `error: <what>. <remedy>`; `what` comes without a full stop."""

    def __init__(self, what: str, remedy: str = "", exit_code: int = EXIT_ERROR) -> None:
        super().__init__(what)
        self.what = what.strip().rstrip(".")
        self.remedy = remedy
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"error: {self.what}. {self.remedy}".rstrip()


def program() -> str:
    """How the person called us, for commands that they can copy: `kubectl collab` or `collabspace`."""
    context = click.get_current_context(silent=True)
    name = context.find_root().info_name if context else None
    return name or "kubectl collab"


def command(words: str) -> str:
    """A whole command line, as the person would type it."""
    return f"{program()} {words}"


@contextmanager
def leaving(what_goes_on: str) -> Iterator[None]:
    """While a command only watches: Ctrl-C ends the watching, and this says what goes on in the cluster."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise Interrupted(what_goes_on) from interrupt


class Interrupted(Exception):
    """Ctrl-C at a place where there is something to say about what goes on."""
