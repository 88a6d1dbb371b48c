"""`list datasets`: what the team owns and what others granted to it, as the broker tells its members."""

import datetime as dt

import click

from collabspace.api import names
from collabspace.cli.broker import answers_explained, connect
from collabspace.cli.cluster import Cluster, run
from collabspace.cli.options import Where
from collabspace.cli.output import Cell, age, nothing_found, print_document, print_table, short, without_empty
from collabspace.client.protocol import DatasetOffer, GrantOffer
from collabspace.kube import clock

HEADERS = ("NAMESPACE", "NAME", "FORMAT", "VERSION", "RECORDS", "AGE", "MAY", "UNTIL", "PURPOSE", "NOTE")
OPTIONAL = ("UNTIL", "PURPOSE", "NOTE")


def show(where: Where, output: str | None) -> None:
    """Prints them; `-o name` as --dataset takes them."""
    namespace = run(where, _namespace)
    with connect(where, names.READER_ACCOUNT) as client, answers_explained():
        found = client.datasets(namespace)
    if output == "name":
        for each in found:
            click.echo(f"{each.namespace}/{each.name}")
    elif output in ("json", "yaml"):
        print_document([each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in found], output)
    elif not found:
        nothing_found(namespace)
    else:
        now = clock.now()
        rows = [row for each in found for row in rows_of(each, now)]
        print_table(*without_empty(HEADERS, rows, OPTIONAL))


def rows_of(dataset: DatasetOffer, now: dt.datetime) -> list[tuple[Cell, ...]]:
    """Rows for HEADERS: one for each grant, since each has an end and a purpose of its own. Pure."""
    version = (short(dataset.version) or "-", "" if dataset.records is None else str(dataset.records))
    cells = (dataset.namespace, dataset.name, dataset.format, *version, age(dataset.created_time, now))
    note = ("" if dataset.unready in ("", "NoVersion") else dataset.unready, "yellow")
    if not dataset.grants:
        return [(*cells, "own", "", "", note)]
    return [(*cells, *_grant_cells(grant), note) for grant in dataset.grants]


def _grant_cells(grant: GrantOffer) -> tuple[Cell, ...]:
    uses = ("ended", "yellow") if grant.ended else ",".join(grant.uses)
    return uses, grant.not_after or "-", grant.purpose


async def _namespace(cluster: Cluster) -> str:
    return cluster.namespace
