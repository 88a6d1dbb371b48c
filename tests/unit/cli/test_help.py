"""Help comes at once, says what the person typed, and every command has it."""

import subprocess
import sys
import textwrap
from importlib import import_module

import click
import pytest
import yaml
from cli_workplace import collab

from collabspace.api.catalogue import catalogue
from collabspace.api.conditions import TASK_CONDITIONS
from collabspace.api.dataset import DeletionPolicy, OnRevoke, Use
from collabspace.api.manifest import DatasetFormat, TargetKind
from collabspace.cli import parameters, push, select, selection_manifest, tasks
from collabspace.cli.help_sections import SectionedCommand
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


def test_the_help_of_submit_begins_with_what_is_used_most_names_all_methods_and_ends_with_examples() -> None:
    text = collab("submit", "--help").stdout
    places = [text.index(word) for word in ("--task", "--method", "--dataset", "--set", "--watch", "--model", "--gpus")]
    assert places == sorted(places)
    for word in ("TokenClassification", "FullFineTuning", "LogisticRegression", "task/NAME|alias/NAME"):
        assert word in text
    assert text.index("Tasks and their methods:") < text.index("Examples:") < text.index("kubectl collab submit check")


@pytest.mark.parametrize("name", ["submit", "select"])
def test_every_option_stands_in_one_section_of_the_help(name: str) -> None:
    command = root.get_command(click.Context(root), name)
    assert isinstance(command, SectionedCommand)
    options = {each.opts[-1] for each in command.params if isinstance(each, click.Option)}
    placed = [each for names in command.sections.values() for each in names]
    assert options - set(placed) == {"--namespace", "--context", "--kubeconfig"}
    assert len(placed) == len(set(placed)) and set(placed) <= options


def test_an_example_of_the_help_of_select_is_a_selection_that_can_be_handed_in() -> None:
    text = select.EXAMPLES.partition("A file to begin with:\n")[2].partition("\nWith --watch")[0]
    document = yaml.safe_load(textwrap.dedent(text))
    document["metadata"]["namespace"] = "newsroom"
    assert selection_manifest.check(document, catalogue()).objective.tolerance == "0.02"


def test_parameters_are_listed_with_defaults_and_bounds_for_the_task_and_method_that_are_named() -> None:
    text = collab("submit", "--parameters").stdout
    for word in ("TokenClassification", "epochs=3", "entity_micro_f1", "WindowFeatures"):
        assert word in text
    one = collab("submit", "--task", "Tabular", "--method", "RandomForest", "--parameters").stdout
    assert "trees=200" in one and "epochs" not in one and "TokenClassification" not in one
    assert collab("submit", "--task", "Tabular", "--method", "LoRA", "--parameters").exit_code == 2


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
