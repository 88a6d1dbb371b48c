"""Bad inputs made from the schemas of our kinds: changes of every sort at places of every type of a good object.

A case is known by seed and number alone, so that each can be made again."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from bad_input import ANY, DROP, GOOD, MAYBE, PLURALS, SELECTION, TASK, WAYS, Case
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from collabspace.api import names
from collabspace.kube.client import Object

CRDS = Path(__file__).parents[3] / "crds"
HOSTILE = (
    "",
    " ",
    "\x00",
    "\n",
    "../../etc/passwd",
    "%2e%2e%2f",
    "a/b",
    "$(COLLABSPACE_RUN)",
    "{{ .Release.Name }}",
    "${jndi:ldap://x}",
    "'; DROP TABLE ledger; --",
    "<script>alert(1)</script>",
    "\x1b]0;x\x07",
    "‮evil",
    "\u200b",
    "ﷺ" * 50,
    "👩‍👩‍👧‍👦",
    "NaN",
    "Infinity",
    "-0",
    "1e999",
    "0x10",
    "1_000",
    "true",
    "null",
    "None",
    "__proto__",
    "9" * 40,
    "a" * 10_000,
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "2099-02-30T00:00:00Z",
    "sha256:" + "0" * 64,
)
NUMBERS = (
    0,
    -1,
    1,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    2**63,
    2**64,
    10**30,
    0.5,
    -1e308,
    1e-320,
)
OTHER_TYPES = (None, True, False, 0, -1, 1.5, "", "x", [], [None], ["x"], {}, {"a": None}, [[]], {"": {"": []}})


@dataclass(frozen=True)
class Node:
    """A place in an object: its path, what the schema says of it, and what a good object has there."""

    path: str
    schema: Object
    value: Any


@cache
def _schema(kind: str) -> Object:
    text = (CRDS / f"{names.GROUP}_{PLURALS[kind]}.yaml").read_text()
    found: Object = yaml.safe_load(text)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


@cache
def _nodes(kind: str, part: str) -> tuple[Node, ...]:
    """Places of the spec, or of the status as it could be."""
    schema = _schema(kind)["properties"][part]
    good = GOOD[kind]("{namespace}")["spec"] if part == "spec" else _example(schema)
    return tuple(_walk(part, schema, good))


def _walk(path: str, schema: Object, value: Any) -> Iterator[Node]:
    yield Node(path, schema, value)
    for name, part in schema.get("properties", {}).items():
        yield from _walk(f"{path}/{name.replace('/', '~')}", part, value.get(name) if isinstance(value, dict) else None)
    if isinstance(value, list) and value and "items" in schema:
        yield from _walk(f"{path}/0", schema["items"], value[0])
    if isinstance(value, dict) and isinstance(schema.get("additionalProperties"), dict):
        for name, each in value.items():
            yield from _walk(f"{path}/{name}", schema["additionalProperties"], each)


def _example(schema: Object) -> Any:
    """Something that the schema allows, so that one place of it can be wrong."""
    if "properties" in schema:
        return {name: _example(part) for name, part in schema["properties"].items()}
    if schema.get("type") == "array":
        return [_example(schema["items"])]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") in ("integer", "boolean"):
        return schema.get("minimum", 0) if schema["type"] == "integer" else False
    if "sha256" in schema.get("pattern", ""):
        return "sha256:" + "0" * 64
    return "2026-01-01T00:00:00Z" if schema.get("format") == "date-time" else "x"


def _values(node: Node) -> st.SearchStrategy[Any]:
    """What may stand there instead: near the bounds of its type, far beyond them, and of other types."""
    schema, kind = node.schema, node.schema.get("type")
    own: st.SearchStrategy[Any]
    if schema.get("x-kubernetes-int-or-string"):
        own = st.one_of(_integers(schema, node.value), _texts(schema, node.value))
    elif kind == "integer":
        own = _integers(schema, node.value)
    elif kind == "string":
        own = _texts(schema, node.value)
    elif kind == "boolean":
        own = st.just(not node.value)
    elif kind == "array":
        own = _lists(schema, node.value)
    else:
        own = _maps(schema, node.value)
    return st.one_of(own, own, st.sampled_from(OTHER_TYPES), st.just(DROP))


def _integers(schema: Object, value: Any) -> st.SearchStrategy[Any]:
    bounds = [schema[key] for key in ("minimum", "maximum") if key in schema]
    near = [bound + step for bound in bounds for step in (-1, 0, 1)]
    known = value if isinstance(value, int) else 1
    return st.one_of(
        st.sampled_from((*near, known * 2, known // 2, -known, *NUMBERS)),
        st.integers(-(2**70), 2**70),
        st.sampled_from((*near, known)).map(str),
        st.floats(allow_nan=False, allow_infinity=False),
    )


def _texts(schema: Object, value: Any) -> st.SearchStrategy[Any]:
    known = value if isinstance(value, str) and value else "x"
    longest = schema.get("maxLength", 63)
    words = schema.get("enum", [known])
    changes = [
        known.upper(),
        known.swapcase(),
        known + " ",
        " " + known,
        known + "\n",
        known * 2,
        known[: len(known) // 2],
        known[::-1],
        known[0] * longest,
        known[0] * (longest + 1),
        known.replace("a", "а"),
        *words,
        *(word.lower() for word in words),
    ]
    pattern = schema.get("pattern")
    fitting = [st.from_regex(re.compile(pattern), fullmatch=True)] if pattern else []
    return st.one_of(st.sampled_from(changes), st.sampled_from(HOSTILE), st.text(max_size=80), *fitting)


def _lists(schema: Object, value: Any) -> st.SearchStrategy[Any]:
    known = list(value) if isinstance(value, list) else []
    item = known[0] if known else _example(schema["items"])
    most = schema.get("maxItems", 16)
    changes = [[], known * 2, known[1:], [*known, None], [*known, {}], [*known, "x"], [known], [item] * most]
    many = [_named(item, number) for number in range(most + 1)]
    return st.sampled_from([*changes, many, many[:most], list(reversed(known))])


def _named(item: Any, number: int) -> Any:
    """Told from others of the list by its name."""
    key = next((each for each in ("name", "metric", "type") if isinstance(item, dict) and each in item), None)
    return item | {key: f"n{number}"} if key is not None else item


def _maps(schema: Object, value: Any) -> st.SearchStrategy[Any]:
    known = dict(value) if isinstance(value, dict) else {}
    words = st.one_of(st.sampled_from([each for each in HOSTILE if len(each) < 200]), st.text(max_size=20))
    leaves = st.one_of(st.sampled_from(OTHER_TYPES), st.integers(), st.text(max_size=20))
    return st.one_of(
        st.just({}),
        st.just({f"k{number}": number for number in range(schema.get("maxProperties", 64) + 1)}),
        st.tuples(words, leaves).map(lambda pair: known | {pair[0]: pair[1]}),
        st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)),
    )


METADATA = ("labels", "annotations", "finalizers", "ownerReferences", "generateName", "name", "namespace")


@st.composite
def _changes(draw: st.DrawFn, kind: str, part: str) -> dict[str, Any]:
    """One to three places changed; now and then the metadata too."""
    change: dict[str, Any] = {}
    for node in draw(st.lists(st.sampled_from(_nodes(kind, part)), min_size=1, max_size=3)):
        # What is changed already has no places within it.
        if not any(node.path.startswith(each) or each.startswith(node.path) for each in change):
            change[node.path] = draw(_values(node))
    if draw(st.integers(0, 9)) == 0:
        words = st.sampled_from([each for each in HOSTILE if len(each) < 200])
        name = draw(st.sampled_from(METADATA))
        change[f"metadata/{name}"] = draw(
            st.one_of(words, st.dictionaries(words, words, max_size=2), st.lists(words, max_size=2))
        )
    return change


def case(start: int, number: int) -> tuple[Case, str]:
    """The case of that number, and in which way it is tried."""
    way = WAYS[number % len(WAYS)]
    kind = (*PLURALS, TASK, SELECTION)[(number // 3) % 5]
    running = way == "storage" and number // 15 % 2 == 1
    part = "status" if running and number // 30 % 2 == 1 else "spec"
    found: list[dict[str, Any]] = []

    @seed(f"{start}-{number}")
    @settings(
        max_examples=3, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None
    )
    @given(_changes(kind, part))
    def make(change: dict[str, Any]) -> None:
        found.append(change)

    make()
    change = found[-1]
    if way == "storage":
        # What is no metadata at all would break the API server's own lists.
        change = {path: value for path, value in change.items() if not path.startswith("metadata")} or {part: {}}
    return Case(f"generated.{start}-{number}", kind, change, MAYBE, (ANY,), running), way
