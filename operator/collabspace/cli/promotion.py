"""An alias set by a person: to a selection's winner, to a task's model, or back."""

import uuid

import click

from collabspace.api import names
from collabspace.api.selection import ModelSelection
from collabspace.api.task import CollabTask
from collabspace.cli import stored_models
from collabspace.cli.broker import UPLOAD_PATIENCE_SECONDS, answers_explained, connect
from collabspace.cli.cluster import Cluster, parsed, run
from collabspace.cli.errors import CommandError, command
from collabspace.cli.options import Where
from collabspace.cli.output import short
from collabspace.cli.selection_state import has_ended
from collabspace.cli.selection_state import reason_of as reason_of_selection
from collabspace.cli.selection_state import state_of as state_of_selection
from collabspace.cli.subjects import is_there
from collabspace.cli.task_state import State, reason_of, state_of
from collabspace.client.client import BrokerClient
from collabspace.client.protocol import AliasChange, AliasState, Standing


def promote(where: Where, kind: str | None, name: str, alias: str | None) -> None:
    """Sets the alias to the winner of a selection, or to the model of a task where both have the name."""
    if kind == "selection" or (kind is None and not is_there(where, names.COLLAB_TASKS, name)):
        _winner(where, name, alias)
        return
    task = parsed(CollabTask, run(where, lambda cluster: cluster.find(names.COLLAB_TASKS, name)))
    meta = task.metadata
    if alias is None:
        raise CommandError(
            f"{name} is a task: no spec says its alias", f"Say it: {command(f'promote {name} --alias NAME')}."
        )
    if state_of(task) is not State.SUCCEEDED:
        what = f"task {name} has not succeeded ({state_of(task)}, {reason_of(task)})"
        raise CommandError(what, f"Promote another one, or see why: {command(f'why {name} -n {meta.namespace}')}.")
    wanted = Standing(task_uid=meta.uid, task=meta.name, digest=stored_models.result_of(task))
    with _publisher(where) as client, answers_explained():
        now = stored_models.standing(client, meta.namespace, alias)
        _set(client, meta.namespace, alias, wanted, now)


def to_previous(where: Where, alias: str) -> None:
    """Sets the alias back to what it stood for just before."""
    namespace = run(where, _namespace)
    with _publisher(where) as client, answers_explained():
        now = stored_models.standing(client, namespace, alias)
        if now is None or now.last is None:
            what = f"alias {alias} " + (
                "stands for its first model" if now else f"is not there in namespace {namespace}"
            )
            raise CommandError(what, f"Promote a task: {command(f'promote TASK --alias {alias} -n {namespace}')}.")
        _set(client, namespace, alias, now.last, now)


def _winner(where: Where, name: str, alias: str | None) -> None:
    selection = parsed(ModelSelection, run(where, lambda cluster: cluster.find(names.MODEL_SELECTIONS, name)))
    namespace, winner, champion = selection.metadata.namespace, selection.status.winner, selection.status.champion
    if winner is None or not has_ended(selection):
        stands = f"{state_of_selection(selection)}, {reason_of_selection(selection)}"
        see = command(f"compare {name} -n {namespace}")
        raise CommandError(f"selection {name} has no winner to promote ({stands})", f"See: {see}.")
    said = selection.spec.promotion
    chosen = alias or (said.alias if said else None)
    if chosen is None:
        remedy = f"Say it: {command(f'promote {name} --alias NAME -n {namespace}')}."
        raise CommandError(f"the spec of selection {name} names no alias", remedy)
    wanted = Standing(task_uid=winner.task_uid, task=winner.task_name, digest=winner.result_digest)
    with _publisher(where) as client, answers_explained():
        now = stored_models.standing(client, namespace, chosen)
        compared = said is not None and chosen == said.alias
        seen = champion.result_digest if champion else None
        if compared and now is not None and now.digest not in (seen, wanted.digest):
            what = f"alias {chosen} stands for {short(now.digest)} of {now.task}, with which {name} was not compared"
            again = command(f"promote {winner.task_name} --alias {chosen} -n {namespace}")
            raise CommandError(what, f"Select anew, or promote all the same: {again}.")
        _set(client, namespace, chosen, wanted, now)


def _set(client: BrokerClient, namespace: str, alias: str, wanted: Standing, now: AliasState | None) -> None:
    if now is not None and now.digest == wanted.digest:
        click.echo(f"alias {alias} unchanged: {_words(namespace, wanted)}")
        return
    change = AliasChange(
        key=f"person/{uuid.uuid4()}",
        task_uid=wanted.task_uid,
        digest=wanted.digest,
        replaces=now.digest if now else None,
    )
    client.set_alias(namespace, alias, change)
    click.echo(f"alias {alias} promoted: {_words(namespace, wanted)}")
    if now is not None:
        back = command(f"promote --alias {alias} --to-previous -n {namespace}")
        click.echo(f"It was {_words(namespace, now.standing)}. Back: {back}", err=True)


def _words(namespace: str, model: Standing) -> str:
    return f"{namespace}/{model.task}, result {short(model.digest)}"


def _publisher(where: Where) -> BrokerClient:
    return connect(where, names.PUBLISHER_ACCOUNT, UPLOAD_PATIENCE_SECONDS)


async def _namespace(cluster: Cluster) -> str:
    return cluster.namespace
