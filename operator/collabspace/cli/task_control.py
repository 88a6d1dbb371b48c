"""Changes to a task that was handed in: suspended, let go on, moved in the queue, deleted; twice is as once."""

import asyncio
import sys
from contextlib import aclosing
from typing import Any

import click

from collabspace.api import names
from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.task import CollabTask
from collabspace.cli import attempts
from collabspace.cli.advice import correction
from collabspace.cli.cluster import Cluster, parsed, path_of, run
from collabspace.cli.errors import EXIT_ERROR, EXIT_TIMED_OUT, CommandError, command, leaving
from collabspace.cli.options import Where
from collabspace.cli.task_rows import percent
from collabspace.cli.task_state import has_ended, holds_quota, reason_of, state_of, status_of
from collabspace.cli.waiting import until
from collabspace.cli.watching import changes
from collabspace.kube.client import KubeError


def suspend(where: Where, task: str, waits: bool, seconds: int | None) -> int:
    """Sets spec.suspend; `waits`: until no pod runs. Gives the exit code."""

    async def stop(cluster: Cluster) -> int:
        before = await _change(cluster, task, "suspend", True, "suspended")
        place = f"{task} -n {cluster.namespace}"
        how = "It stops after a checkpoint" if holds_quota(before) else "It does not start"
        click.echo(f"{how}, and goes on with: {command(f'resume {place}')}", err=True)
        return await until(cluster, task, seconds, "suspended", _stands_still) if waits else 0

    with leaving("The task stops in the cluster all the same."):
        return run(where, stop)


def resume(where: Where, task: str, waits: bool, seconds: int | None) -> int:
    """Takes spec.suspend back; `waits`: until it runs. Gives the exit code."""

    async def go_on(cluster: Cluster) -> int:
        await _change(cluster, task, "suspend", False, "resumed")
        click.echo(f"Follow it: {command(f'get {task} -n {cluster.namespace} -w')}", err=True)
        return await until(cluster, task, seconds, "running", _runs) if waits else 0

    with leaving("The task goes on in the cluster."):
        return run(where, go_on)


def _judged(task: CollabTask) -> bool:
    """Whether the status speaks of the spec as it is now."""
    return task.status.observed_generation >= task.metadata.generation


def _stands_still(task: CollabTask) -> bool:
    return _judged(task) and reason_of(task) == Reason.SUSPENDED and not holds_quota(task)


def _runs(task: CollabTask) -> bool:
    return _judged(task) and status_of(task, ConditionType.RUNNING) == "True"


def prioritize(where: Where, task: str, value: int) -> None:
    """Sets spec.priority of a task that waits."""

    async def move(cluster: Cluster) -> None:
        found = await _active(cluster, task)
        if holds_quota(found) and found.spec.priority != value:
            raise CommandError(
                f"task {task} does not wait ({state_of(found)}, {reason_of(found)}); priority is for those that do",
                f"To let others go first: {command(f'suspend {task} -n {cluster.namespace}')}.",
            )
        await _write(cluster, found, "priority", value, f"priority {value} (was {found.spec.priority})")

    run(where, move)


async def _change(cluster: Cluster, name: str, field: str, value: Any, verb: str) -> CollabTask:
    """Writes one field of a task that has not ended; the task as it was before."""
    found = await _active(cluster, name)
    await _write(cluster, found, field, value, verb)
    return found


async def _active(cluster: Cluster, name: str) -> CollabTask:
    """The task. Raises CommandError when there is none or it has ended."""
    task = parsed(CollabTask, await cluster.find(names.COLLAB_TASKS, name))
    if has_ended(task):
        raise CommandError(f"task {name} has ended already ({state_of(task)}, {reason_of(task)})", remedy(task))
    return task


def remedy(task: CollabTask) -> str:
    """What is left to do with a task that has ended. One refused for its spec begins anew once that is corrected."""
    place = f"{task.metadata.name} -n {task.metadata.namespace}"
    corrected = correction(task)
    again = command(f"submit NEW-NAME -n {task.metadata.namespace} --like {task.metadata.name}")
    begin = f"To correct its spec in place: {corrected}" if corrected else f"To run it again: {again}"
    return f"{begin}; to delete it with its result: kubectl delete collabtask {place}."


async def _write(cluster: Cluster, task: CollabTask, field: str, value: Any, verb: str) -> None:
    name = task.metadata.name
    if getattr(task.spec, field) != value:
        await cluster.client.merge(path_of(names.COLLAB_TASKS, cluster.namespace, name), {"spec": {field: value}})
    else:
        verb = "unchanged"
    click.echo(f"collabtask.{names.GROUP}/{name} {verb}")


def cancel(where: Where, task: str, yes: bool, waits: bool, seconds: int | None) -> int:
    """Deletes a task that has not ended, once the person agrees; `waits`: until its pods are gone. Gives the exit
    code."""
    found = run(where, lambda cluster: _active(cluster, task))
    if not yes and not _agreed(found):
        click.echo("Nothing was changed.", err=True)
        return EXIT_ERROR

    async def delete(cluster: Cluster) -> int:
        await _delete(cluster, found)
        return await _until_gone(cluster, task, seconds) if waits else 0

    with leaving("It is deleted all the same."):
        return run(where, delete)


def _agreed(task: CollabTask) -> bool:
    """Says what is lost and asks. Raises CommandError when there is nobody to ask."""
    name, namespace = task.metadata.name, task.metadata.namespace
    done = percent(task)
    facts = [state_of(task).value, reason_of(task)]
    facts += [f"{done} % done"] if done is not None else []
    facts += [f"attempt {attempts.count(task)}"] if attempts.count(task) else []
    click.echo(f"{namespace}/{name} ({', '.join(facts)}) is deleted with its checkpoints and any result.", err=True)
    click.echo(f"To stop it and keep it: {command(f'suspend {name} -n {namespace}')}", err=True)
    try:
        return click.confirm("Cancel it?", default=False, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise CommandError("cancel asks before it deletes, and nobody answers", "To agree beforehand: --yes.") from None


async def _delete(cluster: Cluster, agreed: CollabTask) -> None:
    """Deletes the very task that was asked about, unless it came to its end meanwhile."""
    name = agreed.metadata.name
    now = await _active(cluster, name)
    if now.metadata.uid != agreed.metadata.uid:
        raise CommandError(f"task {name} was replaced by another of this name meanwhile", "Nothing was changed.")
    try:
        await cluster.client.delete(path_of(names.COLLAB_TASKS, cluster.namespace, name))
    except KubeError as error:
        if error.status != 404:
            raise
    click.echo(f"collabtask.{names.GROUP}/{name} cancelled and deleted")


async def _until_gone(cluster: Cluster, name: str, seconds: int | None) -> int:
    pods = f"/api/v1/namespaces/{cluster.namespace}/pods"
    try:
        async with asyncio.timeout(seconds):
            tasks = path_of(names.COLLAB_TASKS, cluster.namespace)
            await _all_gone(cluster, tasks, {"fieldSelector": f"metadata.name={name}"})
            await _all_gone(cluster, pods, {"labelSelector": f"{names.TASK_LABEL}={name}"})
    except TimeoutError:
        see = f"kubectl get pods -n {cluster.namespace} -l {names.TASK_LABEL}={name}"
        click.echo(f"error: task {name} is not gone after {seconds} s. See what is left: {see}.", err=True)
        return EXIT_TIMED_OUT
    return 0


async def _all_gone(cluster: Cluster, path: str, params: dict[str, str]) -> None:
    """Until nothing is left of what is there now; what comes later is somebody else's."""
    left: set[str] = set()
    listed = False
    async with aclosing(changes(cluster.client, path, params)) as events:
        async for change in events:
            listed = listed or change is None
            if change is not None and change.deleted:
                left.discard(change.object["metadata"]["uid"])
            elif change is not None and not listed:
                left.add(change.object["metadata"]["uid"])
            if listed and not left:
                return
