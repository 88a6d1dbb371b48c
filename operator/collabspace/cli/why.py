"""`why`: one plain answer to where a task or a selection stands, with the exact next command."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options, output_option
from collabspace.cli.parameters import SubjectType


@click.command(short_help="Answer in plain words why a task stands where it does, with the next command.")
@click.argument("subject", metavar="TASK|SELECTION", type=SubjectType(), shell_complete=suggest.tasks_and_selections)
@cluster_options()
@output_option("json", "yaml")
def why(where: Where, subject: tuple[str | None, str], output: str | None) -> None:
    """Answer in plain words why a task, or a selection, stands where it does, with the next command."""
    from collabspace.cli import subjects

    subjects.explain(where, *subject, output)
