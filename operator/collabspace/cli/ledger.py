"""`ledger`: the record of every use of data."""

import datetime as dt
from pathlib import Path
from typing import Any

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options, output_option
from collabspace.cli.parameters import ReferenceType, WholeNumber, duration_seconds


class MomentType(click.ParamType[dt.datetime]):
    """A date, a time with its zone, or how long ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> dt.datetime:
        from collabspace.kube import clock

        text = str(value)
        ago = duration_seconds(text)
        try:
            if ago is not None:
                return clock.now() - dt.timedelta(seconds=ago)
            moment = dt.datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            self.fail(f"{text[:40]!r}: give 2026-01-31, 2026-01-31T08:00:00Z or how long ago, as in 7d", param, context)


@click.group(short_help="See and verify the record of every use of data.")
def ledger() -> None:
    """See and verify the record of every use of data: what your namespace did, and what was done with its datasets."""


@ledger.command("list")
@click.argument("dataset", type=ReferenceType(), required=False, shell_complete=suggest.datasets)
@click.option("--task", type=ReferenceType(), help="Only what this task did.", shell_complete=suggest.tasks)
@click.option("--denied", is_flag=True, help="Only what was refused.")
@click.option("--limit", type=WholeNumber(1, 100_000), default=50, show_default=True, help="How many, newest first.")
@cluster_options()
@output_option("wide", "json", "yaml")
def list_records(
    where: Where,
    dataset: tuple[str | None, str] | None,
    task: tuple[str | None, str] | None,
    denied: bool,
    limit: int,
    output: str | None,
) -> None:
    """List records, newest first. The namespace is proven, the person claimed, bytes are as the broker counted.

    DATASET is a dataset of the namespace; of another team's, as NAMESPACE/NAME, it is what your namespace did with it.
    """
    from collabspace.cli import records

    records.show(where, records.Choice(dataset, task, denied, limit), output)


@ledger.command()
@click.argument("dataset", type=ReferenceType(), required=False, shell_complete=suggest.datasets)
@cluster_options()
@output_option("json", "yaml")
def verify(where: Where, dataset: tuple[str | None, str] | None, output: str | None) -> None:
    """Check that no record was edited, removed or moved, in every chain that you may see or in that of DATASET.

    Each dataset has a chain of records, and one chain holds all that is about no dataset. A chain cut off at its end is
    found by the head that the dataset's own status shows. Exit code 1 when a chain is broken; the first bad record is
    named.
    """
    from collabspace.cli import records

    records.verify(where, dataset, output)


@ledger.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(("openlineage", "jsonl")),
    default="openlineage",
    show_default=True,
    help="OpenLineage run events, or the records as `ledger list -o json` shows them.",
)
@click.option("--since", type=MomentType(), help="Only what happened from then on: a date, a time, or 7d.")
@click.option("--output", "file", type=click.Path(path_type=Path, dir_okay=False), help="File to write; else stdout.")
@cluster_options()
def export(where: Where, form: str, since: dt.datetime | None, file: Path | None) -> None:
    """Write the records that you may see, oldest first, one JSON document per line.

    OpenLineage: one run per attempt of a task, its input and output with their versions. What no attempt did (pushes,
    downloads, refusals) is in jsonl only.
    """
    from collabspace.cli import records

    records.export(where, form, since, file)
