"""One selection shown as it goes on: a live leaderboard on a terminal, a line for each change elsewhere."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import click

from collabspace.api import names
from collabspace.api.selection import ModelSelection
from collabspace.cli import selection_rows
from collabspace.cli.cluster import Cluster, parsed, path_of, run
from collabspace.cli.errors import CommandError, command, leaving
from collabspace.cli.follow import FEED_SECONDS, Board, Feeds
from collabspace.cli.options import Where
from collabspace.cli.output import on_terminal, without_empty
from collabspace.cli.selection_state import has_ended, state_of
from collabspace.cli.task_state import State
from collabspace.cli.watching import Change, changes, merged
from collabspace.kube import clock

Key = tuple[str, str]
TICK = "tick"


@dataclass
class Scene:
    """The selection and the tasks that belong to it, as last seen."""

    selection: ModelSelection
    board: Board = field(default_factory=Board)

    def take(self, change: Change, key: Key) -> None:
        """Raises CommandError when the selection was deleted."""
        if "candidates" in (change.object.get("spec") or {}):
            if change.deleted:
                raise CommandError(f"selection {key[1]} was deleted from namespace {key[0]}")
            self.selection = parsed(ModelSelection, change.object)
        elif self._owns(change):
            self.board.take(change)

    def _owns(self, change: Change) -> bool:
        owners = change.object["metadata"].get("ownerReferences") or []
        return any(owner.get("uid") == self.selection.metadata.uid and owner.get("controller") for owner in owners)


def watch_live(where: Where, key: Key) -> bool:
    """Until it has ended; whether it has a winner."""
    with leaving(_goes_on(key)):
        return run(where, lambda cluster: _show(cluster, key))


def until_ended(where: Where, key: Key) -> bool:
    """The same without a word until the end, then what came of it."""

    async def follow(cluster: Cluster) -> bool:
        return _told(await _follow(cluster, key, lambda _: None))

    with leaving(_goes_on(key)):
        return run(where, follow)


async def _show(cluster: Cluster, key: Key) -> bool:
    if not on_terminal():
        return _told(await _follow(cluster, key, Lines().show))
    from rich.live import Live

    from collabspace.cli.drawing import console, live_tasks

    with Live(console=console(), refresh_per_second=4) as live:

        def redraw(scene: Scene) -> None:
            selection = scene.selection
            runs = {name: task for (_, name), task in scene.board.tasks.items()}
            feeds = {name: feed for (_, name), feed in scene.board.feeds.items()}
            rows = selection_rows.board_rows(selection, runs, feeds)
            kept = without_empty(selection_rows.BOARD_HEADERS, rows, selection_rows.BOARD_OPTIONAL)
            note = [selection_rows.heading(selection), scene.board.note]
            live.update(live_tasks(*kept, "\n".join(line for line in note if line)))

        done = await _follow(cluster, key, redraw)
    return _told(done)


def _told(selection: ModelSelection) -> bool:
    """Says what came of it."""
    click.echo(selection_rows.heading(selection))
    for line in selection_rows.outcome(selection):
        click.echo(f"  {line}")
    meta = selection.metadata
    click.echo(f"See: {command(f'compare {meta.name} -n {meta.namespace}')}", err=True)
    return state_of(selection) is State.SUCCEEDED


async def _follow(cluster: Cluster, key: Key, show: Callable[[Scene], None]) -> ModelSelection:
    """Shows the scene after every change; the selection once it has ended."""
    namespace, name = key
    only = {"fieldSelector": f"metadata.name={name}"}
    scene = Scene(parsed(ModelSelection, await cluster.find(names.MODEL_SELECTIONS, name, namespace)))
    if has_ended(scene.selection):
        show(scene)
        return scene.selection
    feeds = Feeds(cluster)
    sources = (
        changes(cluster.client, path_of(names.MODEL_SELECTIONS, namespace), only),
        changes(cluster.client, path_of(names.COLLAB_TASKS, namespace)),
        _ticks(),
    )
    try:
        async with aclosing(merged(*sources)) as stream:
            async for event in stream:
                if isinstance(event, Change):
                    scene.take(event, key)
                elif event == TICK:
                    await feeds.refresh(scene.board)
                show(scene)
                if has_ended(scene.selection):
                    return scene.selection
    finally:
        feeds.close()
    raise AssertionError("a watch has no end")


async def _ticks() -> AsyncGenerator[str, None]:
    while True:
        yield TICK
        await asyncio.sleep(FEED_SECONDS)


class Lines:
    """Prints a line for each candidate whose line has changed, and one when the selection stands elsewhere."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def show(self, scene: Scene) -> None:
        lines = selection_rows.candidate_lines(scene.selection) | {"": selection_rows.heading(scene.selection)}
        for place, line in lines.items():
            if self._said.get(place) != line and not (place == "" and has_ended(scene.selection)):
                self._said[place] = line
                click.echo(f"{clock.now():%H:%M:%S}  {line}")


def _goes_on(key: Key) -> str:
    namespace, name = key
    look = command(f"compare {name} -n {namespace}")
    return f"Selection {name} goes on in the cluster. See: {look}."
