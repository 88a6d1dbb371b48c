"""Waiting for a state of a task, with an exit code for scripts and a word on stderr for each new attempt."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import click

from collabspace.api import names
from collabspace.api.task import CollabTask
from collabspace.cli.attempts import Announcer
from collabspace.cli.cluster import Cluster, parsed, path_of, run
from collabspace.cli.errors import EXIT_ERROR, EXIT_TIMED_OUT, CommandError, command, leaving
from collabspace.cli.options import Where
from collabspace.cli.output import plain
from collabspace.cli.task_state import condition, has_ended, own_message, reason_of, state_of
from collabspace.cli.watching import changes


def wait(where: Where, task: str, wanted: str, seconds: int | None) -> int:
    """0 when the condition `wanted` holds, 1 when the task ended otherwise, 124 after `seconds`."""

    def holds(now: CollabTask) -> bool:
        found = condition(now.status.conditions, wanted)
        if found is None or found.status != "True":
            return False
        click.echo(f"collabtask.{names.GROUP}/{task} condition met: {wanted} ({found.reason})")
        return True

    async def look(cluster: Cluster) -> int:
        await cluster.find(names.COLLAB_TASKS, task)
        return await until(cluster, task, seconds, wanted, holds)

    with leaving("The task goes on in the cluster."):
        return run(where, look)


async def until(
    cluster: Cluster, name: str, seconds: int | None, wanted: str, holds: Callable[[CollabTask], bool]
) -> int:
    """0 once `holds` says so, 1 when the task ends before, 124 after `seconds`; `wanted` is its name in messages."""
    last: list[str] = ["nothing is known"]
    try:
        async with asyncio.timeout(seconds):
            return await _follow(cluster, name, wanted, holds, last)
    except TimeoutError:
        click.echo(
            f"error: task {name} is not {wanted} after {seconds} s ({last[0]}). "
            f"See why: {command(f'why {name} -n {cluster.namespace}')}.",
            err=True,
        )
        return EXIT_TIMED_OUT


async def _follow(
    cluster: Cluster, name: str, wanted: str, holds: Callable[[CollabTask], bool], last: list[str]
) -> int:
    """Leaves where the task stands in `last` for whoever loses patience."""
    path, only = path_of(names.COLLAB_TASKS, cluster.namespace), {"fieldSelector": f"metadata.name={name}"}
    announcer = Announcer()
    async with aclosing(changes(cluster.client, path, only)) as events:
        async for change in events:
            if change is None:
                continue
            if change.deleted:
                raise CommandError(f"task {name} was deleted from namespace {cluster.namespace}")
            task = parsed(CollabTask, change.object)
            last[0] = f"{state_of(task)}, {reason_of(task)}"
            for line in announcer.lines(task):
                click.echo(line, err=True)
            if holds(task):
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
