"""`logs`: what the trainer of a task wrote."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options
from collabspace.cli.parameters import NameType, WholeNumber


@click.command(short_help="Print what the trainer of a task wrote.")
@click.argument("task", type=NameType(), shell_complete=suggest.tasks)
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended, over all attempts.")
@click.option("--attempt", type=WholeNumber(1), help="Which attempt; else the newest.")
@cluster_options()
def logs(where: Where, task: str, follow: bool, attempt: int | None) -> None:
    """Print what the trainer of TASK wrote."""
    from collabspace.cli import trainer_logs

    trainer_logs.show(where, task, attempt, follow=follow)
