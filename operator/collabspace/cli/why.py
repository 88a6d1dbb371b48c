"""`why`: one plain answer to where a task stands, with the exact next command."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options, output_option
from collabspace.cli.parameters import NameType


@click.command(short_help="Answer in plain words why a task stands where it does, with the next command.")
@click.argument("task", type=NameType(), shell_complete=suggest.tasks)
@cluster_options()
@output_option("json", "yaml")
def why(where: Where, task: str, output: str | None) -> None:
    """Answer in plain words why TASK stands where it does, with the next command."""
    from collabspace.cli import diagnosis

    diagnosis.show(where, task, output)
