"""`compare`: the leaderboard of a selection, its verdicts, and how to read them."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options
from collabspace.cli.parameters import NameType


@click.command(short_help="Show a selection's leaderboard, its verdicts on the test split, and what they cost.")
@click.argument("selection", type=NameType(), shell_complete=suggest.selections)
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", help="Form of the output.")
@cluster_options()
def compare(where: Where, selection: str, output: str) -> None:
    """Show how the candidates of SELECTION compare: ranks, cost, winner against champion and best baseline."""
    from collabspace.cli import selection_views

    selection_views.compare(where, selection, output)
