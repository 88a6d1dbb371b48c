"""`list`, `get` and `wait`: where tasks stand."""

import asyncio
from typing import Any

import click

from collabspace.api import names
from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.task import CollabTask
from collabspace.cli import suggest, task_rows
from collabspace.cli.cluster import Cluster, parsed, path_of, run
from collabspace.cli.errors import EXIT_ERROR, EXIT_TIMED_OUT, CommandError, command, leaving
from collabspace.cli.options import Where, cluster_options, output_option
from collabspace.cli.output import OBJECT_FORMS, nothing_found, plain, print_objects, print_table
from collabspace.cli.parameters import DurationType, NameType
from collabspace.cli.task_state import State, condition, has_ended, message_of, reason_of, state_of
from collabspace.cli.watching import changes
from collabspace.client.protocol import AttemptFeed
from collabspace.kube import clock
from collabspace.kube.client import Object

KIND = {"apiVersion": names.API_VERSION, "kind": "CollabTask"}


@click.command("list", short_help="List tasks with their state and reason.")
@click.option("-l", "--selector", help="Labels to select by, as team=nlp.")
@click.option(
    "--reason",
    type=click.Choice([reason.value for reason in Reason], case_sensitive=False),
    help="Only tasks that stand where they do for this reason.",
)
@click.option("-w", "--watch", is_flag=True, help="Go on showing changes.")
@cluster_options(all_namespaces=True)
@output_option("wide", *OBJECT_FORMS)
def list_tasks(where: Where, selector: str | None, reason: str | None, watch: bool, output: str | None) -> None:
    """List tasks with their state and reason."""
    params = {"labelSelector": selector} if selector else {}
    if reason:
        params["fieldSelector"] = f"status.reason={reason}"
    if watch:
        if output not in (None, "wide"):
            raise click.UsageError(f"-w prints rows and does not go with -o {output}")
        from collabspace.cli.follow import watch_list

        watch_list(where, params)
        return

    async def read(cluster: Cluster) -> tuple[str | None, list[Object]]:
        return cluster.scope, await cluster.every(names.COLLAB_TASKS, params)

    scope, items = run(where, read)
    if output in OBJECT_FORMS:
        print_objects([KIND | item for item in items], str(output))
        return
    if not items:
        nothing_found(scope)
        return
    everywhere, wide = where.all_namespaces, output == "wide"
    now = clock.now()
    rows = [task_rows.row(parsed(CollabTask, item), now, everywhere=everywhere, wide=wide) for item in items]
    print_table(task_rows.headers(everywhere=everywhere, wide=wide), rows)


@click.command("get", short_help="Show one task: steps, live progress, attempts, figures.")
@click.argument("task", type=NameType(), shell_complete=suggest.tasks)
@click.option("-w", "--watch", is_flag=True, help="Show it live until it has ended.")
@cluster_options()
@output_option(*OBJECT_FORMS)
def get_task(where: Where, task: str, watch: bool, output: str | None) -> None:
    """Show one task: steps, live progress, attempts, figures."""
    if watch:
        if output:
            raise click.UsageError(f"-w prints rows and does not go with -o {output}")
        from collabspace.cli.follow import watch_live

        namespace = run(where, lambda cluster: _namespace_of(cluster, task))
        watch_live(where, [(namespace, task)])
        return
    item, feed, note = run(where, lambda cluster: _read(cluster, task, live=not output))
    if output:
        print_objects([KIND | item], output, single=True)
        return
    _describe(parsed(CollabTask, item), feed)
    if note:
        click.echo(note, err=True)


async def _namespace_of(cluster: Cluster, task: str) -> str:
    await cluster.find(names.COLLAB_TASKS, task)
    return cluster.namespace


async def _read(cluster: Cluster, name: str, *, live: bool) -> tuple[Object, AttemptFeed | None, str]:
    item = await cluster.find(names.COLLAB_TASKS, name)
    task = parsed(CollabTask, item)
    if not live or state_of(task) is not State.RUNNING:
        return item, None, ""
    from collabspace.cli.follow import Board, Feeds

    board, feeds = Board({task_rows.key_of(task): task}), Feeds(cluster)
    await feeds.refresh(board)
    feeds.close()
    return item, board.feeds.get(task_rows.key_of(task)), board.note


def _describe(task: CollabTask, feed: AttemptFeed | None) -> None:
    now = clock.now()
    click.echo(f"{state_of(task)}: {reason_of(task)}" + (f". {plain(message_of(task))}" if message_of(task) else ""))
    for name, value in task_rows.facts(task, now):
        click.echo(f"  {name:<11}{plain(value)}")
    click.echo()
    print_table(("STEP", "REASON", "SINCE", "MESSAGE"), task_rows.step_rows(task, now))
    done = task_rows.percent(task, feed)
    if done is not None and not has_ended(task):
        click.echo(f"\n{task_rows.progress_line(task, feed, done)}")
    if task.status.attempts:
        click.echo()
        print_table(task_rows.ATTEMPT_HEADERS, task_rows.attempt_rows(task, now))
    if task.status.metrics:
        click.echo()
        print_table(task_rows.METRIC_HEADERS, task_rows.metric_rows(task.status.metrics))
        click.echo(f"\nThe whole of it: {command(f'report {task.metadata.name} -n {task.metadata.namespace}')}")
    elif not has_ended(task) and state_of(task) is State.WAITING:
        click.echo(f"\nWhat to do: {command(f'why {task.metadata.name} -n {task.metadata.namespace}')}")


@click.command(short_help="Block until a task has ended or a condition holds.")
@click.argument("task", type=NameType(), shell_complete=suggest.tasks)
@click.option(
    "--for",
    "wanted",
    default=ConditionType.SUCCEEDED.value,
    show_default=True,
    help="Condition to wait for.",
    type=click.Choice(
        ["Accepted", "DataAuthorized", "Admitted", "Running", "Succeeded", "Stalled"], case_sensitive=False
    ),
)
@click.option("--timeout", type=DurationType(), help="Give up after so long, as 90s or 10m; else never.")
@cluster_options()
@click.pass_context
def wait(context: click.Context, where: Where, task: str, wanted: str, timeout: int | None) -> None:
    """Block until TASK has ended or a condition holds.

    Exit code 0: it holds. 1: the task ended otherwise or is not there. 124: the time is over.
    """
    with leaving("The task goes on in the cluster."):
        code = run(where, lambda cluster: _wait(cluster, task, wanted, timeout))
    context.exit(code)


async def _wait(cluster: Cluster, name: str, wanted: str, seconds: int | None) -> int:
    await cluster.find(names.COLLAB_TASKS, name)
    last: list[str] = ["nothing is known"]
    try:
        async with asyncio.timeout(seconds):
            return await _until(cluster, name, wanted, last)
    except TimeoutError:
        click.echo(
            f"error: task {name} is not {wanted} after {seconds} s ({last[0]}). "
            f"See why: {command(f'why {name} -n {cluster.namespace}')}.",
            err=True,
        )
        return EXIT_TIMED_OUT


async def _until(cluster: Cluster, name: str, wanted: str, last: list[str]) -> int:
    """Follows the task; leaves where it stands in `last` for whoever loses patience."""
    path, only = path_of(names.COLLAB_TASKS, cluster.namespace), {"fieldSelector": f"metadata.name={name}"}
    async for change in changes(cluster.client, path, only):
        if change is None:
            continue
        if change.deleted:
            raise CommandError(f"task {name} was deleted from namespace {cluster.namespace}")
        task = parsed(CollabTask, change.object)
        found = condition(task.status.conditions, wanted)
        last[0] = f"{state_of(task)}, {reason_of(task)}"
        if found and found.status == "True":
            click.echo(f"collabtask.{names.GROUP}/{name} condition met: {wanted} ({found.reason})")
            return 0
        if has_ended(task):
            return _ended_otherwise(task, wanted)
    raise AssertionError("a watch has no end")


def _ended_otherwise(task: CollabTask, wanted: str) -> int:
    name, namespace = task.metadata.name, task.metadata.namespace
    message: Any = f": {plain(message_of(task))}" if message_of(task) else ""
    click.echo(
        f"error: task {name} ended without {wanted} ({reason_of(task)}{message}). "
        f"See: {command(f'why {name} -n {namespace}')}.",
        err=True,
    )
    return EXIT_ERROR
