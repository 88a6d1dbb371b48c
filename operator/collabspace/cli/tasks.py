"""`list`, `get` and `wait`: where tasks stand."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options, output_option
from collabspace.cli.output import OBJECT_FORMS
from collabspace.cli.parameters import DurationType, NameType, ReasonType

CONDITIONS = ("Accepted", "DataAuthorized", "Admitted", "Running", "Succeeded", "Stalled")


@click.command("list", short_help="List tasks with their state and reason.")
@click.option("-l", "--selector", help="Labels to select by, as team=nlp.")
@click.option(
    "--reason",
    type=ReasonType(),
    help="Only tasks that stand where they do for this reason.",
)
@click.option("-w", "--watch", is_flag=True, help="Go on showing changes.")
@cluster_options(all_namespaces=True)
@output_option("wide", *OBJECT_FORMS)
def list_tasks(where: Where, selector: str | None, reason: str | None, watch: bool, output: str | None) -> None:
    """List tasks with their state and reason."""
    from collabspace.cli import task_views

    params = {"labelSelector": selector} if selector else {}
    if reason:
        params["fieldSelector"] = f"status.reason={reason}"
    if watch and output not in (None, "wide"):
        raise click.UsageError(f"-w prints rows and does not go with -o {output}")
    if watch:
        task_views.watch_list(where, params)
    else:
        task_views.show_list(where, params, output)


@click.command("get", short_help="Show one task: steps, live progress, attempts, figures.")
@click.argument("task", type=NameType(), shell_complete=suggest.tasks)
@click.option("-w", "--watch", is_flag=True, help="Show it live until it has ended.")
@cluster_options()
@output_option(*OBJECT_FORMS)
def get_task(where: Where, task: str, watch: bool, output: str | None) -> None:
    """Show one task: steps, live progress, attempts, figures."""
    from collabspace.cli import task_views

    if watch and output:
        raise click.UsageError(f"-w prints rows and does not go with -o {output}")
    if watch:
        task_views.watch_one(where, task)
    else:
        task_views.show_one(where, task, output)


@click.command(short_help="Block until a task has ended or a condition holds.")
@click.argument("task", type=NameType(), shell_complete=suggest.tasks)
@click.option(
    "--for",
    "wanted",
    default="Succeeded",
    show_default=True,
    help="Condition to wait for.",
    type=click.Choice(CONDITIONS, case_sensitive=False),
)
@click.option("--timeout", type=DurationType(), help="Give up after so long, as 90s or 10m; else never.")
@cluster_options()
@click.pass_context
def wait(context: click.Context, where: Where, task: str, wanted: str, timeout: int | None) -> None:
    """Block until TASK has ended or a condition holds.

    Exit code 0: it holds. 1: the task ended otherwise or is not there. 124: the time is over.
    """
    from collabspace.cli import waiting

    context.exit(waiting.wait(where, task, wanted, timeout))
