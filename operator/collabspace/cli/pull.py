"""`pull`: fetch a version of a dataset that the team may Download, every file checked by its hash."""

from pathlib import Path

import click

from collabspace.api import names
from collabspace.cli.broker import UPLOAD_PATIENCE_SECONDS, answers_explained, open_broker
from collabspace.cli.cluster import Cluster, run
from collabspace.cli.errors import CommandError, leaving
from collabspace.cli.options import Where, cluster_options
from collabspace.cli.output import short, size
from collabspace.cli.parameters import DIGEST, ReferenceType
from collabspace.client.client import BrokerClient


@click.command(short_help="Fetch a version of a dataset that the team may download.")
@click.argument("dataset", type=ReferenceType())
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--version", "digest", help="Digest of the version; else the current one.")
@cluster_options()
def pull(where: Where, dataset: tuple[str | None, str], folder: Path, digest: str | None) -> None:
    """Fetch DATASET (NAME, or NAMESPACE/NAME of another team) into FOLDER.

    Needs a grant with use Download when it is another team's; every fetch stands in the owner's ledger.
    A fetch that broke off goes on where it stopped when it is run again.
    """
    if digest is not None and not DIGEST.match(digest):
        raise CommandError(f"--version {digest[:80]!r} is no digest", "Give sha256: and 64 hexadecimal digits.")
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
