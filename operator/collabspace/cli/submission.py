"""Tasks handed in: read or built, checked here and at the API server, created, followed."""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from collabspace.api import names
from collabspace.api.catalogue import catalogue
from collabspace.api.conditions import ConditionType
from collabspace.api.task import CollabTask
from collabspace.cli.cluster import FIELD_MANAGER, Cluster, parsed, path_of, run
from collabspace.cli.errors import CommandError, command
from collabspace.cli.options import Where
from collabspace.cli.output import as_yaml
from collabspace.cli.parameters import DatasetChoice
from collabspace.cli.task_manifest import Typed, build, check
from collabspace.cli.task_state import state_of, status_of
from collabspace.kube.client import KubeError, Object

MAX_FILE_BYTES = 3 * 1024 * 1024
SERVER_WRITES = frozenset({"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"})
STRICT = {"fieldValidation": "Strict", "fieldManager": FIELD_MANAGER}


@dataclass(frozen=True)
class How:
    """`follow`: watch, wait, logs or None."""

    dry_run: bool
    follow: str | None


def submit(where: Where, name: str | None, filename: Path | None, how: How, flags: dict[str, Any]) -> None:
    """Creates the tasks of the file, or the one that the flags describe, once all are found right."""
    documents = _documents(name, filename, flags)

    async def send(cluster: Cluster) -> list[Object]:
        prepared = [
            _placed(document, cluster, filename) if document else await _built(cluster, str(name), flags)
            for document in documents
        ]
        for document in prepared:
            check(document, catalogue())
        for document in prepared:
            await _create(cluster, document, dry_run=True)
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
    found = _parsed(filename, _read(filename))
    if not found:
        raise CommandError(f"{filename} holds no object", f"An example: {command('submit ... --dry-run')} prints one.")
    for number, document in enumerate(found, 1):
        if not isinstance(document, dict):
            raise CommandError(f"{filename}: document {number} is no object", "It begins with apiVersion and kind.")
    return list(found)


def _read(path: Path) -> str:
    """The text of the file, or of stdin for `-`. Raises CommandError when it is no text or far too long for tasks."""
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as source:
            content = source.read(MAX_FILE_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} cannot be read: it is not UTF-8", "Save it as UTF-8 text.") from error
    if len(content) > MAX_FILE_BYTES:
        raise CommandError(
            f"{path} is larger than {MAX_FILE_BYTES} bytes", "A manifest of tasks is small; check the name."
        )
    return text


def _parsed(path: Path, text: str) -> list[Any]:
    """The documents in it. Raises CommandError naming the line."""
    try:
        return [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "not readable"
        raise CommandError(f"{place}: no valid YAML ({problem})", "Correct the line.") from error
    except (ValueError, RecursionError) as error:
        kind = "a value that is none" if isinstance(error, ValueError) else "nested too deeply"
        raise CommandError(f"{path}: no valid YAML ({kind})", "Correct it.") from error


def _placed(document: Object, cluster: Cluster, filename: Path | None) -> Object:
    """The document with the namespace in it and without what only a server writes, so that `get -o yaml` can be read.

    As with kubectl, -n must not contradict what the file says.
    """
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    said = metadata.get("namespace")
    if said and cluster.where.namespace not in (None, said):
        what = f"{filename} says namespace {said}, the command says -n {cluster.where.namespace}"
        raise CommandError(what, "Leave one of them away.")
    kept = {key: value for key, value in metadata.items() if key not in SERVER_WRITES}
    rest = {key: value for key, value in document.items() if key != "status"}
    return {**rest, "metadata": {**kept, "namespace": said or cluster.namespace}}


async def _create(cluster: Cluster, document: Object, *, dry_run: bool) -> Object:
    path = path_of(names.COLLAB_TASKS, document["metadata"]["namespace"])
    try:
        return await cluster.client.create(path, document, STRICT | ({"dryRun": "All"} if dry_run else {}))
    except KubeError as error:
        if dry_run and error.status == 409 and error.reason == "AlreadyExists":
            return document
        raise


async def _send(cluster: Cluster, document: Object) -> Object:
    """Creates the task, or corrects one that was not accepted. The answer has what happened as `verb`."""
    try:
        return {**await _create(cluster, document, dry_run=False), "verb": "created"}
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
