"""Selections handed in: read, checked here and at the API server, created or corrected, followed."""

from pathlib import Path

import click

from collabspace.api import names
from collabspace.api.catalogue import catalogue
from collabspace.api.conditions import ConditionType
from collabspace.api.selection import MUTABLE, ModelSelection, SelectionSpec
from collabspace.cli.cluster import Cluster, parsed, path_of, run
from collabspace.cli.errors import CommandError, command
from collabspace.cli.manifest_file import create, documents, placed
from collabspace.cli.options import Where
from collabspace.cli.output import as_yaml
from collabspace.cli.selection_manifest import check
from collabspace.cli.selection_state import state_of, status_of
from collabspace.kube.client import KubeError, Object


def select(where: Where, filename: Path, dry_run: bool, follow: str | None) -> None:
    """Creates the selection of the file, once it is found right."""
    found = documents(filename, command("select --help"))
    if len(found) > 1:
        raise CommandError(f"{filename} holds {len(found)} objects", "Put one ModelSelection into a file.")

    async def send(cluster: Cluster) -> Object:
        document = placed(found[0], cluster, filename)
        spec = check(document, catalogue())
        await create(cluster, names.MODEL_SELECTIONS, document, dry_run=True)
        return document if dry_run else await _send(cluster, document, spec)

    sent = run(where, send)
    if dry_run:
        click.echo(as_yaml(sent))
        return
    name, namespace = sent["metadata"]["name"], sent["metadata"]["namespace"]
    click.echo(f"modelselection.{names.GROUP}/{name} {sent['verb']}")
    if not follow:
        click.echo(f"Follow it: {command(f'get selection/{name} -n {namespace} -w')}", err=True)
        return
    from collabspace.cli.selection_follow import until_ended, watch_live

    if not (watch_live if follow == "watch" else until_ended)(where, (namespace, name)):
        raise SystemExit(1)


async def _send(cluster: Cluster, document: Object, spec: SelectionSpec) -> Object:
    """Creates it, or changes what may be changed. The answer has what happened as `verb`."""
    try:
        return {**await create(cluster, names.MODEL_SELECTIONS, document, dry_run=False), "verb": "created"}
    except KubeError as error:
        if error.status != 409 or error.reason != "AlreadyExists":
            raise
    name, namespace = document["metadata"]["name"], document["metadata"]["namespace"]
    existing = parsed(ModelSelection, await cluster.find(names.MODEL_SELECTIONS, name, namespace))
    same = existing.spec.model_dump(exclude=set(MUTABLE)) == spec.model_dump(exclude=set(MUTABLE))
    if not same and status_of(existing, ConditionType.ACCEPTED) == "True":
        raise CommandError(
            f"selection {name} exists already in namespace {namespace} ({state_of(existing)}) and its spec is frozen",
            f"Choose another name, or delete it with its tasks: kubectl delete modelselection {name} -n {namespace}.",
        )
    version = existing.metadata.resource_version
    body = {**document, "metadata": {**document["metadata"], "resourceVersion": version}}
    answer = await cluster.client.replace(path_of(names.MODEL_SELECTIONS, namespace, name), body)
    changed = answer["metadata"]["resourceVersion"] != version
    return {**answer, "verb": "configured" if changed else "unchanged"}
