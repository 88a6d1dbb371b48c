"""`list`, `get` and `wait`: where tasks and selections stand."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options, output_option
from collabspace.cli.output import OBJECT_FORMS
from collabspace.cli.parameters import DurationType, NameType, ReasonType, SubjectType

CONDITIONS = ("Accepted", "DataAuthorized", "Admitted", "Running", "Succeeded", "Stalled")


@click.command("list", short_help="List tasks with their state and reason.")
@click.option("-l", "--selector", help="Labels to select by, as team=nlp.")
@click.option(
    "--reason",
    type=ReasonType(),
    help="Only tasks that stand where they do for this reason.",
)
@click.option("--selections", is_flag=True, help="Selections instead of tasks.")
@click.option("-w", "--watch", is_flag=True, help="Go on showing changes.")
@cluster_options(all_namespaces=True)
@output_option("wide", *OBJECT_FORMS)
def list_tasks(
    where: Where, selector: str | None, reason: str | None, selections: bool, watch: bool, output: str | None
) -> None:
    """List tasks, or selections, with their state and reason."""
    from collabspace.cli import selection_views, task_views

    params = {"labelSelector": selector} if selector else {}
    if reason:
        params["fieldSelector"] = f"status.reason={reason}"
    if watch and output not in (None, "wide"):
        raise click.UsageError(f"-w prints rows and does not go with -o {output}")
    if selections and watch:
        raise click.UsageError("-w watches tasks; watch one selection: get selection/NAME -w")
    if selections:
        selection_views.show_list(where, params, output)
    elif watch:
        task_views.watch_list(where, params)
    else:
        task_views.show_list(where, params, output)


@click.command("get", short_help="Show one task or selection: steps, live progress, attempts, figures.")
@click.argument("subject", metavar="TASK|SELECTION", type=SubjectType(), shell_complete=suggest.tasks_and_selections)
@click.option("-w", "--watch", is_flag=True, help="Show it live until it has ended.")
@cluster_options()
@output_option(*OBJECT_FORMS)
def get_task(where: Where, subject: tuple[str | None, str], watch: bool, output: str | None) -> None:
    """Show one task with its steps, live progress, attempts and figures, or a selection with its leaderboard.

    Where both have the name, the task is meant; selection/NAME names the other.
    """
    from collabspace.cli import subjects

    if watch and output:
        raise click.UsageError(f"-w prints rows and does not go with -o {output}")
    if watch:
        subjects.watch(where, *subject)
    else:
        subjects.show(where, *subject, output)


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
