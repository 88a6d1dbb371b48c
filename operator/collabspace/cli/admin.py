"""`admin`: what only admins of the whole platform may do."""

import click

from collabspace.cli.options import Where, cluster_options
from collabspace.cli.parameters import ReferenceType


@click.group(short_help="Look after what is stored, as an admin of the cluster.")
def admin() -> None:
    """Look after what is stored, as an admin of the cluster: needs leave to mint tokens in the platform's namespace."""


@admin.command()
@click.argument("dataset", type=ReferenceType())
@click.option("--from-uid", required=True, metavar="UID", help="metadata.uid of the SharedDataset that is gone.")
@cluster_options()
def rebind(where: Where, dataset: tuple[str | None, str], from_uid: str) -> None:
    """Give DATASET (NAMESPACE/NAME) the stored versions of one that was deleted or restored under another uid.

    DATASET must exist, have the same format and no versions of its own. Its own grants decide who may use them.
    """
    from collabspace.api import names
    from collabspace.cli.broker import answers_explained, connect
    from collabspace.cli.errors import command

    namespace, name = dataset
    if namespace is None:
        raise click.UsageError("DATASET: give NAMESPACE/NAME, so that no dataset is taken by accident")
    client = connect(where, names.ADMIN_ACCOUNT, namespace=names.SYSTEM_NAMESPACE)
    with client, answers_explained():
        rebound = client.rebind(namespace, name, from_uid)
    click.echo(f"{namespace}/{name} has {rebound.versions} version(s) of {from_uid}.")
    click.echo(f"Its grants: {command(f'grants list {name} -n {namespace}')}")
