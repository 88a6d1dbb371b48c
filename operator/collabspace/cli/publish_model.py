"""`publish-model`: a stored model becomes a dataset of format Model, with its parents on record."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options
from collabspace.cli.parameters import ModelType, NameType


@click.command("publish-model", short_help="Publish a stored model as a dataset of format Model.")
@click.argument("model", metavar="ALIAS|TASK", type=ModelType(), shell_complete=suggest.tasks)
@click.option(
    "--as", "dataset", required=True, type=NameType(), help="SharedDataset to publish it as; made if missing."
)
@cluster_options()
def publish_model(where: Where, model: tuple[str | None, str], dataset: str) -> None:
    """Publish what an alias stands for, or what a task has stored, as a dataset that can be granted like any other.

    Only encoders can be published: whole weights with their tokenizer, as full fine-tuning stores them.

    Every owner of data that it learned from must have granted Derive to this namespace; own data need no grant.
    While one of them takes that back, nobody can read the published model.
    """
    from collabspace.cli import stored_models

    stored_models.publish(where, model, dataset)
