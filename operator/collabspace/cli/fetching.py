"""A version fetched from the broker into a folder."""

from pathlib import Path

import click

from collabspace.api import names
from collabspace.cli.broker import UPLOAD_PATIENCE_SECONDS, answers_explained, open_broker
from collabspace.cli.cluster import Cluster, run
from collabspace.cli.errors import leaving
from collabspace.cli.options import Where
from collabspace.cli.output import short, size
from collabspace.client.client import BrokerClient


def pull(where: Where, dataset: tuple[str | None, str], folder: Path, digest: str | None) -> None:
    """Fetches a version (None: the current one) of a dataset of this or another namespace into `folder`."""
    namespace, client = run(where, lambda cluster: _open(cluster, dataset[0]))
    name = dataset[1]
    with client, answers_explained(), leaving(f"What was fetched stays in {folder}; run the command again to go on."):
        manifest = client.fetch_dataset(namespace, name, digest, folder)
    click.echo(
        f"{namespace}/{name}: {len(manifest.files)} files, {size(manifest.size)}, "
        f"version {short(manifest.digest)} in {folder}"
    )


async def _open(cluster: Cluster, owner: str | None) -> tuple[str, BrokerClient]:
    client = await open_broker(cluster, names.READER_ACCOUNT, patience=UPLOAD_PATIENCE_SECONDS)
    return owner or cluster.namespace, client
