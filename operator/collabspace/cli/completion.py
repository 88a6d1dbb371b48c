"""`kubectl_complete-collab`: kubectl runs it with the words typed so far and reads one suggestion a line.

The protocol is that of kubectl's own completion (Cobra): after the suggestions a line `:N`, where 4 says that files are
no answer and 0 that the shell may offer them.
"""

import sys
from collections.abc import Sequence

import click
from click.shell_completion import ShellComplete

from collabspace.cli.main import root

FILES_MAY_FOLLOW = 0
NO_FILES = 4


def complete(words: Sequence[str]) -> list[str]:
    """The lines to print; the last of `words` is the one being typed and may be empty."""
    *done, incomplete = words or [""]
    items = ShellComplete(root, {}, "kubectl collab", "_KUBECTL_COLLAB_COMPLETE").get_completions(done, incomplete)
    wants_files = any(item.type in ("file", "dir") for item in items)
    offered = [item for item in items if item.type == "plain"]
    lines = [f"{item.value}\t{item.help}" if item.help else str(item.value) for item in offered]
    return [*lines, f":{FILES_MAY_FOLLOW if wants_files else NO_FILES}"]


def main() -> None:
    """Entry point; prints no error, since the shell would show it in the middle of a line being typed."""
    click.echo("\n".join(complete(sys.argv[1:])))
