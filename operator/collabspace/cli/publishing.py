"""A push from file to version: find or make the dataset, check and convert the data, show its counts, upload."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from collabspace.api import names
from collabspace.api.dataset import DatasetSpec, SharedDataset
from collabspace.api.manifest import ColumnSchema, Split, TargetColumn
from collabspace.cli.broker import UPLOAD_PATIENCE_SECONDS, answers_explained, connect
from collabspace.cli.cluster import FIELD_MANAGER, Cluster, parsed, path_of, run
from collabspace.cli.errors import CommandError, command, leaving
from collabspace.cli.options import Where
from collabspace.cli.output import Cell, plain, print_table, size
from collabspace.cli.transfer import Bar
from collabspace.client.errors import AccessRefused
from collabspace.client.protocol import UploadTarget
from collabspace.formats.iob import TagScheme
from collabspace.formats.problem import FormatError
from collabspace.formats.push import Prepared, prepare
from collabspace.formats.split import SplitRule
from collabspace.kube.client import KubeError

UNBORN = "not-created-yet"
REMOVAL_TRIES = 10


@dataclass(frozen=True)
class Found:
    """The dataset to push to; `uid` is UNBORN when it is still to be made, `made`: it was made for this push."""

    namespace: str
    uid: str
    spec: DatasetSpec
    made: bool = False


@dataclass(frozen=True)
class Wish:
    """`spec` of a dataset to make when there is none; None: it must be there. `parents` are digests that it is of;
    `called`: what is pushed, where its path says nothing to a person."""

    spec: dict[str, Any] | None
    tags: TagScheme
    dry_run: bool
    parents: tuple[str, ...] = ()
    called: str = ""


def push(where: Where, dataset: str, path: Path, wish: Wish) -> None:
    """Publishes `path`; nothing is made or sent before all of it was found right."""
    found = run(where, lambda cluster: _find(cluster, dataset, wish.spec))
    with tempfile.TemporaryDirectory(prefix="collabspace-push-") as scratch:
        folder = Path(scratch, "version")
        prepared = _prepare(path, folder, found, wish)
        _show(prepared)
        if wish.dry_run:
            click.echo(f"{path} can be published; nothing was sent.", err=True)
            return
        if found.uid == UNBORN:
            found = replace(found, uid=run(where, lambda cluster: _create(cluster, dataset, wish.spec)), made=True)
            click.echo(f"shareddataset.{names.GROUP}/{dataset} created")
        _send(where, dataset, found, prepared, folder)


async def _find(cluster: Cluster, name: str, wished: dict[str, Any] | None) -> Found:
    path = path_of(names.SHARED_DATASETS, cluster.namespace, name)
    try:
        dataset = parsed(SharedDataset, await cluster.client.get(path))
    except KubeError as error:
        if error.status != 404 or error.reason != "NotFound":
            raise
        if wished is None:
            again = command(f"push {name} PATH -n {cluster.namespace} --create --format FORMAT")
            what = f"shareddataset {name} not found in namespace {cluster.namespace}"
            raise CommandError(what, f"Make it and push in one: {again}.") from error
        return Found(cluster.namespace, UNBORN, DatasetSpec.model_validate(wished))
    if wished and dataset.spec.format != wished["format"]:
        what = f"dataset {name} is there already, with format {dataset.spec.format}, not {wished['format']}"
        raise CommandError(what, "A format cannot change; publish under another name.")
    _same_policies(dataset, wished or {})
    return Found(cluster.namespace, dataset.metadata.uid, dataset.spec)


def _same_policies(dataset: SharedDataset, wished: dict[str, Any]) -> None:
    """Raises CommandError when --create would have to change a dataset that is there."""
    stand = {"onRevoke": dataset.spec.on_revoke.value, "deletionPolicy": dataset.spec.deletion_policy.value}
    name, namespace = dataset.metadata.name, dataset.metadata.namespace
    for field, value in stand.items():
        if wished.get(field, value) != value:
            change = json.dumps({"spec": {field: wished[field]}})
            raise CommandError(
                f"dataset {name} is there already, with {field} {value}, not {wished[field]}",
                f"Change it: kubectl patch shareddataset {name} -n {namespace} --type merge -p '{change}'.",
            )


async def _create(cluster: Cluster, name: str, spec: dict[str, Any] | None) -> str:
    body = {
        "apiVersion": names.API_VERSION,
        "kind": "SharedDataset",
        "metadata": {"name": name, "namespace": cluster.namespace},
        "spec": spec,
    }
    params = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
    made = await cluster.client.create(path_of(names.SHARED_DATASETS, cluster.namespace), body, params)
    return str(made["metadata"]["uid"])


def _prepare(path: Path, folder: Path, found: Found, wish: Wish) -> Prepared:
    """Checked and converted into `folder`. Raises CommandError after every problem was printed."""
    contract = found.spec.contract
    target = TargetColumn(column=contract.target.column, kind=contract.target.kind) if contract.target else None
    columns = [ColumnSchema(name=column.name, kind=column.kind) for column in contract.columns]
    try:
        with Bar("checking") as bar:
            return prepare(
                path,
                found.spec.format,
                folder,
                owner_uid=found.uid,
                split=_split_rule(found.spec),
                target=target,
                columns=columns,
                tags=wish.tags,
                parents=wish.parents,
                progress=bar.advance,
            )
    except FormatError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        count = len(error.problems) + error.more
        more = f" ({error.more} not shown)" if error.more else ""
        what = f"{wish.called or path} was not published: {count} problem{'s' if count > 1 else ''}{more}"
        remedy = "Format Model holds encoders with their tokenizer" if wish.called else "Correct and push again"
        raise CommandError(what, f"{remedy}; nothing was sent.") from error
    except OSError as error:
        raise CommandError(
            f"{error.filename or path} cannot be read: {error.strerror}", "Check the path and its rights."
        ) from error


def _split_rule(spec: DatasetSpec) -> SplitRule:
    splits = spec.splits
    return SplitRule(
        mode=splits.mode.value,
        train_percent=splits.train_percent,
        validation_percent=splits.validation_percent,
        test_percent=splits.test_percent,
        group_by=splits.group_by,
        seed=splits.seed,
    )


def _show(prepared: Prepared) -> None:
    manifest = prepared.manifest
    if prepared.counts:
        print_table(*count_table(prepared.counts, prepared.label_counts))
    click.echo(
        f"{manifest.records} records, {size(manifest.size)} in {len(manifest.files)} files; "
        f"split: {manifest.split_mode}"
    )
    for warning in prepared.warnings:
        click.echo(f"warning: {plain(warning)}", err=True)


def count_table(
    counts: dict[Split, int], label_counts: dict[Split, dict[str, int]]
) -> tuple[tuple[str, ...], list[tuple[Cell, ...]]]:
    """Headers and rows: records of each split, then each label's entities or records in each split."""
    splits = [split for split in Split if split in counts]
    labels = sorted({label for split in splits for label in label_counts.get(split, {})})
    rows: list[tuple[Cell, ...]] = [(("records", "bold"), *(str(counts[split]) for split in splits))]
    for label in labels:
        rows.append((plain(label), *(str(label_counts.get(split, {}).get(label, 0)) for split in splits)))
    return ("", *(split.upper() for split in splits)), rows


def _send(where: Where, dataset: str, found: Found, prepared: Prepared, folder: Path) -> None:
    manifest = prepared.manifest.model_copy(update={"owner_uid": found.uid})
    target = UploadTarget(kind="Dataset", namespace=found.namespace, name=dataset, uid=found.uid)
    again = "Nothing is lost: the same command goes on where it stopped."
    with (
        connect(where, names.PUBLISHER_ACCOUNT, UPLOAD_PATIENCE_SECONDS) as client,
        answers_explained(),
        leaving(again),
        _none_left_empty(where, dataset, found),
        Bar("uploading") as bar,
    ):
        progress: Callable[[int, int], None] = bar.advance
        committed = client.push(target, manifest, folder, progress)
    click.echo(f"shareddataset.{names.GROUP}/{dataset} {'pushed' if committed.created else 'unchanged'}")
    click.echo(committed.digest)


@contextmanager
def _none_left_empty(where: Where, dataset: str, found: Found) -> Iterator[None]:
    """A refused push takes along the dataset made for it. One that only broke off keeps it, to go on."""
    try:
        yield
    except AccessRefused:
        if found.made:
            try:
                run(where, lambda cluster: _remove_empty(cluster, dataset, found.uid))
            except CommandError as error:
                click.echo(f"note: {dataset} stays, without a version: {error.what}. {error.remedy}", err=True)
        raise


async def _remove_empty(cluster: Cluster, name: str, uid: str) -> None:
    """Deletes this very dataset if it has no version. Raises KubeError."""
    path = path_of(names.SHARED_DATASETS, cluster.namespace, name)
    for left in reversed(range(REMOVAL_TRIES)):
        item = await cluster.client.get(path)
        if item["metadata"]["uid"] != uid or (item.get("status") or {}).get("versions"):
            return
        seen = {"uid": uid, "resourceVersion": item["metadata"]["resourceVersion"]}
        try:
            await cluster.client.delete(path, preconditions=seen)
        except KubeError as error:
            if error.status != 409 or not left:
                raise
            continue  # the operator wrote its status in between
        click.echo(f"shareddataset.{names.GROUP}/{name} deleted: it was made for this and is empty")
        return
