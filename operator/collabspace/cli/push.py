"""`push`: check a file or folder and publish it as a new version of a dataset."""

from pathlib import Path
from typing import Any

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options
from collabspace.cli.parameters import NameType

FORMATS = ("TokenClassification", "TextClassification", "Tabular", "Model")
TARGET_KINDS = ("Class", "Number")
TAG_SCHEMES = ("iob2", "iob1", "bioes")
ON_REVOKE = ("Stop", "Finish")
DELETION_POLICIES = ("Retain", "Delete")
POLICIES = {"on_revoke": "onRevoke", "deletion_policy": "deletionPolicy"}


@click.command(short_help="Check a file or folder and publish it as a new version of a dataset.")
@click.argument("dataset", type=NameType(), shell_complete=suggest.datasets)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--create", is_flag=True, help="Make the SharedDataset when it is not there; needs --format.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS, case_sensitive=False),
    help="What the data is, with --create.",
)
@click.option("--target", help="Column to predict, with --create and Tabular.")
@click.option(
    "--target-kind",
    type=click.Choice(TARGET_KINDS, case_sensitive=False),
    default="Class",
    show_default=True,
    help="Class: a category. Number: a quantity.",
)
@click.option(
    "--tags",
    type=click.Choice(TAG_SCHEMES),
    default="iob2",
    show_default=True,
    help="How entities are tagged in CoNLL files; stored as iob2.",
)
@click.option(
    "--on-revoke",
    type=click.Choice(ON_REVOKE, case_sensitive=False),
    help="With --create: what running tasks of a revoked grant do. Default Stop.",
)
@click.option(
    "--deletion-policy",
    type=click.Choice(DELETION_POLICIES, case_sensitive=False),
    help="With --create: what becomes of the stored versions when the dataset is deleted. Default Retain.",
)
@click.option("--dry-run", is_flag=True, help="Check and count only; publish and create nothing.")
@cluster_options()
def push(where: Where, dataset: str, path: Path, **flags: Any) -> None:
    """Check PATH, a file or folder, and publish it as a new version of DATASET.

    Files are split into train, validation and test by words in their names, or by a hash of each record.
    Pushing the same data again changes nothing.
    """
    wished = _wished(flags)
    from collabspace.cli import publishing

    publishing.push(where, dataset, path, publishing.Wish(wished, flags["tags"], flags["dry_run"]))


def _wished(flags: dict[str, Any]) -> dict[str, Any] | None:
    """The spec of a dataset to be made; None when --create was not given."""
    if not flags["create"]:
        if any(flags[name] for name in ("format_name", "target", *POLICIES)):
            wrong = "--format, --target, --on-revoke and --deletion-policy describe a new dataset; add --create"
            raise click.UsageError(f"{wrong}, or change one that is there: kubectl edit shareddataset NAME")
        return None
    if not flags["format_name"]:
        raise click.UsageError("--create needs --format")
    spec: dict[str, Any] = {"format": flags["format_name"]}
    spec |= {field: flags[name] for name, field in POLICIES.items() if flags[name]}
    if flags["format_name"] == "Tabular":
        if not flags["target"]:
            raise click.UsageError("--format Tabular needs --target COLUMN")
        spec["contract"] = {"target": {"column": flags["target"], "kind": flags["target_kind"]}}
    return spec
