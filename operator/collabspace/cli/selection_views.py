"""Selections printed: a list of them, one with its leaderboard, and the whole comparison."""

from collections.abc import Sequence
from typing import Any

import click

from collabspace.api import names
from collabspace.api.conditions import ConditionType
from collabspace.api.selection import ModelSelection
from collabspace.cli import selection_rows
from collabspace.cli.advice import CORRECTABLE
from collabspace.cli.cluster import Cluster, parsed, readable, run
from collabspace.cli.errors import command
from collabspace.cli.options import Where
from collabspace.cli.output import (
    OBJECT_FORMS,
    Cell,
    nothing_found,
    plain,
    print_document,
    print_objects,
    print_table,
    without_empty,
)
from collabspace.cli.selection_state import reason_of, state_of, status_of
from collabspace.cli.task_state import known_reason
from collabspace.kube import clock
from collabspace.kube.client import Object

KIND = {"apiVersion": names.API_VERSION, "kind": "ModelSelection"}
SHOWN = ("datasets", "leaderboard", "winner", "champion", "comparison", "promotion", "cost")


def show_list(where: Where, params: dict[str, str], output: str | None) -> None:
    """Prints the selections in scope that the list parameters select."""

    async def read(cluster: Cluster) -> tuple[str | None, list[Object]]:
        return cluster.scope, await cluster.every(names.MODEL_SELECTIONS, params)

    scope, items = run(where, read)
    if output in OBJECT_FORMS:
        print_objects([KIND | item for item in items], str(output))
        return
    if not items:
        nothing_found(scope)
        return
    now = clock.now()
    found = readable(ModelSelection, items)
    rows = [(each.metadata.namespace, *selection_rows.list_row(each, now)) for each in found]
    headers = ("NAMESPACE", *selection_rows.LIST_HEADERS)
    skipped = 0 if where.all_namespaces else 1
    shown: list[tuple[Cell, ...]] = [row[skipped:] for row in rows]
    print_table(*without_empty(headers[skipped:], shown, ("WINNER", "VALUE", "ALIAS")))


def show_one(where: Where, name: str, output: str | None) -> None:
    """Prints one selection: facts and leaderboard."""
    item = run(where, lambda cluster: cluster.find(names.MODEL_SELECTIONS, name))
    if output:
        print_objects([KIND | item], output, single=True)
        return
    selection = parsed(ModelSelection, item)
    click.echo(selection_rows.heading(selection))
    for fact, value in selection_rows.facts(selection, clock.now()):
        click.echo(f"  {fact:<11}{plain(value)}")
    _block("", selection_rows.BOARD_HEADERS, selection_rows.board_rows(selection), selection_rows.BOARD_OPTIONAL)
    _lines(selection_rows.outcome(selection))
    click.echo(f"\nThe whole of it: {_about(selection, 'compare')}")


def compare(where: Where, name: str, output: str) -> None:
    """Prints leaderboard, comparison and how to read them."""
    selection = parsed(ModelSelection, run(where, lambda cluster: cluster.find(names.MODEL_SELECTIONS, name)))
    from collabspace.cli import winner_figures

    measured = winner_figures.read(where, selection)
    if output != "text":
        print_document(_document(selection) | {"winnerFigures": winner_figures.documents(measured)}, output)
        return
    rows = selection_rows
    click.echo(rows.heading(selection))
    metric = selection.spec.objective.metric
    _block(f"Leaderboard: {metric} on validation", rows.BOARD_HEADERS, rows.board_rows(selection), rows.BOARD_OPTIONAL)
    entries = selection.status.comparison
    _block(
        f"Comparison: {metric} on test",
        rows.COMPARISON_HEADERS,
        rows.comparison_rows(entries),
        rows.COMPARISON_OPTIONAL,
    )
    _block(f"The winner's best run: {metric}", winner_figures.HEADERS, winner_figures.rows(measured), ())
    _lines(rows.outcome(selection))
    click.echo(f"All candidates together: {rows.cost_text(selection.status.cost)}")
    _lines(rows.reading(selection))
    if rows.awaits_a_person(selection):
        click.echo(f"\nTo promote the winner: {_about(selection, 'promote')}")


def explain(where: Where, name: str, output: str | None) -> None:
    """Why the selection stands where it does, and which command would help."""
    selection = parsed(ModelSelection, run(where, lambda cluster: cluster.find(names.MODEL_SELECTIONS, name)))
    reason = known_reason(reason_of(selection))
    next_commands = next_commands_of(selection)
    if output:
        document = {
            "selection": f"{selection.metadata.namespace}/{selection.metadata.name}",
            "state": f"{state_of(selection)}, {reason_of(selection)}",
            "message": selection_rows.heading(selection).partition(". ")[2],
            "meaning": reason.help if reason else "",
            "candidates": selection_rows.candidate_lines(selection),
            "next": next_commands,
        }
        print_document(document, output)
        return
    click.echo(selection_rows.heading(selection))
    if reason:
        click.echo(f"\n{reason.help}")
    held = [line for line in selection_rows.candidate_lines(selection).values() if "  Ranked" not in line]
    if held:
        click.echo("\nCandidates without a rank:")
        for line in held:
            click.echo(f"  {line}")
    _lines(selection_rows.outcome(selection))
    click.echo("\nNext, once the file is corrected:" if _correctable(selection) else "\nNext:")
    for words in next_commands:
        click.echo(f"  {words}")


def _correctable(selection: ModelSelection) -> bool:
    """Whether it was refused for its spec, which is not frozen yet."""
    return reason_of(selection) in CORRECTABLE and status_of(selection, ConditionType.ACCEPTED) != "True"


def next_commands_of(selection: ModelSelection) -> list[str]:
    """Commands that show more or would change something: a waiting task says itself what would help it."""
    namespace = selection.metadata.namespace
    if _correctable(selection):
        return [command(f"select -f FILE -n {namespace}")]
    waiting = [
        each for each in selection.status.leaderboard if each.task_name and each.state in ("Waiting", "Excluded")
    ]
    found = [command(f"why {each.task_name} -n {namespace}") for each in waiting[:3]]
    if selection_rows.awaits_a_person(selection):
        found.append(_about(selection, "promote"))
    return [*found, _about(selection, "compare")]


def _about(selection: ModelSelection, verb: str) -> str:
    return command(f"{verb} {selection.metadata.name} -n {selection.metadata.namespace}")


def _document(selection: ModelSelection) -> dict[str, Any]:
    status = selection.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    place = {"namespace": selection.metadata.namespace, "name": selection.metadata.name}
    objective = selection.spec.objective.model_dump(mode="json", by_alias=True)
    known = {field: status[field] for field in SHOWN if field in status}
    return place | {"state": state_of(selection).value, "reason": reason_of(selection), "objective": objective} | known


def _block(title: str, headers: Sequence[str], rows: Sequence[tuple[Cell, ...]], optional: Sequence[str]) -> None:
    if rows:
        click.echo(f"\n{title}".rstrip(" ") if title else "")
        print_table(*without_empty(headers, rows, optional))


def _lines(lines: Sequence[str]) -> None:
    if lines:
        click.echo("\n" + "\n".join(plain(line) for line in lines))
