"""What documents and remedies tell people to type exists, with the options they name."""

import re
from pathlib import Path

import click
import pytest

from collabspace.api.conditions import Reason
from collabspace.cli.main import root

PROJECT = Path(__file__).parents[3]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"kubectl collab ([^`\n#|]*)")
OPTION = re.compile(r"(?<![\w'-])--?[a-z][a-z-]*")


def commands_in(text: str) -> list[str]:
    """All that follows `kubectl collab` up to the end of the line, code or cell; continued lines are one."""
    joined = text.replace("\\\n", " ")
    return [words for words in COMMAND.findall(joined) if re.match(r"[a-z]", words)]


def check(words: str) -> None:
    """Fails when there is no such command or it has no such option."""
    command: click.Command = root
    rest = re.findall(r"[^\s.,;:()]+", words)
    path = []
    while isinstance(command, click.Group):
        assert rest, f"{words}: the group alone does nothing"
        path.append(rest.pop(0))
        found = command.get_command(click.Context(command), path[-1])
        assert found is not None, f"no command {' '.join(path)}"
        command = found
    known = {spelling for parameter in command.params for spelling in parameter.opts} | {"--help"}
    unknown = [option for option in OPTION.findall(words) if option not in known]
    assert not unknown, f"{' '.join(path)} has no {', '.join(unknown)}: {words}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_commands_of_the_documents_exist_with_their_options(page: Path) -> None:
    for words in commands_in(page.read_text()):
        check(words)


@pytest.mark.parametrize("reason", list(Reason))
def test_the_remedy_of_every_reason_is_a_command_that_exists(reason: Reason) -> None:
    for words in commands_in(reason.help):
        check(words)


def test_a_command_or_option_that_does_not_exist_is_found() -> None:
    assert commands_in("Do `kubectl collab get x -w` or\nkubectl collab submit x \\\n  --gpus 1  # now\n") == [
        "get x -w",
        "submit x    --gpus 1  ",
    ]
    for wrong in ("fetch x", "get x --all", "grants give x", "submit x --gpu=1"):
        with pytest.raises(AssertionError):
            check(wrong)
