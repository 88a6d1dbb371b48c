"""`select`: hand in a comparison of models and methods on the same data."""

from pathlib import Path

import click

from collabspace.cli.help_sections import SectionedCommand
from collabspace.cli.options import Where, cluster_options

SECTIONS = {
    "Most used": ("--filename", "--watch", "--wait", "--dry-run"),
}
EXAMPLES = """
  # check the file here and at the API server, then hand it in and look on
  PROGRAM select -f selection.yaml --dry-run
  PROGRAM select -f selection.yaml --watch

  # afterwards: verdicts on the test split, and the winner's files
  PROGRAM compare sentiment
  PROGRAM pull model sentiment ./model

A file to begin with:

  apiVersion: collabspace.io/v1alpha1
  kind: ModelSelection
  metadata: {name: sentiment}
  spec:
    task: TextClassification
    datasets:
      - {name: opinions, datasetRef: {namespace: press, name: opinions}, role: Train}
    objective: {metric: accuracy, tolerance: "0.02"}      # within 0.02 of the best the cheapest wins
    candidates:
      - {name: linear, method: LogisticRegression}
      - name: lora
        method: LoRA
        modelFrom: {kind: SharedDataset, namespace: film-archive, name: minilm}   # or CollabTask, Alias
    budget: {cpuSeconds: 1500}
    promotion: {alias: sentiment, mode: Manual}           # Automatic sets it without asking

With --watch or --wait the exit code is 0 when it has a winner and 1 when it ended without one."""


@click.command(
    cls=SectionedCommand,
    short_help="Compare models and methods on the same data, and choose one.",
    sections=SECTIONS,
    examples=EXAMPLES,
)
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
    """Hand in the ModelSelection of a file: its candidates train on the same versions and splits, the best is named."""
    from collabspace.cli import selecting

    selecting.select(where, filename, dry_run, follow)
