"""What the run of a winner measured: n, figure and interval on test and validation.

A comparison says how far apart two candidates are; of a winner that is alone, and of the winner's own figure, only its
report says how sure it is.
"""

from dataclasses import dataclass
from typing import Any

import click

from collabspace.api import names
from collabspace.api.manifest import Split
from collabspace.api.report import Report, ReportMetric
from collabspace.api.selection import ModelSelection
from collabspace.cli.broker import answers_explained, connect
from collabspace.cli.errors import CommandError
from collabspace.cli.options import Where
from collabspace.cli.output import Cell
from collabspace.cli.report import figure, interval, records
from collabspace.cli.results import METRICS_FILE, read_report

HEADERS = ("SPLIT", "VALUE", "95 % INTERVAL", "RECORDS")
# The figures are beside what the selection itself says, which a broker that is away must not hold up for long.
PATIENCE_SECONDS = 5.0
SPLITS = (Split.TEST, Split.VALIDATION)


@dataclass(frozen=True)
class Measured:
    """The figure of the selection's objective on one split, over all its datasets; `records` is n."""

    metric: ReportMetric
    records: int


def read(where: Where, selection: ModelSelection) -> list[Measured]:
    """Test first; none where there is no winner, or its result is not to be had any more, which is said on stderr."""
    winner = selection.status.winner
    if winner is None:
        return []
    namespace, task = selection.metadata.namespace, winner.task_name
    try:
        with connect(where, names.READER_ACCOUNT, PATIENCE_SECONDS, namespace) as client, answers_explained():
            if client.result(namespace, task).digest != winner.result_digest:
                click.echo(f"note: task {task} was made anew since; the winner's own figures are gone", err=True)
                return []
            report = read_report(client.result_file(namespace, task, METRICS_FILE), task)
    except CommandError as error:
        click.echo(f"note: the winner's own figures cannot be shown: {error.what}", err=True)
        return []
    return of_report(report, selection.spec.objective.metric)


def of_report(report: Report, name: str) -> list[Measured]:
    """The figures of that name, pooled over all datasets. Pure."""
    pooled = [each for each in report.metrics if each.name == name and not each.dataset]
    return [Measured(each, records(report, split)) for split in SPLITS for each in pooled if each.split is split]


def rows(measured: list[Measured]) -> list[tuple[Cell, ...]]:
    """Rows for HEADERS. Pure."""
    return [
        (each.metric.split.value, figure(each.metric.value), interval(each.metric) or "-", str(each.records))
        for each in measured
    ]


def documents(measured: list[Measured]) -> list[dict[str, Any]]:
    """The same for JSON and YAML. Pure."""
    return [
        each.metric.model_dump(mode="json", by_alias=True, exclude_none=True) | {"records": each.records}
        for each in measured
    ]
