"""How commands print: tables as kubectl's, objects as JSON, YAML or names; colour on a terminal only."""

import datetime as dt
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from collabspace.api import names

Cell = str | tuple[str, str]
"""A text, or a text with a Rich style for terminals."""
KINDS = {
    "CollabTask": "collabtask",
    "SharedDataset": "shareddataset",
    "ModelSelection": "modelselection",
    "Namespace": "namespace",
}
NUMERIC = re.compile(r"^[-+.]?[0-9][0-9_.]*([eE][-+]?[0-9]+)?$")
OBJECT_FORMS = ("json", "yaml", "name")


def plain(text: object) -> str:
    """A text from outside, safe on a terminal: one line, and nothing in it that could steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in str(text))


def on_terminal() -> bool:
    return sys.stdout.isatty()


def text_of(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def aligned(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Columns three blanks apart, as kubectl prints them; nothing is cut."""
    lines = [list(headers), *([plain(text_of(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join(
        "   ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """A table on stdout; with colour on a terminal."""
    if not on_terminal():
        click.echo(aligned(headers, rows))
        return
    from collabspace.cli.drawing import console, table, width_for

    width = width_for(headers, rows, console().width)
    console(width).print(table(headers, rows))


def without_empty(
    headers: Sequence[str], rows: Sequence[tuple[Cell, ...]], optional: Sequence[str]
) -> tuple[list[str], list[tuple[Cell, ...]]]:
    """The table without those optional columns in which every cell is empty."""
    kept = [
        column
        for column, name in enumerate(headers)
        if name not in optional or any(text_of(row[column]) for row in rows)
    ]
    return [headers[column] for column in kept], [tuple(row[column] for column in kept) for row in rows]


def print_objects(objects: list[dict[str, Any]], form: str, *, single: bool = False) -> None:
    """Objects in one of OBJECT_FORMS; a list is wrapped as kubectl does it, unless it is one that was asked for."""
    cleaned = [without_managed_fields(item) for item in objects]
    if form == "name":
        for item in cleaned:
            click.echo(qualified(item))
        return
    document: Any = cleaned[0] if single else {"apiVersion": "v1", "kind": "List", "items": cleaned}
    print_document(document, form)


def print_document(document: Any, form: str) -> None:
    """Any data as JSON or YAML."""
    click.echo(as_yaml(document) if form == "yaml" else json.dumps(document, indent=4, ensure_ascii=False))


def as_yaml(document: Any) -> str:
    """YAML that every reader understands alike: texts that some take for numbers (1e-4) are quoted."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "'" if NUMERIC.match(value) else None if value.replace("\n", "").isprintable() else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return str(yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)).rstrip()


def qualified(item: dict[str, Any]) -> str:
    """`collabtask.collabspace.io/NAME`, as kubectl names objects."""
    kind = KINDS[item["kind"]]
    group = f".{names.GROUP}" if "/" in item["apiVersion"] else ""
    return f"{kind}{group}/{item['metadata']['name']}"


def without_managed_fields(item: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": metadata}


def nothing_found(namespace: str | None) -> None:
    """What kubectl says about an empty list."""
    click.echo("No resources found" + (f" in {namespace} namespace." if namespace else "."), err=True)


def age(created: str | None, now: dt.datetime) -> str:
    """Time since, as kubectl prints it: `45s`, `12m`, `3h`, `5d`."""
    if not created:
        return ""
    return span(max(0, int((now - dt.datetime.fromisoformat(created)).total_seconds())))


def span(seconds: int) -> str:
    """A length of time in its largest two sensible units at most."""
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 600:
        return f"{seconds // 60}m" + (f"{seconds % 60}s" if seconds % 60 else "")
    if seconds < 3 * 3600:
        return f"{seconds // 60}m"
    return f"{seconds // 3600}h" if seconds < 48 * 3600 else f"{seconds // 86400}d"


def size(count: int) -> str:
    """Bytes for people, in powers of 1024."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def short(digest: str | None) -> str:
    """A digest as people compare them: the first twelve digits."""
    return digest.removeprefix("sha256:")[:12] if digest else ""
