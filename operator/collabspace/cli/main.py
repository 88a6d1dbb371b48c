"""The root of the command line. Sub-commands are imported when they are called, so that help comes at once."""

import sys
from collections.abc import MutableMapping, Sequence
from importlib import import_module
from pathlib import PurePath
from typing import Any

import click
from click.shell_completion import CompletionItem

from collabspace.cli.errors import EXIT_INTERRUPTED, EXIT_USAGE, CommandError, Interrupted

# Name: module, attribute in it, and the first line of its help (a test keeps it equal to the command's own).
COMMANDS: dict[str, tuple[str, str, str]] = {
    "local": ("local_commands", "local", "Run a whole cluster on this machine."),
    "teams": ("teams", "teams", "Set up namespaces as teams with a quota."),
    "push": ("push", "push", "Check a file or folder and publish it as a new version of a dataset."),
    "pull": ("pull", "pull", "Fetch a dataset that the team may download, or a model of its own."),
    "grants": ("grants", "grants", "Say who may use a dataset, for what and until when."),
    "submit": ("submit", "submit", "Hand in a training task."),
    "select": ("select", "select", "Compare models and methods on the same data, and choose one."),
    "compare": (
        "compare",
        "compare",
        "Show a selection's leaderboard, its verdicts on the test split, and what they cost.",
    ),
    "promote": (
        "promote",
        "promote",
        "Let an alias stand for a winner, for a task's model, or for what it was before.",
    ),
    "publish-model": ("publish_model", "publish_model", "Publish a stored model as a dataset of format Model."),
    "suspend": ("control", "suspend", "Stop a task after a checkpoint and free its GPUs, until it is resumed."),
    "resume": ("control", "resume", "Let a suspended task go on from its newest checkpoint."),
    "priority": ("control", "priority", "Change the priority of a task that waits."),
    "cancel": ("control", "cancel", "Stop a task for good and delete it with its checkpoints."),
    "list": ("tasks", "list_tasks", "List tasks, selections, aliases, or the datasets that the team may use."),
    "get": ("tasks", "get_task", "Show one task or selection: steps, live progress, attempts, figures."),
    "why": ("why", "why", "Answer in plain words why a task stands where it does, with the next command."),
    "logs": ("logs", "logs", "Print what the trainer of a task wrote."),
    "wait": ("tasks", "wait", "Block until a task has ended or a condition holds."),
    "report": ("report_command", "report", "Show what a finished task measured."),
    "ledger": ("ledger", "ledger", "See and verify the record of every use of data."),
    "admin": ("admin", "admin", "Look after what is stored, as an admin of the cluster."),
    "version": ("version", "version", "Print the release."),
}


class Root(click.Group):
    """The top: knows its commands by name without importing them, and turns every failure into one line."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        found: click.Command = getattr(import_module(f"collabspace.cli.{module}"), attribute)
        return found

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Names and first lines of help as above, so that a press of Tab imports no command."""
        offered = [
            CompletionItem(name, help=text) for name, (_, _, text) in COMMANDS.items() if name.startswith(incomplete)
        ]
        return offered or click.Command.shell_complete(self, context, incomplete)

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As Click's, but failures are one line on stderr with our exit codes; always ends in SystemExit."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        sys.exit(self._code(args, prog_name, complete_var, extra))

    def _code(
        self, args: Sequence[str] | None, name: str | None, complete_var: str | None, extra: MutableMapping[str, Any]
    ) -> int:
        try:
            answer = super().main(args, name, complete_var, False, **extra)
        except click.exceptions.NoArgsIsHelpError as asked:
            click.echo(asked.format_message())
            return 0
        except click.UsageError as error:
            return _usage(error)
        except click.ClickException as error:
            click.echo(f"error: {error.format_message()}", err=True)
            return error.exit_code
        except CommandError as error:
            click.echo(str(error), err=True)
            return error.exit_code
        except Interrupted as interrupt:
            click.echo(f"\nStopped watching. {interrupt}", err=True)
            return EXIT_INTERRUPTED
        except click.Abort:
            click.echo("Interrupted.", err=True)
            return EXIT_INTERRUPTED
        return answer if isinstance(answer, int) else 0


def _usage(error: click.UsageError) -> int:
    path = error.ctx.command_path if error.ctx else "kubectl collab"
    what = error.format_message().rstrip(".")
    click.echo(f"error: {what}. See {path} --help.", err=True)
    return EXIT_USAGE


def program_name(argv0: str) -> str:
    """kubectl runs a plugin as `kubectl-collab`; its help must show what the person typed."""
    return "kubectl collab" if PurePath(argv0).name.startswith("kubectl-") else "collabspace"


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def root() -> None:
    """Train models together: share data under grants, hand out tasks, see every use on record.

    Shell completion: kubectl completes by itself (kubectl 1.26 and newer); for collabspace see the completion of Click:
    eval "$(_COLLABSPACE_COMPLETE=bash_source collabspace)".
    """


def main() -> None:
    """Entry point of `collabspace` and `kubectl-collab`."""
    root.main(prog_name=program_name(sys.argv[0]))
