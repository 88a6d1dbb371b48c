"""Help comes at once, says what the person typed, and every command has it."""

import subprocess
import sys
from importlib import import_module

import click
import pytest
from cli_workplace import collab

from collabspace.api.conditions import TASK_CONDITIONS
from collabspace.api.dataset import DeletionPolicy, OnRevoke, Use
from collabspace.api.manifest import DatasetFormat, TargetKind
from collabspace.cli import parameters, push, tasks
from collabspace.cli.main import COMMANDS, program_name, root
from collabspace.formats import FORMATS

HEAVY = ("kubernetes", "aiohttp", "httpx", "rich", "pyarrow", "yaml", "collabspace.kube", "collabspace.client")
HEAVIER = ("collabspace.formats", "collabspace.core", "collabspace.local", "torch")
TYPES = ("pydantic", "collabspace.api.task")


def commands() -> list[str]:
    """Every command with its groups' commands, as words."""
    found = []
    for name, (module, attribute, _) in COMMANDS.items():
        command = getattr(import_module(f"collabspace.cli.{module}"), attribute)
        found.append(name)
        if isinstance(command, click.Group):
            found += [f"{name} {inner}" for inner in command.commands]
    return found


def modules_after(*helps: str) -> set[str]:
    """What a fresh interpreter has imported once the command line has printed the help of each of these commands."""
    program = (
        "import sys\nfrom collabspace.cli.main import root\n"
        f"for words in {[words.split() for words in helps]!r}:\n"
        "    try: root.main([*words, '--help'], prog_name='kubectl collab')\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.count("Usage: kubectl collab") == len(helps)
    return set(done.stderr.split())


def within(modules: set[str], *packages: str) -> set[str]:
    return {
        name for name in modules if name.startswith(tuple(f"{package}." for package in packages)) or name in packages
    }


def test_help_imports_neither_a_client_nor_types_nor_a_drawing_library() -> None:
    helps = ["", *(words for words in commands() if words != "submit")]
    assert within(modules_after(*helps), *HEAVY, *HEAVIER, *TYPES) == set()


def test_the_help_of_submit_reads_the_catalogue_and_no_more() -> None:
    modules = modules_after("submit")
    assert "collabspace.api.catalogue" in modules
    assert within(modules, *HEAVY, *HEAVIER) == set()


@pytest.mark.parametrize("words", commands())
def test_every_command_explains_itself(words: str) -> None:
    result = collab(*words.split(), "--help")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Usage: kubectl collab {words}")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    assert command.short_help or command.get_short_help_str(200) == COMMANDS[name][2]
    assert (command.short_help or COMMANDS[name][2]) == COMMANDS[name][2]
    assert name in collab("--help").stdout


@pytest.mark.parametrize(
    ("argv0", "shown"),
    [
        ("/usr/bin/kubectl-collab", "kubectl collab"),
        ("kubectl-collab", "kubectl collab"),
        ("/a/collabspace", "collabspace"),
    ],
)
def test_help_shows_the_program_as_it_was_called(argv0: str, shown: str) -> None:
    assert program_name(argv0) == shown


def test_the_help_of_submit_lists_tasks_methods_and_parameters_with_defaults() -> None:
    text = collab("submit", "--help").stdout
    for word in ("TokenClassification", "FullFineTuning", "LogisticRegression", "epochs=3", "entity_micro_f1"):
        assert word in text


def test_words_spelled_for_the_sake_of_speed_are_those_of_the_api() -> None:
    assert {*parameters.USES, *parameters.UNUSED_USES} == {use.value for use in Use}
    assert set(push.ON_REVOKE) == {each.value for each in OnRevoke}
    assert set(push.DELETION_POLICIES) == {each.value for each in DeletionPolicy}
    assert set(push.FORMATS) == {DatasetFormat(name).value for name in FORMATS}
    assert list(push.TARGET_KINDS) == [kind.value for kind in TargetKind]
    assert list(tasks.CONDITIONS) == [kind.value for kind in TASK_CONDITIONS]


@pytest.mark.parametrize("words", [(), ("teams",)])
def test_a_group_alone_prints_its_help(words: tuple[str, ...]) -> None:
    result = collab(*words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: kubectl collab")
