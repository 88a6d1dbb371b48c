"""Tasks handed in: read or built, checked here and at the API server, created, followed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from collabspace.api import names
from collabspace.api.catalogue import catalogue
from collabspace.api.conditions import ConditionType
from collabspace.api.task import CollabTask
from collabspace.cli.cluster import Cluster, parsed, path_of, run
from collabspace.cli.errors import CommandError, command
from collabspace.cli.manifest_file import create, documents, placed
from collabspace.cli.options import Where
from collabspace.cli.output import as_yaml
from collabspace.cli.parameters import DatasetChoice
from collabspace.cli.task_manifest import Typed, build, check
from collabspace.cli.task_state import state_of, status_of
from collabspace.kube.client import KubeError, Object


@dataclass(frozen=True)
class How:
    """`follow`: watch, wait, logs or None."""

    dry_run: bool
    follow: str | None


def submit(where: Where, name: str | None, filename: Path | None, how: How, flags: dict[str, Any]) -> None:
    """Creates the tasks of the file, or the one that the flags describe, once all are found right."""
    described = _documents(name, filename, flags)

    async def send(cluster: Cluster) -> list[Object]:
        prepared = [
            placed(document, cluster, filename) if document else await _built(cluster, str(name), flags)
            for document in described
        ]
        for document in prepared:
            check(document, catalogue())
        for document in prepared:
            await create(cluster, names.COLLAB_TASKS, document, dry_run=True)
        return prepared if how.dry_run else [await _send(cluster, document) for document in prepared]

    sent = run(where, send)
    if how.dry_run:
        click.echo("\n---\n".join(as_yaml(document) for document in sent))
        return
    for item in sent:
        meta = item["metadata"]
        click.echo(f"collabtask.{names.GROUP}/{meta['name']} {item['verb']}")
        if not how.follow:
            click.echo(f"Follow it: {command('get {} -n {} -w'.format(meta['name'], meta['namespace']))}", err=True)
    if how.follow:
        _follow(where, [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in sent], how.follow)


def _typed(name: str | None, flags: dict[str, Any]) -> Typed:
    """Raises UsageError naming what is missing."""
    datasets: tuple[DatasetChoice, ...] = flags["datasets"]
    needed: dict[str, object] = {"NAME": name}
    if not flags["like"]:
        needed |= {"--task": flags["task"], "--method": flags["method"], "--dataset": datasets}
    missing = [flag for flag, value in needed.items() if not value]
    if missing:
        raise click.UsageError(f"missing {', '.join(missing)}; or give a manifest with -f FILE")
    rest = {key: value for key, value in flags.items() if key != "like"}
    pairs = {key: dict(flags[key]) for key in ("settings", "gates", "budget")}
    return Typed(name=str(name), **(rest | pairs))


async def _built(cluster: Cluster, name: str, flags: dict[str, Any]) -> Object:
    like = None
    if flags["like"]:
        like = (await cluster.find(names.COLLAB_TASKS, flags["like"]))["spec"]
    return build(_typed(name, flags), cluster.namespace, catalogue(), like)


def _documents(name: str | None, filename: Path | None, flags: dict[str, Any]) -> list[Object | None]:
    """What the file holds; one None when flags say it, to be built once the namespace is known."""
    if filename is None:
        _typed(name, flags)
        return [None]
    if name or any(value not in (None, ()) and value is not False for value in flags.values()):
        raise click.UsageError("give either -f FILE or NAME with flags, not both; edit the file instead")
    return list(documents(filename, command("submit ... --dry-run")))


async def _send(cluster: Cluster, document: Object) -> Object:
    """Creates the task, or corrects one that was not accepted. The answer has what happened as `verb`."""
    try:
        return {**await create(cluster, names.COLLAB_TASKS, document, dry_run=False), "verb": "created"}
    except KubeError as error:
        if error.status != 409 or error.reason != "AlreadyExists":
            raise
    name, namespace = document["metadata"]["name"], document["metadata"]["namespace"]
    existing = parsed(CollabTask, await cluster.find(names.COLLAB_TASKS, name, namespace))
    if status_of(existing, ConditionType.ACCEPTED) == "True":
        raise CommandError(
            f"task {name} exists already in namespace {namespace} ({state_of(existing)}) and its spec is frozen",
            f"Choose another name, or delete it first: kubectl delete collabtask {name} -n {namespace}.",
        )
    path = path_of(names.COLLAB_TASKS, namespace, name)
    version = existing.metadata.resource_version
    body = {**document, "metadata": {**document["metadata"], "resourceVersion": version}}
    answer = await cluster.client.replace(path, body)
    changed = answer["metadata"]["resourceVersion"] != version
    return {**answer, "verb": "configured" if changed else "unchanged"}


def _follow(where: Where, tasks: list[tuple[str, str]], how: str) -> None:
    from collabspace.cli.follow import follow_logs, until_ended, watch_live

    ended_well = {"watch": watch_live, "wait": until_ended, "logs": follow_logs}[how](where, tasks)
    if not ended_well:
        raise SystemExit(1)
