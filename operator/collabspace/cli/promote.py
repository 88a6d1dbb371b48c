"""`promote`: an alias of the namespace stands for a model, by a person's decision."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options
from collabspace.cli.parameters import NameType, SubjectType


@click.command(short_help="Let an alias stand for a winner, for a task's model, or for what it was before.")
@click.argument(
    "subject",
    metavar="[SELECTION|TASK]",
    required=False,
    type=SubjectType(),
    shell_complete=suggest.tasks_and_selections,
)
@click.option("--alias", type=NameType(), help="The alias; of a selection's winner the one in its spec, unless said.")
@click.option("--to-previous", is_flag=True, help="Back to what the alias stood for before; instead of a name.")
@cluster_options()
def promote(where: Where, subject: tuple[str | None, str] | None, alias: str | None, to_previous: bool) -> None:
    """Let an alias stand for the winner of SELECTION or for the model of TASK.

    \b
    promote sentiment                            the winner, under the alias in the selection's spec
    promote linear-7 --alias production          the model of a task
    promote --alias production --to-previous     back to what it was before, also when that task is gone

    The broker reads the whole model first; what others set meanwhile is never overwritten.
    """
    if to_previous == (subject is not None):
        raise click.UsageError("give a selection or a task, or --to-previous, one of them")
    if to_previous and alias is None:
        raise click.UsageError("--to-previous needs --alias")
    from collabspace.cli import promotion

    if subject is None:
        promotion.to_previous(where, str(alias))
    else:
        promotion.promote(where, *subject, alias)
