"""Grants read and written: the list of a dataset's grants, changed as one and never over somebody else's change."""

from collections.abc import Callable
from typing import Any

import click

from collabspace.api import names
from collabspace.api.dataset import SharedDataset
from collabspace.cli import grant_edit, revocation
from collabspace.cli.cluster import Cluster, path_of, readable, run
from collabspace.cli.errors import CommandError, command
from collabspace.cli.options import Where
from collabspace.cli.output import Cell, nothing_found, print_document, print_table
from collabspace.kube import clock
from collabspace.kube.client import KubeError, Object

TRIES = 8
STATE_STYLES = {"Active": "green", "Pending": "", "Expired": "yellow"}


def show(where: Where, dataset: str | None, output: str | None) -> None:
    """Prints the grants on one dataset, or on all in scope."""

    async def read(cluster: Cluster) -> tuple[str | None, list[Object]]:
        if dataset:
            return cluster.namespace, [await cluster.find(names.SHARED_DATASETS, dataset)]
        return cluster.scope, await cluster.every(names.SHARED_DATASETS)

    scope, items = run(where, read)
    given = [(item["metadata"], grant) for item in items for grant in item["spec"].get("grants") or []]
    if output in ("json", "yaml"):
        keys = ("namespace", "name")
        print_document([{"dataset": {key: meta[key] for key in keys}, **grant} for meta, grant in given], output)
    elif not given:
        nothing_found(scope)
    else:
        _print_grants(readable(SharedDataset, items), where.all_namespaces, output == "wide")


def _print_grants(datasets: list[SharedDataset], everywhere: bool, wide: bool) -> None:
    rows: list[tuple[Cell, ...]] = []
    for dataset in datasets:
        states = {state.name: state.state.value for state in dataset.status.grants}
        for grant in dataset.spec.grants:
            state = states.get(grant.name, "Pending")
            row: list[Cell] = [dataset.metadata.namespace] if everywhere else []
            row += [dataset.metadata.name, grant.name, grant.namespace, ",".join(grant.uses)]
            row += [grant.not_after or "-", (state, STATE_STYLES.get(state, "red")), grant.purpose]
            rows.append((*row, grant.agreement, grant.namespace_uid or "-") if wide else tuple(row))
    headers = ["NAMESPACE"] if everywhere else []
    headers += ["DATASET", "GRANT", "TO", "USES", "UNTIL", "STATE", "PURPOSE"]
    print_table([*headers, "AGREEMENT", "NAMESPACE UID"] if wide else headers, rows)


def add(where: Where, dataset: str, to: str, typed: dict[str, Any]) -> None:
    """Writes a new grant, or adds to one. `typed`: the options of `grants add`."""
    until: str | None = typed["until"]
    now = clock.now()
    end = grant_edit.end_of(until, now) if until else None
    wish = grant_edit.Wish(
        name=typed["grant_name"] or to,
        namespace=to,
        uses=typed["uses"],
        not_after=end,
        ends=until is None or end is not None,
        purpose=typed["purpose"],
        agreement=typed["agreement"],
        shorten=typed["shorten"],
    )
    moved: list[str] = []

    async def grant(cluster: Cluster) -> tuple[str, str]:
        if to == cluster.namespace:
            raise CommandError(f"namespace {to} owns {dataset} and needs no grant", "Name the other team with --to.")
        uid = typed["namespace_uid"] or str((await cluster.existing_namespace(to))["metadata"]["uid"])

        def change(existing: list[Object]) -> tuple[list[Object], str]:
            changed, verb = grant_edit.granted(existing, wish, uid, now)
            moved[:] = [grant_edit.change_of_end(existing, changed, wish.name)]
            return changed, verb

        return await _edit(cluster, dataset, change), cluster.namespace

    verb, owner = run(where, grant)
    click.echo(f"shareddataset.{names.GROUP}/{dataset} grant/{wish.name} {verb}")
    for line in filter(None, moved):
        click.echo(line, err=True)
    if verb == "created" and until is None:
        click.echo(
            "No end was given: the grant holds until it is revoked (--until 30d --shorten gives it an end).", err=True
        )
    if verb != "unchanged":
        click.echo(f"Take it back: {command(f'grants revoke {dataset} {wish.name} -n {owner}')}", err=True)


def revoke(where: Where, dataset: str, name: str | None, to: str | None) -> None:
    """Removes the grant of that name, or every grant to that namespace; says what running tasks do and how to undo."""
    removed: list[Object] = []
    live: list[Object] = []

    def without(existing: list[Object]) -> tuple[list[Object], str]:
        removed[:] = [grant for grant in existing if name == grant["name"] or to == grant["namespace"]]
        kept = [grant for grant in existing if grant not in removed]
        live[:] = _live(kept)
        if not removed:
            there = ", ".join(f"{grant['name']} (to {grant['namespace']})" for grant in existing) or "none"
            wanted = f"named {name}" if name else f"to namespace {to}"
            raise CommandError(f"dataset {dataset} has no grant {wanted}", f"Its grants: {there}.")
        return kept, "revoked"

    async def take_back(cluster: Cluster) -> tuple[str, list[str]]:
        found = await cluster.find(names.SHARED_DATASETS, dataset)
        await _edit(cluster, dataset, without)
        return cluster.namespace, await revocation.consequences(cluster, found, _live(removed), live)

    owner, consequences = run(where, take_back)
    for grant in removed:
        click.echo(f"shareddataset.{names.GROUP}/{dataset} grant/{grant['name']} revoked")
    click.echo("New reads are refused from now on; results that were trained already stay.", err=True)
    for line in consequences:
        click.echo(line, err=True)
    ended = [grant["name"] for grant in removed if grant_edit.has_ended(grant, clock.now())]
    if ended:
        click.echo(f"Had ended before: {', '.join(ended)}", err=True)
    if len(ended) < len(removed):
        click.echo("To undo:", err=True)
    for grant in removed:
        if grant["name"] not in ended:
            click.echo(f"  {command(grant_edit.undo(dataset, owner, grant))}", err=True)


def _live(grants: list[Object]) -> list[Object]:
    return [grant for grant in grants if not grant_edit.has_ended(grant, clock.now())]


async def _edit(cluster: Cluster, dataset: str, change: Callable[[list[Object]], tuple[list[Object], str]]) -> str:
    """Writes the changed list of grants, read again and changed again when somebody else was faster."""
    path = path_of(names.SHARED_DATASETS, cluster.namespace, dataset)
    for _ in range(TRIES):
        item = await cluster.find(names.SHARED_DATASETS, dataset)
        existing: list[Object] = item["spec"].get("grants") or []
        changed, verb = change(existing)
        if changed == existing:
            return "unchanged"
        version = {"resourceVersion": item["metadata"]["resourceVersion"]}
        try:
            await cluster.client.merge(path, {"metadata": version, "spec": {"grants": changed}})
        except KubeError as error:
            if error.status != 409:
                raise
            continue
        return verb
    raise CommandError(
        f"dataset {dataset} changes all the time: {TRIES} tries to write it met a newer one", "Try again."
    )
