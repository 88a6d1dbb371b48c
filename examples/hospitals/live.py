"""Rows of running tasks as they move: state from the API server, progress and loss from the broker."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.live import Live
from rich.text import Text
from stage import Stage, StepFailedError

from collabspace.api import names
from collabspace.api.run import Progress
from collabspace.api.task import CollabTask
from collabspace.cli import broker, cluster, glyphs, task_state
from collabspace.cli.options import Where
from collabspace.client.client import BrokerClient
from collabspace.client.errors import BrokerError

SECONDS_BETWEEN_LOOKS = 1.0
# The broker's reason while no attempt has reported.
NOTHING_YET = "NoProgress"


@dataclass(frozen=True)
class Row:
    """One task at one moment."""

    name: str
    state: task_state.State
    reason: str
    message: str
    percent: int
    stage: str
    curve: tuple[float, ...]
    note: str

    def changed(self, before: "Row | None") -> bool:
        """Worth a line of its own where lines cannot be redrawn: another state or reason, or a quarter done."""
        if before is None:
            return True
        return (self.state, self.reason, self.percent // 25) != (before.state, before.reason, before.percent // 25)


def watch(stage: Stage, where: Where, tasks: list[str], timeout: float) -> dict[str, CollabTask]:
    """Shows the tasks until all have ended; returns them. Raises StepFailedError after `timeout` seconds."""
    if stage.console.is_terminal:
        with Live(console=stage.console, refresh_per_second=4, transient=False) as screen:
            for rows in _looks(where, tasks, timeout):
                screen.update(_table(rows))
    else:
        before: dict[str, Row] = {}
        for rows in _looks(where, tasks, timeout):
            for row in rows:
                if row.changed(before.get(row.name)):
                    stage.console.print(_line(row))
                before[row.name] = row
    return _tasks(where, tasks)


def wait_for_stage(where: Where, task: str, stage: str, timeout: float) -> None:
    """Returns when the trainer says it is there. Raises StepFailedError when it ends before, or after `timeout` s."""
    for rows in _looks(where, [task], timeout):
        if rows[0].stage == stage:
            return
    raise StepFailedError(f"{task} ended without stage {stage}")


def _looks(where: Where, tasks: list[str], timeout: float) -> Iterator[list[Row]]:
    deadline = time.monotonic() + timeout
    with broker.connect(where, names.READER_ACCOUNT) as client:
        while True:
            found = _tasks(where, tasks)
            rows = [_row(found[name], _progress(client, found[name])) for name in tasks]
            yield rows
            if all(task_state.has_ended(task) for task in found.values()):
                return
            if time.monotonic() > deadline:
                raise StepFailedError(
                    f"not ended after {timeout:.0f} s: {[row.name for row in rows if row.percent < 100]}"
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)  # noqa: TID251 the pace of a display


def _progress(client: BrokerClient, task: CollabTask) -> Progress | None:
    if task_state.state_of(task) not in (task_state.State.RUNNING, task_state.State.SUCCEEDED):
        return None
    try:
        return client.progress(task.metadata.namespace, task.metadata.name).progress
    except BrokerError as error:
        if error.reason == NOTHING_YET:
            return None
        raise


def _row(task: CollabTask, progress: Progress | None) -> Row:
    state = task_state.state_of(task)
    percent, curve, note = 0, (), ""
    if progress is not None:
        percent, curve = progress.percent, tuple(map(float, progress.curve))
        note = f"loss {float(progress.loss):.3f}" if progress.loss else progress.stage
    if state is task_state.State.SUCCEEDED:
        headline = next((m for m in task.status.metrics if not m.dataset and not m.label), None)
        percent = 100
        note = f"{headline.name} {float(headline.value):.3f}" if headline else ""
    stage = progress.stage if progress is not None else ""
    reason, message = task_state.reason_of(task), task_state.message_of(task)
    return Row(task.metadata.name, state, reason, message, percent, stage, curve, note)


def _table(rows: list[Row]) -> Text:
    lines = Text()
    for row in rows:
        lines.append_text(_line(row))
        lines.append("\n")
    return lines


def _line(row: Row) -> Text:
    style = task_state.STYLES[row.state]
    text = Text.assemble(f"    {row.name:<14}", (f"{row.state:<10}", style))
    if row.state is task_state.State.WAITING:
        return text.append(f"{row.reason}: {row.message}"[:90], style="dim")
    text.append(glyphs.progress_bar(row.percent), style=style)
    return text.append(f"  {glyphs.sparkline(row.curve, 32):<32}  {row.note}", style="dim")


def _tasks(where: Where, wanted: list[str]) -> dict[str, CollabTask]:
    async def read(connection: cluster.Cluster) -> list[CollabTask]:
        return [cluster.parsed(CollabTask, item) for item in await connection.every(names.COLLAB_TASKS)]

    found = {task.metadata.name: task for task in cluster.run(where, read)}
    return {name: found[name] for name in wanted}
