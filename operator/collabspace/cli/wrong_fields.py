"""What a schema refuses, in plain words: the field, the value found, and what to write instead. Pure.

The schema's own messages speak of patterns and types to whoever programs it; here they speak to whoever wrote the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from collabspace.api.resource import DecimalText, DigestText, GpuText, NameText, Part, QuantityText
from collabspace.cli.errors import CommandError
from collabspace.cli.output import plain
from collabspace.core.parameters import closest

P = TypeVar("P", bound=Part)
SHOWN = 6
VALUE_LENGTH = 60
FORMS: tuple[tuple[Any, str], ...] = (
    (NameText, "use lower-case letters, digits and hyphens, at most 63, with a letter or digit at both ends"),
    (DigestText, "write a digest: sha256: and 64 hexadecimal digits"),
    (DecimalText, 'write a decimal number in quotes, such as "0.01"'),
    (QuantityText, "write a quantity, such as 2 or 500m of CPU, 4Gi of memory"),
    (GpuText, "write a whole number of GPUs"),
)
OF_TYPE = {
    "list_type": "write a list: one item a line, each begun with -",
    "model_type": "write fields below it, one a line",
    "dict_type": "write names with values below it, one a line",
    "string_type": "write text; a number in quotes",
    "bool": "write true or false",
    "int": "write a whole number",
}
EITHER = "write a whole number, or any other value in quotes"


def read_spec(kind: type[P], spec: object, whose: str, remedy: str) -> P:
    """The spec of `whose`. Raises CommandError with every field that is wrong or not known."""
    try:
        known = kind.model_validate(spec)
    except ValidationError as error:
        raise CommandError(f"{whose}: {wrong_fields(kind, spec, error)}", remedy) from error
    wrong = wrong_fields(kind, spec)
    if wrong:
        raise CommandError(f"{whose}: {wrong}", remedy)
    return known


def wrong_fields(kind: type[Part], spec: object, error: ValidationError | None = None) -> str:
    """Each wrong field of what should be a `kind`, the fields that it does not know included; empty: none is wrong."""
    refused = {_place(spec, each["loc"]): each for each in error.errors(include_url=False)} if error else {}
    found = [*_unknown(kind, spec, "spec"), *(_sentence(place, each) for place, each in refused.items())]
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return plain("; ".join(found[:SHOWN]) + more)


def _sentence(place: str, error: ErrorDetails) -> str:
    kind, bounds = error["type"], error.get("ctx") or {}
    if kind == "missing":
        return f"{place} is missing"
    value = error["input"]
    if value in (None, "", [], {}):
        found = f"{place} is empty"
    elif "max_length" in bounds and isinstance(value, str | list | dict):
        found = f"{place} has {len(value)} {'characters' if isinstance(value, str) else 'items'}"
    else:
        text = repr(value)
        found = f"{place} is {text if len(text) <= VALUE_LENGTH else text[:VALUE_LENGTH] + '…'}"
    if kind == "enum":
        offered = str(bounds["expected"]).replace("'", "")
        return f"{found}{_meant(str(value), offered.replace(' or ', ', ').split(', '))}: write {offered}"
    return f"{found}: {_remedy(kind, bounds, error['loc'])}"


def _meant(found: str, offered: Sequence[str]) -> str:
    """` (did you mean X?)`, where there is one that is much like it."""
    whole = next((each for each in offered if each.endswith(f"/{found}")), None)
    question = f"did you mean {whole}?" if whole else closest(found, offered).strip().replace("Did", "did")
    return f" ({question})" if question else ""


def _remedy(kind: str, bounds: Mapping[str, Any], loc: tuple[int | str, ...]) -> str:
    if kind == "string_pattern_mismatch":
        forms = {TypeAdapter(form).json_schema()["pattern"]: words for form, words in FORMS}
        return forms.get(str(bounds["pattern"]), "write it in another form; kubectl explain says which")
    for bound, words in (
        ("ge", "write {} or more"),
        ("le", "write {} or less"),
        ("min_length", "at least {} is needed"),
        ("max_length", "at most {} are allowed"),
    ):
        if bound in bounds:
            return words.format(bounds[bound])
    if _is_either(loc):
        return EITHER
    return OF_TYPE.get(kind) or OF_TYPE.get(kind.partition("_")[0], "kubectl explain says what belongs here")


def _is_either(loc: tuple[int | str, ...]) -> bool:
    """Whether it is the value of a parameter, which may be of two types: the schema names both."""
    return len(loc) > 2 and loc[-3] == "parameters"


def _place(spec: object, loc: tuple[int | str, ...]) -> str:
    """`spec.candidates[linear].method`; an item without a name of its own by its number, from 1."""
    place, here = "spec", spec
    for part in loc[:-1] if _is_either(loc) else loc:
        here = _inside(here, part)
        place += _step(part, here)
    return place


def _inside(here: object, part: int | str) -> object:
    """What lies there; None for what is missing."""
    if isinstance(here, dict):
        return here.get(part)
    return here[part] if isinstance(here, list) and isinstance(part, int) and part < len(here) else None


def _step(part: int | str, inside: object) -> str:
    if isinstance(part, str):
        return f".{part[:64]}"
    name = inside.get("name") if isinstance(inside, dict) else None
    return f"[{name[:63]}]" if isinstance(name, str) and name else f"[{part + 1}]"


def _unknown(kind: type[BaseModel], value: object, place: str) -> Iterator[str]:
    """Fields that the kind does not have: an API server would refuse them without saying what was meant."""
    if not isinstance(value, dict):
        return
    known = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    for name, inside in value.items():
        if name not in known:
            meant = _meant(str(name), sorted(known))
            yield f"{place}.{str(name)[:64]} is no field{meant}: there is {', '.join(sorted(known))}"
            continue
        inner = _part(known[name])
        if inner is not None:
            items = enumerate(inside) if isinstance(inside, list) else [(None, inside)]
            for number, item in items:
                yield from _unknown(inner, item, f"{place}.{name}" + ("" if number is None else _step(number, item)))


def _part(annotation: object) -> type[BaseModel] | None:
    """The kind of what a field holds, or of the items of its list; None where that has no fields of ours."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _part(each)) is not None), None)
