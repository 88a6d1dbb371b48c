"""`ledger`: the record of every use of data."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options, output_option
from collabspace.cli.parameters import NameType, ReferenceType, WholeNumber


@click.group(short_help="See and verify the record of every use of data.")
def ledger() -> None:
    """See and verify the record of every use of data: what your namespace did, and what was done with its datasets."""


@ledger.command("list")
@click.argument("dataset", type=NameType(), required=False, shell_complete=suggest.datasets)
@click.option("--task", type=ReferenceType(), help="Only what this task did.", shell_complete=suggest.tasks)
@click.option("--denied", is_flag=True, help="Only what was refused.")
@click.option("--limit", type=WholeNumber(1, 100_000), default=50, show_default=True, help="How many, newest first.")
@cluster_options()
@output_option("wide", "json", "yaml")
def list_records(
    where: Where, dataset: str | None, task: tuple[str | None, str] | None, denied: bool, limit: int, output: str | None
) -> None:
    """List records, newest first. The namespace is proven, the person claimed, bytes are as the broker counted."""
    from collabspace.cli import records

    records.show(where, records.Choice(dataset, task, denied, limit), output)


@ledger.command()
@click.argument("dataset", type=NameType(), required=False, shell_complete=suggest.datasets)
@cluster_options()
@output_option("json", "yaml")
def verify(where: Where, dataset: str | None, output: str | None) -> None:
    """Check that no record was edited, removed or moved, in every chain that you may see or in that of DATASET.

    Exit code 1 when a chain is broken; the first bad record is named.
    """
    from collabspace.cli import records

    records.verify(where, dataset, output)
