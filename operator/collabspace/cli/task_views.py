"""Tasks printed: a list of them, or one with its steps, live progress, attempts and figures."""

import click

from collabspace.api import names
from collabspace.api.task import CollabTask
from collabspace.cli import attempts, follow, task_rows
from collabspace.cli.cluster import Cluster, parsed, readable, run
from collabspace.cli.errors import command
from collabspace.cli.options import Where
from collabspace.cli.output import OBJECT_FORMS, nothing_found, plain, print_objects, print_table, without_empty
from collabspace.cli.task_state import State, has_ended, own_message, reason_of, state_of
from collabspace.cli.watching import key_of
from collabspace.client.protocol import AttemptFeed
from collabspace.kube import clock
from collabspace.kube.client import Object

KIND = {"apiVersion": names.API_VERSION, "kind": "CollabTask"}
watch_list = follow.watch_list


def show_list(where: Where, params: dict[str, str], output: str | None) -> None:
    """Prints the tasks in scope that the list parameters select."""

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
    tasks = {task_rows.key_of(task): task for task in readable(CollabTask, items)}
    rows = [
        task_rows.row(tasks[key_of(item)], now, everywhere=everywhere, wide=wide)
        if key_of(item) in tasks
        else task_rows.unreadable_row(item, now, everywhere=everywhere, wide=wide)
        for item in items
    ]
    headers = task_rows.headers(everywhere=everywhere, wide=wide)
    print_table(*without_empty(headers, rows, () if wide else ("ATTEMPTS",)))


def watch_one(where: Where, task: str) -> None:
    """Shows one task live until it has ended."""
    namespace = run(where, lambda cluster: _namespace_of(cluster, task))
    follow.watch_live(where, [(namespace, task)])


def show_one(where: Where, task: str, output: str | None) -> None:
    """Prints one task."""
    item, feed, note = run(where, lambda cluster: _read(cluster, task, live=not output))
    if output:
        print_objects([KIND | item], output, single=True)
        return
    _describe(parsed(CollabTask, item), feed)
    if note:
        click.echo(note, err=True)


async def _namespace_of(cluster: Cluster, task: str) -> str:
    parsed(CollabTask, await cluster.find(names.COLLAB_TASKS, task))
    return cluster.namespace


async def _read(cluster: Cluster, name: str, *, live: bool) -> tuple[Object, AttemptFeed | None, str]:
    item = await cluster.find(names.COLLAB_TASKS, name)
    task = parsed(CollabTask, item)
    if not live or state_of(task) is not State.RUNNING:
        return item, None, ""
    board, feeds = follow.Board({task_rows.key_of(task): task}), follow.Feeds(cluster)
    await feeds.refresh(board)
    feeds.close()
    return item, board.feeds.get(task_rows.key_of(task)), board.note


def _describe(task: CollabTask, feed: AttemptFeed | None) -> None:
    now = clock.now()
    click.echo(f"{state_of(task)}: {reason_of(task)}" + (f". {plain(own_message(task))}" if own_message(task) else ""))
    for name, value in task_rows.facts(task, now):
        click.echo(f"  {name:<11}{plain(value)}")
    click.echo()
    print_table(("STEP", "REASON", "SINCE", "MESSAGE"), task_rows.step_rows(task, now))
    done = task_rows.percent(task, feed)
    if done is not None and not has_ended(task):
        click.echo(f"\n{task_rows.progress_line(task, feed, done)}")
    if attempts.worth_telling(task):
        click.echo()
        print_table(*without_empty(attempts.HEADERS, attempts.rows(task, now), attempts.OPTIONAL))
    if task.status.metrics:
        click.echo()
        rows = task_rows.metric_rows(task.status.metrics)
        print_table(*without_empty(task_rows.METRIC_HEADERS, rows, task_rows.METRIC_OPTIONAL))
        click.echo(f"\nThe whole of it: {command(f'report {task.metadata.name} -n {task.metadata.namespace}')}")
    elif not has_ended(task) and state_of(task) is State.WAITING:
        click.echo(f"\nWhat to do: {command(f'why {task.metadata.name} -n {task.metadata.namespace}')}")
