"""`pull`: fetch a version of a dataset that the team may Download, every file checked by its hash."""

from pathlib import Path

import click

from collabspace.cli import suggest
from collabspace.cli.errors import CommandError
from collabspace.cli.options import Where, cluster_options
from collabspace.cli.parameters import DIGEST, ReferenceType


@click.command(short_help="Fetch a version of a dataset that the team may download.")
@click.argument("dataset", type=ReferenceType(), shell_complete=suggest.datasets)
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
    from collabspace.cli import fetching

    fetching.pull(where, dataset, folder, digest)
