"""`report`: what a finished task measured."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options
from collabspace.cli.parameters import NameType


@click.command(short_help="Show what a finished task measured.")
@click.argument("task", type=NameType(), shell_complete=suggest.tasks)
@click.option("--file", "file_name", help="Print this file of the result instead, such as report.txt or curve.jsonl.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output.")
@cluster_options()
def report(where: Where, task: str, file_name: str | None, output: str) -> None:
    """Show what finished TASK measured: entities or classes, unseen ones, each owner's figures and losses.

    Nothing is shown per record: counts and predictions of single records stay with the broker.
    """
    from collabspace.cli import results

    results.show(where, task, file_name, output)
