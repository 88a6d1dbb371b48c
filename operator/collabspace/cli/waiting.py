"""Waiting for a condition of a task, with an exit code for scripts."""

import asyncio
from contextlib import aclosing

import click

from collabspace.api import names
from collabspace.api.task import CollabTask
from collabspace.cli.cluster import Cluster, parsed, path_of, run
from collabspace.cli.errors import EXIT_ERROR, EXIT_TIMED_OUT, CommandError, command, leaving
from collabspace.cli.options import Where
from collabspace.cli.output import plain
from collabspace.cli.task_state import condition, has_ended, own_message, reason_of, state_of
from collabspace.cli.watching import changes


def wait(where: Where, task: str, wanted: str, seconds: int | None) -> int:
    """0 when the condition `wanted` holds, 1 when the task ended otherwise, 124 after `seconds`."""
    with leaving("The task goes on in the cluster."):
        return run(where, lambda cluster: _wait(cluster, task, wanted, seconds))


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
    async with aclosing(changes(cluster.client, path, only)) as events:
        async for change in events:
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
    message = ": " + plain(own_message(task)).rstrip(".") if own_message(task) else ""
    click.echo(
        f"error: task {name} ended without {wanted} ({reason_of(task)}{message}). "
        f"See: {command(f'why {name} -n {namespace}')}.",
        err=True,
    )
    return EXIT_ERROR
