"""`submit`: hand in a task, from flags or from a file."""

from pathlib import Path
from typing import Any

import click

from collabspace.cli import suggest
from collabspace.cli.help_sections import SectionedCommand
from collabspace.cli.options import Where, cluster_options
from collabspace.cli.parameters import (
    BudgetType,
    DatasetType,
    DurationType,
    GateType,
    ModelSourceType,
    NameType,
    SettingType,
    WholeNumber,
)

SECTIONS = {
    "Most used": ("--task", "--method", "--dataset", "--set", "--watch"),
    "What to start from": ("--model", "--random-init", "--seed", "--like", "--filename"),
    "What it may take": (
        "--gpus", "--cpu", "--memory", "--budget", "--max-attempts", "--deadline", "--pending-deadline", "--priority",
    ),
    "What becomes of it": ("--gate", "--ttl", "--wait", "--logs"),
    "Look first": ("--dry-run", "--parameters"),
}  # fmt: skip
EXAMPLES = """
  # two hospitals' notes, a small encoder from random weights, watched until it has ended
  PROGRAM submit diseases --task TokenClassification --method FullFineTuning --random-init \\
    --dataset hospital-a/notes --dataset hospital-b/notes --gpus 1 --set epochs=5 --watch

  # fine-tune weights of another team; then what an alias stands for
  PROGRAM submit tuned --task TextClassification --method LoRA --dataset opinions --model film-archive/minilm
  PROGRAM submit tuned-2 --like tuned --model alias/sentiment --set epochs=1

  # measure the stored model of a task on other data; nothing is learned
  PROGRAM submit check --task TextClassification --method Evaluation --model task/tuned --dataset press/opinions

  # which parameters has a method?
  PROGRAM submit --task Tabular --method RandomForest --parameters

With --watch, --wait or --logs the exit code is 0 when every task succeeded and 1 when one ended badly."""


class SubmitCommand(SectionedCommand):
    """Its help names what the trainer can do, before the examples."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        from collabspace.api.catalogue import catalogue
        from collabspace.cli.catalogue_text import methods_of_tasks

        with formatter.section("Tasks and their methods"):
            formatter.write_dl(methods_of_tasks(catalogue()))
        super().format_epilog(context, formatter)


@click.command(cls=SubmitCommand, short_help="Hand in a training task.", sections=SECTIONS, examples=EXAMPLES)
@click.argument("name", required=False, type=NameType())
@click.option(
    "-f",
    "--filename",
    help="YAML of one or more CollabTasks; - reads stdin. Instead of NAME and flags.",
    type=click.Path(path_type=Path, allow_dash=True),
)
@click.option(
    "--like",
    type=NameType(),
    metavar="TASK",
    help="Copy this task of the namespace; other flags change what they say.",
    shell_complete=suggest.tasks,
)
@click.option("--task", help="What is learned; the tasks stand below.", shell_complete=suggest.learned)
@click.option("--method", help="How it is learned; the methods stand below.", shell_complete=suggest.methods)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    type=DatasetType(),
    metavar="[LABEL=][NS/]NAME[:ROLE][@DIGEST]",
    help="Data; repeat it for several. Role: train or evaluate; unsaid, train, with --method Evaluation evaluate.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    type=SettingType(),
    metavar="KEY=VALUE",
    help="A parameter of the method, such as learningRate=1e-4; repeat it.",
)
@click.option(
    "--model",
    type=ModelSourceType(),
    metavar="[NS/]NAME|task/NAME|alias/NAME",
    help="Model to start from, or to measure with --method Evaluation: a dataset of format Model, or of the own team "
    "the stored result of a task or what an alias stands for.",
)
@click.option("--random-init", is_flag=True, help="Start from random weights.")
@click.option("--seed", metavar="N", type=WholeNumber(0, 2**31 - 1), help="Seed of every random choice.")
@click.option("--priority", metavar="N", type=WholeNumber(-1000, 1000), help="Higher goes first.")
@click.option(
    "--gate",
    "gates",
    multiple=True,
    type=GateType(),
    metavar="'METRIC>=FLOOR'",
    help="Below this floor the task ends with GateNotMet, its result kept; repeat it.",
)
@click.option(
    "--budget",
    "budget",
    multiple=True,
    type=BudgetType(),
    metavar="gpu|cpu=TIME",
    help="The most to spend over all attempts, as gpu=2h (one GPU for two hours); repeat it.",
)
@click.option(
    "--max-attempts", metavar="N", type=WholeNumber(1, 10), help="Failed attempts after which the task ends; default 3."
)
@click.option(
    "--deadline", type=DurationType(), help="The most that all attempts together may run, as 90s, 30m, 2h, 7d."
)
@click.option("--pending-deadline", type=DurationType(), help="The longest wait for the first attempt, as 12h.")
@click.option("--ttl", type=DurationType(), help="Delete the task and its result so long after its end, as 7d.")
@click.option("--cpu", help="CPUs of the trainer, as 2 or 500m.")
@click.option("--memory", help="Memory of the trainer, as 4Gi.")
@click.option("--gpus", metavar="N", type=WholeNumber(0, 9999), help="GPUs of the trainer.")
@click.option("--dry-run", is_flag=True, help="Check here and at the API server, print the YAML, create nothing.")
@click.option(
    "--parameters",
    is_flag=True,
    help="Print the methods with all parameters, their defaults and bounds (those of --task and --method, if given), "
    "and do nothing else.",
)
@click.option("--watch", "follow", flag_value="watch", help="Show it live until it has ended.")
@click.option("--wait", "follow", flag_value="wait", help="Say nothing until it has ended.")
@click.option("--logs", "follow", flag_value="logs", help="Print the trainer's log until it has ended.")
@cluster_options()
def submit(
    where: Where,
    name: str | None,
    filename: Path | None,
    dry_run: bool,
    parameters: bool,
    follow: str | None,
    **flags: Any,
) -> None:
    """Hand in a training task NAME, or those of a file."""
    if parameters:
        from collabspace.api.catalogue import catalogue
        from collabspace.cli.catalogue_text import catalogue_text

        found = catalogue_text(catalogue(), flags["task"], flags["method"])
        if not found:
            raise click.UsageError("no task has such a method; leave --task and --method away to see all")
        click.echo(found)
        return
    from collabspace.cli import submission

    submission.submit(where, name, filename, submission.How(dry_run, follow), flags)
