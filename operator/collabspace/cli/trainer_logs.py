"""The log of a trainer, from the pod of an attempt: one that is there, or all of them as they come."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

import click

from collabspace.api import names
from collabspace.api.task import CollabTask
from collabspace.cli import attempts
from collabspace.cli.cluster import Cluster, parsed, path_of, run
from collabspace.cli.errors import CommandError, command, leaving
from collabspace.cli.options import Where
from collabspace.cli.task_state import State, has_ended, reason_of, state_of
from collabspace.cli.watching import Change, changes, merged
from collabspace.kube.client import Object

Key = tuple[str, str]


def show(where: Where, task: str, attempt: int | None, *, follow: bool) -> None:
    """Copies the log to stdout; `follow`: to the end of the task, or of that attempt."""

    async def copy(cluster: Cluster) -> None:
        await cluster.find(names.COLLAB_TASKS, task)
        if follow and attempt is None:
            await follow_task(cluster, (cluster.namespace, task))
        else:
            await _show_one(cluster, task, attempt, follow)

    with leaving("The task goes on in the cluster."):
        run(where, copy)


async def _show_one(cluster: Cluster, name: str, attempt: int | None, follow: bool) -> None:
    pods = await cluster.client.list(_pods(cluster.namespace), _selector(name, attempt))
    if not pods["items"]:
        task = parsed(CollabTask, await cluster.find(names.COLLAB_TASKS, name))
        which = f"attempt {attempt} of task {name}" if attempt else f"task {name}"
        if attempt and attempt > attempts.count(task):
            remedy = f"It has had {attempts.count(task)} so far."
        elif has_ended(task) or (attempt and attempt < attempts.count(task)):
            remedy = f"Pods are removed after a while; what is kept: {command(f'get {name} -n {cluster.namespace}')}."
        else:
            remedy = f"See why: {command(f'why {name} -n {cluster.namespace}')}."
        raise CommandError(f"{which} has no pod ({state_of(task)}, {reason_of(task)})", remedy)
    pod = max(pods["items"], key=_attempt_of)
    if not _has_started(pod):
        what = f"the pod of attempt {_attempt_of(pod)} has not started"
        raise CommandError(what, f"Wait for it with -f, or ask: {command(f'why {name} -n {cluster.namespace}')}.")
    await _copy(cluster, pod, follow)


async def follow_task(cluster: Cluster, key: Key) -> bool:
    """Copies the log of every attempt as it is written, until the task has ended; whether it succeeded."""
    namespace, name = key
    shown: set[str] = set()
    async with aclosing(_progress(cluster, key)) as progress:
        async for task, pod in progress:
            if pod is not None and pod["metadata"]["uid"] not in shown and _has_started(pod):
                shown.add(pod["metadata"]["uid"])
                if len(shown) > 1:
                    click.echo(f"--- attempt {_attempt_of(pod)} ---", err=True)
                await _copy(cluster, pod, follow=True)
            if task is not None and has_ended(task):
                return state_of(task) is State.SUCCEEDED
    raise CommandError(f"task {name} was deleted from namespace {namespace}")


async def _progress(cluster: Cluster, key: Key) -> AsyncGenerator[tuple[CollabTask | None, Object | None], None]:
    """(task, its newest pod) after every change of one of them; ends when the task is not there any more."""
    namespace, name = key
    only = {"fieldSelector": f"metadata.name={name}"}
    task: CollabTask | None = None
    pods: dict[Key, Object] = {}
    complete = 0
    changed = merged(
        changes(cluster.client, _pods(namespace), _selector(name, None)),
        changes(cluster.client, path_of(names.COLLAB_TASKS, namespace), only),
    )
    async with aclosing(changed):
        async for change in changed:
            if change is None:
                complete += 1
            elif "containers" in change.object["spec"]:
                _keep(pods, change)
            elif change.deleted:
                return
            else:
                task = parsed(CollabTask, change.object)
            if complete > 1:
                if task is None:
                    return
                yield task, max(pods.values(), key=_attempt_of, default=None)


def _keep(pods: dict[Key, Object], change: Change) -> None:
    if change.deleted:
        pods.pop(change.key, None)
    else:
        pods[change.key] = change.object


async def _copy(cluster: Cluster, pod: Object, follow: bool) -> None:
    metadata = pod["metadata"]
    params = {"container": names.TRAINER_CONTAINER} | ({"follow": "true"} if follow else {})
    async for chunk in cluster.client.stream(f"{_pods(metadata['namespace'])}/{metadata['name']}/log", params):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def _selector(task: str, attempt: int | None) -> dict[str, str]:
    number = f",{names.ATTEMPT_LABEL}={attempt}" if attempt else ""
    return {"labelSelector": f"{names.TASK_LABEL}={task}{number}"}


def _attempt_of(pod: Object) -> int:
    text = (pod["metadata"].get("labels") or {}).get(names.ATTEMPT_LABEL, "")
    return int(text) if text.isdecimal() else 0


def _has_started(pod: Object) -> bool:
    """Whether its trainer runs or has run, so that there is a log."""
    for status in pod.get("status", {}).get("containerStatuses") or []:
        if status["name"] == names.TRAINER_CONTAINER:
            return not {"running", "terminated"}.isdisjoint(status.get("state") or {})
    return False
