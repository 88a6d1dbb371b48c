"""Tasks shown as they go on: live rows on a terminal, a line for each change elsewhere, until they have ended."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import click

from collabspace.api import names
from collabspace.api.task import CollabTask
from collabspace.cli import task_rows
from collabspace.cli.attempts import Announcer
from collabspace.cli.cluster import Cluster, path_of, readable, run
from collabspace.cli.errors import CommandError, command, leaving
from collabspace.cli.options import Where
from collabspace.cli.output import on_terminal
from collabspace.cli.task_rows import Key
from collabspace.cli.task_state import State, has_ended, state_of
from collabspace.cli.watching import Change, changes, merged
from collabspace.client.client import BrokerClient
from collabspace.client.errors import BrokerError
from collabspace.client.protocol import AttemptFeed
from collabspace.kube import clock

Selections = Sequence[tuple[str | None, dict[str, str]]]
"""What to watch: namespace (None: all of them) and parameters of the list."""
FEED_SECONDS = 2.0
FEED_PATIENCE_SECONDS = 2.0


@dataclass
class Board:
    """What is known of the tasks being watched. `note` says why live figures are missing, when they are."""

    tasks: dict[Key, CollabTask] = field(default_factory=dict)
    feeds: dict[Key, AttemptFeed] = field(default_factory=dict)
    note: str = ""

    def take(self, change: Change) -> CollabTask | None:
        """Brings the board up to date; gives the task, or None when it was deleted or cannot be read."""
        if change.deleted:
            self.tasks.pop(change.key, None)
            return None
        for task in readable(CollabTask, [change.object]):
            self.tasks[change.key] = task
            return task
        self.tasks.pop(change.key, None)
        return None

    @property
    def ordered(self) -> list[CollabTask]:
        return [self.tasks[key] for key in sorted(self.tasks)]


class Feeds:
    """The broker's live figures of running tasks, one client for each namespace, opened when first needed."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._clients: dict[str, BrokerClient] = {}

    async def refresh(self, board: Board) -> None:
        """Asks for every running task at once. What the broker cannot say is noted on the board, not raised."""
        running = [task for task in board.ordered if state_of(task) is State.RUNNING]
        board.note = ""
        await asyncio.gather(*(self._ask(board, task) for task in running))

    async def _ask(self, board: Board, task: CollabTask) -> None:
        key = task_rows.key_of(task)
        try:
            client = await self._client(key[0])
            board.feeds[key] = await asyncio.to_thread(client.progress, *key)
        except (BrokerError, CommandError) as error:
            board.note = f"live figures are missing: {error}"

    async def _client(self, namespace: str) -> BrokerClient:
        from collabspace.cli.broker import open_broker

        if namespace not in self._clients:
            self._clients[namespace] = await open_broker(
                self._cluster, names.READER_ACCOUNT, namespace, FEED_PATIENCE_SECONDS
            )
        return self._clients[namespace]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


async def boards(cluster: Cluster, selections: Selections) -> AsyncGenerator[tuple[Board, Change | None], None]:
    """The board after every change (with it) and after every refresh of the live figures (with None).

    The first board is complete.
    """
    board, feeds = Board(), Feeds(cluster)
    sources = [changes(cluster.client, path_of(names.COLLAB_TASKS, space), params) for space, params in selections]
    complete = 0
    try:
        async with aclosing(merged(*sources, _ticks())) as stream:
            async for event in stream:
                if isinstance(event, Change):
                    board.take(event)
                elif event is None:
                    complete += 1
                else:
                    await feeds.refresh(board)
                if complete >= len(selections):
                    yield board, event if isinstance(event, Change) else None
    finally:
        feeds.close()


async def _ticks() -> AsyncGenerator[str, None]:
    while True:
        yield "tick"
        await asyncio.sleep(FEED_SECONDS)


def watch_list(where: Where, params: dict[str, str]) -> None:
    """Every task in scope, without end."""

    async def follow(cluster: Cluster) -> None:
        selection = (cluster.scope, params)
        await _show(cluster, [selection], lambda _board: False, everywhere=where.all_namespaces)

    with leaving("The tasks go on in the cluster."):
        run(where, follow)


def watch_live(where: Where, tasks: list[Key]) -> bool:
    """These tasks until all have ended; whether all succeeded. Raises CommandError when one was deleted."""

    async def follow(cluster: Cluster) -> bool:
        board = await _show(cluster, _selections(tasks), lambda board: _all_ended(board, tasks))
        return all(state_of(board.tasks[key]) is State.SUCCEEDED for key in tasks)

    with leaving(_goes_on(tasks)):
        return run(where, follow)


def until_ended(where: Where, tasks: list[Key]) -> bool:
    """The same without a word until the end, then one line for each."""

    async def follow(cluster: Cluster) -> bool:
        board = await _follow(cluster, _selections(tasks), lambda _: None, lambda board: _all_ended(board, tasks))
        for task in board.ordered:
            click.echo(task_rows.live_line(task, None))
        return all(state_of(board.tasks[key]) is State.SUCCEEDED for key in tasks)

    with leaving(_goes_on(tasks)):
        return run(where, follow)


async def _follow(
    cluster: Cluster, selections: Selections, show: Callable[[Board], None], done: Callable[[Board], bool]
) -> Board:
    """Shows the board after every change; returns it when it is done."""
    async with aclosing(boards(cluster, selections)) as stream:
        async for board, _ in stream:
            show(board)
            if done(board):
                return board
    raise AssertionError("a watch has no end")


async def _show(
    cluster: Cluster, selections: Selections, done: Callable[[Board], bool], *, everywhere: bool = False
) -> Board:
    if not on_terminal():
        return await _follow(cluster, selections, Lines(everywhere).show, done)
    from rich.live import Live

    from collabspace.cli.drawing import console, live_tasks

    headers = task_rows.live_headers(everywhere=everywhere)
    screen = console()
    with Live(console=screen, refresh_per_second=4) as live:
        announcer = Announcer()

        def redraw(board: Board) -> None:
            for task in board.ordered:
                for line in announcer.lines(task):
                    screen.print(f"{task.metadata.name}  {line}")
            rows = [
                task_rows.live_row(task, board.feeds.get(task_rows.key_of(task)), screen.width, everywhere=everywhere)
                for task in board.ordered
            ]
            live.update(live_tasks(headers, rows, board.note))

        return await _follow(cluster, selections, redraw, done)


class Lines:
    """Prints a line for each task whose line has changed, and before it one for each new attempt."""

    def __init__(self, everywhere: bool) -> None:
        self._everywhere = everywhere
        self._said: dict[Key, str] = {}
        self._announcer = Announcer()

    def show(self, board: Board) -> None:
        for task in board.ordered:
            key = task_rows.key_of(task)
            line = task_rows.live_line(task, board.feeds.get(key))
            lines = [f"{key[1]}  {new}" for new in self._announcer.lines(task)]
            if self._said.get(key) != line:
                self._said[key] = line
                lines.append(line)
            for each in lines:
                click.echo(f"{clock.now():%H:%M:%S}  {key[0] + '/' if self._everywhere else ''}{each}")


def _selections(tasks: list[Key]) -> Selections:
    return [(namespace, {"fieldSelector": f"metadata.name={name}"}) for namespace, name in tasks]


def _all_ended(board: Board, tasks: list[Key]) -> bool:
    for namespace, name in tasks:
        if (namespace, name) not in board.tasks:
            raise CommandError(
                f"task {name} is not there (any more) in namespace {namespace}", "It was deleted, or never made."
            )
    return all(has_ended(board.tasks[key]) for key in tasks)


def _goes_on(tasks: list[Key]) -> str:
    namespace, name = tasks[0]
    which = f"Task {name} goes" if len(tasks) == 1 else f"{len(tasks)} tasks go"
    look, stop = command(f"get {name} -n {namespace}"), command(f"cancel {name} -n {namespace}")
    return f"{which} on in the cluster. See: {look}. End it: {stop}."


def follow_logs(where: Where, tasks: list[Key]) -> bool:
    """The trainer's log of one task until it has ended; whether it succeeded."""
    from collabspace.cli.trainer_logs import follow_task

    if len(tasks) > 1:
        raise CommandError("--logs follows one task, the file has several", f"Use {command('logs TASK -f')} for each.")
    with leaving(_goes_on(tasks)):
        return run(where, lambda cluster: follow_task(cluster, tasks[0]))
