"""`select`: hand in a comparison of models and methods on the same data."""

from pathlib import Path

import click

from collabspace.cli.options import Where, cluster_options


@click.command(short_help="Compare models and methods on the same data, and choose one.")
@click.option(
    "-f",
    "--filename",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="YAML of a ModelSelection; - reads stdin.",
)
@click.option("--dry-run", is_flag=True, help="Check here and at the API server, print the YAML, create nothing.")
@click.option("--watch", "follow", flag_value="watch", help="Show the leaderboard live until it has ended.")
@click.option("--wait", "follow", flag_value="wait", help="Say nothing until it has ended.")
@cluster_options()
def select(where: Where, filename: Path, dry_run: bool, follow: str | None) -> None:
    """Hand in the ModelSelection of a file: its candidates train on the same versions and splits, the best is named.

    With --watch or --wait the exit code is 0 when it has a winner and 1 when it ended without one.
    """
    from collabspace.cli import selecting

    selecting.select(where, filename, dry_run, follow)
