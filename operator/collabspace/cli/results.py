"""Files of a stored result, fetched from the broker and printed."""

import sys

import click
from pydantic import ValidationError

from collabspace.api import names
from collabspace.api.report import Report
from collabspace.api.task import CollabTask
from collabspace.cli.broker import answers_explained, open_broker
from collabspace.cli.cluster import Cluster, parsed, run
from collabspace.cli.errors import CommandError, command
from collabspace.cli.options import Where
from collabspace.cli.output import on_terminal, print_document
from collabspace.cli.task_state import has_ended, reason_of, state_of
from collabspace.client.client import BrokerClient

METRICS_FILE = "metrics.json"


def show(where: Where, task: str, file_name: str | None, output: str) -> None:
    """Prints the report of a task as text or JSON, or one file of its result as it is."""
    namespace, client = run(where, lambda cluster: _open(cluster, task))
    with client, answers_explained():
        content = client.result_file(namespace, task, file_name or METRICS_FILE)
    if file_name:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    measured = read_report(content, task)
    if output == "json":
        print_document(measured.model_dump(mode="json", by_alias=True), "json")
    elif on_terminal():
        from collabspace.cli.drawing import console
        from collabspace.cli.report import drawn

        renderable, width = drawn(measured, console().width)
        console(width).print(renderable)
    else:
        from collabspace.cli.report import as_text

        click.echo(as_text(measured))


def read_report(content: bytes, task: str) -> Report:
    """The typed form of metrics.json. Raises CommandError when another release wrote it."""
    try:
        return Report.model_validate_json(content)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        remedy = f"Client and trainer differ in release; the plain text: {command(f'report {task} --file report.txt')}."
        raise CommandError(f"the report of task {task} cannot be read: field {field}", remedy) from error


async def _open(cluster: Cluster, name: str) -> tuple[str, BrokerClient]:
    """The broker, once it is clear that there is a result to ask for."""
    task = parsed(CollabTask, await cluster.find(names.COLLAB_TASKS, name))
    if task.status.result is None:
        if has_ended(task):
            remedy = f"It ended without one: {command(f'why {name} -n {cluster.namespace}')}."
        else:
            remedy = f"Wait for it: {command(f'wait {name} -n {cluster.namespace}')}."
        raise CommandError(f"task {name} has no result ({state_of(task)}, {reason_of(task)})", remedy)
    return cluster.namespace, await open_broker(cluster, names.READER_ACCOUNT)
