"""Models of the own team: found by alias or task, fetched with their report, published as a dataset."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
from pydantic import ValidationError

from collabspace.api import names
from collabspace.api.manifest import DatasetFormat, Manifest
from collabspace.api.task import CollabTask, ModelKind
from collabspace.cli import publishing
from collabspace.cli.broker import UPLOAD_PATIENCE_SECONDS, answers_explained, connect
from collabspace.cli.cluster import Cluster, parsed, path_of, run
from collabspace.cli.errors import CommandError, command, leaving
from collabspace.cli.options import Where
from collabspace.cli.output import short, size
from collabspace.cli.task_state import reason_of, state_of
from collabspace.client.client import BrokerClient
from collabspace.client.paths import MANIFEST_FILE
from collabspace.client.protocol import AliasState
from collabspace.formats.model import INDEX, TOKENIZER, WEIGHTS
from collabspace.kube.client import KubeError

MODEL = "model/"


@dataclass(frozen=True)
class Model:
    """A stored result of the namespace: where it was found, which one it is, and the task that made it."""

    namespace: str
    kind: ModelKind
    name: str
    digest: str
    task: str


def pull(where: Where, wanted: tuple[str | None, str], folder: Path, *, force: bool = False) -> None:
    """Fetches the model and its report; what was complete already is left alone.

    Raises CommandError when something else was pulled into the folder, unless `force` replaces it."""
    with reader(where) as client, answers_explained():
        model = find(where, client, *wanted)
        _make_way(folder, model, force=force)
        with leaving(f"What was fetched stays in {folder}; run the command again to go on."):
            manifest = client.fetch_result(model.namespace, model.kind, model.name, folder, model.digest)
    held = [file for file in manifest.files if file.path.startswith(MODEL)]
    bytes_held = size(sum(file.bytes for file in held))
    click.echo(f"{model.name}: {len(held)} files of the model, {bytes_held}, result {short(model.digest)} in {folder}")


def publish(where: Where, wanted: tuple[str | None, str], dataset: str) -> None:
    """Makes the dataset if it is not there, and pushes the model as its newest version, parents named."""
    with tempfile.TemporaryDirectory(prefix="collabspace-model-") as scratch:
        with reader(where) as client, answers_explained():
            model = find(where, client, *wanted)
            result = client.fetch_result(
                model.namespace,
                model.kind,
                model.name,
                Path(scratch),
                model.digest,
                lambda path: path.startswith(MODEL),
            )
        _require_encoder(where, model, result)
        spec = {"format": DatasetFormat.MODEL.value, "description": f"Model of {model.name}, result {model.digest}"}
        wish = publishing.Wish(
            spec, "iob2", dry_run=False, parents=(model.digest, *result.parents), called=f"the model of {model.name}"
        )
        publishing.push(where, dataset, Path(scratch, MODEL), wish)


def _make_way(folder: Path, model: Model, *, force: bool) -> None:
    """Removes what another pull left in the folder. Raises CommandError instead, unless `force`."""
    held = folder / MANIFEST_FILE
    if not held.exists():
        return
    try:
        other = Manifest.model_validate_json(held.read_bytes())
    except ValidationError as error:
        what = f"{held} is there and is no manifest of something that was pulled"
        raise CommandError(what, "Name another folder, or remove it.") from error
    if other.digest == model.digest:
        return
    if not force:
        what = f"{folder} holds something else that was pulled, {short(other.digest)}, not {short(model.digest)}"
        raise CommandError(what, "Name another folder, or replace it with --force.")
    for file in other.files:  # all of them: a file that the new model lacks must not be taken for its own
        (folder / file.path).unlink(missing_ok=True)
    held.unlink()


def _require_encoder(where: Where, model: Model, result: Manifest) -> None:
    """Raises CommandError for what format Model cannot hold: all but whole weights with their tokenizer."""
    paths = {file.path.removeprefix(MODEL) for file in result.files if file.path.startswith(MODEL)}
    if TOKENIZER in paths and paths & {WEIGHTS, INDEX}:
        return
    _, task = run(where, lambda cluster: _task(cluster, model.task))
    made = task is not None and task.status.result is not None and task.status.result.digest == model.digest
    method = f", made by method {task.spec.method}," if task is not None and made else ""
    what = f"the model of {model.name}{method} cannot be published: only encoders can, whole weights with tokenizer"
    raise CommandError(what, f"Nothing was made. Fetch it: {command(f'pull model {model.name} FOLDER')}.")


def reader(where: Where) -> BrokerClient:
    return connect(where, names.READER_ACCOUNT, UPLOAD_PATIENCE_SECONDS)


def find(where: Where, client: BrokerClient, kind: str | None, name: str) -> Model:
    """The model of that name. Raises CommandError when there is none, or when alias and task mean different ones."""
    namespace, task = run(where, lambda cluster: _task(cluster, name))
    aliases = {state.alias: state for state in client.aliases(namespace)}
    by_alias, by_task = aliases.get(name), task.status.result if task else None
    if kind is None and by_alias and by_task and by_alias.digest != by_task.digest:
        what = f"{name} is an alias and a task, and they are not the same model"
        raise CommandError(what, f"Say which: alias/{name} or task/{name}.")
    if kind != "task" and by_alias:
        return Model(namespace, ModelKind.ALIAS, name, by_alias.digest, by_alias.task)
    if kind != "alias" and task:
        return Model(namespace, ModelKind.COLLAB_TASK, name, result_of(task), name)
    known = f"Aliases: {', '.join(aliases)}. " if aliases else ""
    what = f"no {kind or 'alias or task'} {name} in namespace {namespace}"
    raise CommandError(what, f"{known}See the tasks: {command(f'list -n {namespace}')}.")


def result_of(task: CollabTask) -> str:
    """Digest of its stored result. Raises CommandError when it has none."""
    if task.status.result is None:
        name, namespace = task.metadata.name, task.metadata.namespace
        what = f"task {name} has no result ({state_of(task)}, {reason_of(task)})"
        raise CommandError(what, f"See why: {command(f'why {name} -n {namespace}')}.")
    return task.status.result.digest


def standing(client: BrokerClient, namespace: str, alias: str) -> AliasState | None:
    """What an alias stands for now."""
    return next((state for state in client.aliases(namespace) if state.alias == alias), None)


async def _task(cluster: Cluster, name: str) -> tuple[str, CollabTask | None]:
    try:
        item = await cluster.client.get(path_of(names.COLLAB_TASKS, cluster.namespace, name))
    except KubeError as error:
        if error.status == 404 and error.reason == "NotFound":
            return cluster.namespace, None
        raise
    return cluster.namespace, parsed(CollabTask, item)
