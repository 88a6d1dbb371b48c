"""The check of a ModelSelection before anything is sent. Pure."""

from typing import Any

from collabspace.api import names
from collabspace.api.catalogue import Catalogue
from collabspace.api.selection import MAX_NAME, SelectionSpec
from collabspace.cli.errors import CommandError
from collabspace.cli.parameters import is_name
from collabspace.cli.wrong_fields import read_spec
from collabspace.core import selection_check

Object = dict[str, Any]
AGAIN = "Correct it and select again; nothing was sent."
FIRST = 4


def check(document: Object, catalogue: Catalogue) -> SelectionSpec:
    """The spec. Raises CommandError with what the operator would refuse; says nothing about grants and quota."""
    if document.get("kind") != "ModelSelection" or document.get("apiVersion") != names.API_VERSION:
        found = f"{document.get('apiVersion')} {document.get('kind')}"
        what = f"select takes a {names.API_VERSION} ModelSelection, not {found}"
        raise CommandError(what, "Use kubectl apply for the rest.")
    metadata = document["metadata"]
    name, namespace = str(metadata.get("name") or ""), str(metadata.get("namespace"))
    if not is_name(name) or len(name) > MAX_NAME:
        what = f"metadata.name is {name[:80]!r}"
        raise CommandError(what, f"Use lower-case letters, digits and hyphens, at most {MAX_NAME}.")
    if not is_name(namespace):
        what = f"selection {name}: metadata.namespace is {namespace[:80]!r}"
        raise CommandError(what, "Use lower-case letters, digits and hyphens, at most 63.")
    _refuse_floats(name, document.get("spec"), "spec")
    spec = read_spec(SelectionSpec, document.get("spec"), f"selection {name}", AGAIN)
    problems = selection_check.check(spec, catalogue, name, namespace)
    if problems:
        told = ". ".join(problem.message.rstrip(".") for problem in problems[:FIRST])
        more = f". And {len(problems) - FIRST} more" if len(problems) > FIRST else ""
        raise CommandError(f"selection {name}: {told}{more}", AGAIN)
    return spec


def _refuse_floats(name: str, value: object, place: str) -> None:
    """The API has no floats; YAML makes one of every number with a point. Raises CommandError."""
    if isinstance(value, float):
        what = f"selection {name}: {place} is {value}, and the API has no floats"
        raise CommandError(what, f'Put it in quotes: "{value}".')
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_floats(name, inner, f"{place}.{str(key)[:64]}")
    elif isinstance(value, list):
        for place_in_list, inner in enumerate(value):
            _refuse_floats(name, inner, f"{place}[{place_in_list}]")
