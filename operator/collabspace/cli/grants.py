"""`grants`: the owner's say over who may use a dataset, for what and until when."""

from typing import Any

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options, output_option
from collabspace.cli.parameters import NameType, UseType


@click.group(short_help="Say who may use a dataset, for what and until when.")
def grants() -> None:
    """Say who may use a dataset, for what and until when. Only the dataset's own namespace can say it."""


@grants.command("list")
@click.argument("dataset", type=NameType(), required=False, shell_complete=suggest.datasets)
@cluster_options(all_namespaces=True)
@output_option("wide", "json", "yaml")
def list_grants(where: Where, dataset: str | None, output: str | None) -> None:
    """List the grants on one dataset or on all of the namespace."""
    from collabspace.cli import granting

    granting.show(where, dataset, output)


@grants.command()
@click.argument("dataset", type=NameType(), shell_complete=suggest.datasets)
@click.option(
    "--to", required=True, type=NameType(), help="Namespace (team) to let in.", shell_complete=suggest.namespaces
)
@click.option(
    "--use",
    "uses",
    multiple=True,
    type=UseType(),
    help="What for; repeat it for several. Train and Evaluate: by trainer pods only.",
)
@click.option(
    "--until",
    help="Last day (2026-12-31), moment (RFC 3339) or length (30d); 'never' removes the end. "
    "Default of a new grant: no end.",
)
@click.option("--shorten", is_flag=True, help="Let --until be sooner than the end that the grant has.")
@click.option("--purpose", help="What for, in words; it stands in the ledger.")
@click.option("--agreement", help="Reference of the contract or decision behind it.")
@click.option("--name", "grant_name", type=NameType(), help="Name of the grant; else the namespace's name.")
@click.option("--namespace-uid", help="uid of the namespace, when you may not read it yourself.")
@cluster_options()
def add(where: Where, dataset: str, to: str, **typed: Any) -> None:
    """Grant DATASET to a namespace, or add uses and a later end to a grant that is there.

    The grant binds to the namespace as it is now: one that is deleted and made again gets nothing. A sooner end needs
    --shorten: tasks that run on the grant lose their data at that moment.
    """
    if typed["shorten"] and typed["until"] is None:
        raise click.UsageError("--shorten goes with --until, which says the sooner end")
    from collabspace.cli import granting

    granting.add(where, dataset, to, typed)


@grants.command()
@click.argument("dataset", type=NameType(), shell_complete=suggest.datasets)
@click.argument("name", type=NameType(), required=False)
@click.option("--to", type=NameType(), help="Every grant to this namespace.", shell_complete=suggest.namespaces)
@cluster_options()
def revoke(where: Where, dataset: str, name: str | None, to: str | None) -> None:
    """Take back a grant on DATASET, by its NAME or by the namespace it was given to.

    New reads are refused at once. Tasks that run on it are stopped, or go on where the dataset says onRevoke Finish.
    """
    if (name is None) == (to is None):
        raise click.UsageError("give the grant's NAME or --to NAMESPACE, one of them")
    from collabspace.cli import granting

    granting.revoke(where, dataset, name, to)
