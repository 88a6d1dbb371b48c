"""`pull`: fetch a version of a dataset that the team may Download, or a model of its own, every file checked."""

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from collabspace.cli import suggest
from collabspace.cli.errors import CommandError
from collabspace.cli.options import Where, cluster_options
from collabspace.cli.parameters import DIGEST, ModelType, ReferenceType

DEFAULT = "dataset"


class PullGroup(click.Group):
    """`pull NAME FOLDER` is `pull dataset NAME FOLDER`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *context.help_option_names):
            args = [DEFAULT, *args]
        return super().parse_args(context, args)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return super().get_command(context, name) or super().get_command(context, DEFAULT)

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        chosen = next(each for each in self.commands[DEFAULT].params if each.name == DEFAULT)
        return [*super().shell_complete(context, incomplete), *suggest.datasets(context, chosen, incomplete)]


@click.group(cls=PullGroup, short_help="Fetch a dataset that the team may download, or a model of its own.")
def pull() -> None:
    """Fetch a dataset that the team may download, or a model of its own: pull DATASET FOLDER, pull model NAME FOLDER.

    A fetch that broke off goes on where it stopped when it is run again.
    """


@pull.command(short_help="Fetch a version of a dataset (the word may be left out).")
@click.argument("dataset", type=ReferenceType(), shell_complete=suggest.datasets)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--version", "digest", help="Digest of the version; else the current one.")
@cluster_options()
def dataset(where: Where, dataset: tuple[str | None, str], folder: Path, digest: str | None) -> None:
    """Fetch DATASET (NAME, or NAMESPACE/NAME of another team) into FOLDER.

    Needs a grant with use Download when it is another team's; every fetch stands in the owner's ledger.
    """
    if digest is not None and not DIGEST.match(digest):
        raise CommandError(f"--version {digest[:80]!r} is no digest", "Give sha256: and 64 hexadecimal digits.")
    from collabspace.cli import fetching

    fetching.pull(where, dataset, folder, digest)


@pull.command(short_help="Fetch the model that an alias stands for, or that a task has stored.")
@click.argument("model", metavar="ALIAS|TASK", type=ModelType(), shell_complete=suggest.tasks)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--force", is_flag=True, help="Replace another model, or a dataset, that was pulled into FOLDER.")
@cluster_options()
def model(where: Where, model: tuple[str | None, str], folder: Path, force: bool) -> None:
    """Fetch the model that an alias of the namespace stands for, or that a task has stored, into FOLDER.

    It comes with its report, without predictions. alias/NAME and task/NAME tell one from the other. A folder into which
    something else was pulled is left as it is, unless --force is given.
    """
    from collabspace.cli import stored_models

    stored_models.pull(where, model, folder, force=force)
