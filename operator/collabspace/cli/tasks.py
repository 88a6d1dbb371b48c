"""`list`, `get` and `wait`: where tasks and selections stand, and what there is to train on and to start from."""

import click

from collabspace.cli import suggest
from collabspace.cli.options import Where, cluster_options, output_option
from collabspace.cli.output import OBJECT_FORMS
from collabspace.cli.parameters import DurationType, NameType, ReasonType, SubjectType

LISTED = ("tasks", "selections", "datasets", "aliases")
CONDITIONS = ("Accepted", "DataAuthorized", "Admitted", "Running", "Succeeded", "Stalled")


@click.command("list", short_help="List tasks, selections, aliases, or the datasets that the team may use.")
@click.argument("what", type=click.Choice(LISTED), default=LISTED[0], metavar=f"[{'|'.join(LISTED)}]")
@click.option("-l", "--selector", help="Labels of tasks or selections to select by, as team=nlp.")
@click.option(
    "--reason",
    type=ReasonType(),
    help="Only tasks that stand where they do for this reason.",
)
@click.option("-w", "--watch", is_flag=True, help="Tasks: go on showing changes.")
@cluster_options(all_namespaces=True)
@output_option("wide", *OBJECT_FORMS)
def list_tasks(
    where: Where, what: str, selector: str | None, reason: str | None, watch: bool, output: str | None
) -> None:
    """List tasks (unless said otherwise) or selections with their state and reason, or what there is to use.

    \b
    datasets  those of the team and those that other teams granted to it: version, uses, until when, what for
    aliases   names of the team for stored models: which model, since when, set by which selection, what before
    """
    if what in ("datasets", "aliases"):
        if selector or reason or watch or where.all_namespaces or output == "wide":
            raise click.UsageError(f"list {what} takes -n and -o json, yaml or name alone")
        from collabspace.cli import alias_list, dataset_list

        (dataset_list if what == "datasets" else alias_list).show(where, output)
        return
    from collabspace.cli import selection_views, task_views

    params = {"labelSelector": selector} if selector else {}
    if reason:
        params["fieldSelector"] = f"status.reason={reason}"
    if watch and output not in (None, "wide"):
        raise click.UsageError(f"-w prints rows and does not go with -o {output}")
    if what == "selections" and watch:
        raise click.UsageError("-w watches tasks; watch one selection: get selection/NAME -w")
    if what == "selections":
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
