"""`list aliases`: which stored model each name of the team stands for, since when, by whom, and what it was before."""

from collections.abc import Mapping
from typing import Any

import click

from collabspace.api import names
from collabspace.cli.broker import answers_explained, connect
from collabspace.cli.cluster import Cluster, run
from collabspace.cli.errors import command
from collabspace.cli.options import Where
from collabspace.cli.output import Cell, print_document, print_table, short, without_empty
from collabspace.client.protocol import AliasState
from collabspace.kube import clock

HEADERS = ("ALIAS", "MODEL OF", "RESULT", "SINCE", "SET BY", "BEFORE")
OPTIONAL = ("BEFORE",)
BY_HAND = "person"
"""The key of a change begins with this word where a person made it, else with the uid of the selection."""


def show(where: Where, output: str | None) -> None:
    """Prints them; `-o name` as --model takes them."""
    namespace, selections = run(where, _selections)
    with connect(where, names.READER_ACCOUNT) as client, answers_explained():
        found = client.aliases(namespace)
    if output == "name":
        for each in found:
            click.echo(f"alias/{each.alias}")
    elif output in ("json", "yaml"):
        print_document([_document(each, selections) for each in found], output)
    elif not found:
        make = command(f"promote TASK --alias NAME -n {namespace}")
        click.echo(f"No aliases found in {namespace} namespace. To make one: {make}", err=True)
    else:
        print_table(*without_empty(HEADERS, [row(each, selections) for each in found], OPTIONAL))


def row(state: AliasState, selections: Mapping[str, str]) -> tuple[Cell, ...]:
    """A row for HEADERS; `selections` are names by uid. Pure."""
    since = clock.rfc3339(clock.parse(state.promoted_time).replace(microsecond=0))
    before = "" if state.last is None else f"{state.last.task} ({short(state.last.digest)})"
    return state.alias, state.task, short(state.digest), since, set_by(state, selections), before


def set_by(state: AliasState, selections: Mapping[str, str]) -> str:
    """Who let it stand for what it does. Pure."""
    who = state.keys[0].partition("/")[0] if state.keys else ""
    if who == BY_HAND:
        return "a person"
    return f"selection {selections[who]}" if who in selections else "a selection that is gone"


def _document(state: AliasState, selections: Mapping[str, str]) -> dict[str, Any]:
    told = state.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"keys", "namespace_uid"})
    return told | {"setBy": set_by(state, selections)}


async def _selections(cluster: Cluster) -> tuple[str, dict[str, str]]:
    """The namespace, and its selections' names by uid."""
    items = await cluster.every(names.MODEL_SELECTIONS)
    return cluster.namespace, {item["metadata"]["uid"]: item["metadata"]["name"] for item in items}
