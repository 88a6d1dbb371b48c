"""The generated CRDs: current, structural, documented, and their CEL rules mean what they say."""

import json
from pathlib import Path
from typing import Any

import celpy
import kubernetes_validate
import pytest
import yaml

from collabspace.api import crd
from collabspace.api.crd import crds

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"$ref", "$defs", "const", "title", "prefixItems", "uniqueItems", "nullable", "anyOf", "allOf", "oneOf"}


def schemas() -> list[Any]:
    return [
        pytest.param(
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], id=definition["spec"]["names"]["kind"]
        )
        for definition in crds()
    ]


def walk(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, part in schema.get("properties", {}).items():
        found += walk(part, f"{path}.{name}")
    if "items" in schema:
        found += walk(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        found += walk(schema["additionalProperties"], f"{path}{{}}")
    return found


def test_the_checked_in_files_are_the_generated_ones() -> None:
    on_disk = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert sorted(crds(), key=lambda each: str(each["metadata"]["name"])) == on_disk


@pytest.mark.parametrize("definition", crds(), ids=lambda each: str(each["metadata"]["name"]))
def test_a_definition_is_valid_kubernetes(definition: dict[str, Any]) -> None:
    kubernetes_validate.validate(definition, "1.36", strict=True)


@pytest.mark.parametrize("schema", schemas())
def test_the_schema_is_structural(schema: dict[str, Any]) -> None:
    for path, node in walk(schema):
        assert not FORBIDDEN & set(node), path
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert "null" not in json.dumps(node.get("default", "")), path
        assert isinstance(node.get("exclusiveMinimum", False), bool), path


@pytest.mark.parametrize("schema", schemas())
def test_every_field_says_what_it_is_so_that_kubectl_explain_teaches(schema: dict[str, Any]) -> None:
    silent = [
        path
        for path, node in walk(schema)
        if "description" not in node
        and path not in ("", ".apiVersion", ".kind", ".metadata")
        and not path.endswith(("[]", "{}"))
    ]
    assert silent == []


@pytest.mark.parametrize("schema", schemas())
def test_every_string_and_list_has_a_bound_so_that_rules_stay_cheap(schema: dict[str, Any]) -> None:
    unbounded = [
        path
        for path, node in walk(schema)
        if (node.get("type") == "string" and not ({"maxLength", "enum", "format"} & set(node)))
        or (node.get("type") == "array" and "maxItems" not in node)
    ]
    assert [path for path in unbounded if path not in (".apiVersion", ".kind")] == []


@pytest.mark.parametrize("schema", schemas())
def test_there_are_no_floats(schema: dict[str, Any]) -> None:
    assert [path for path, node in walk(schema) if node.get("type") == "number"] == []


@pytest.mark.parametrize("definition", crds(), ids=lambda each: str(each["metadata"]["name"]))
def test_printer_columns_point_at_fields_that_exist(definition: dict[str, Any]) -> None:
    version = definition["spec"]["versions"][0]
    known = {path for path, _ in walk(version["schema"]["openAPIV3Schema"])}
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"]
        if path.startswith((".metadata", ".status.conditions")):
            continue
        plain = path.replace("['", ".").replace("']", "").replace("[*]", "[]").replace("[0]", "[]")
        assert plain in known, column


def evaluate(rule: str, new: dict[str, Any], old: dict[str, Any]) -> bool:
    program = celpy.Environment().program(celpy.Environment().compile(rule))
    return bool(program.evaluate({"self": celpy.json_to_cel(new), "oldSelf": celpy.json_to_cel(old)}))


TASK_RULES = {
    entry["message"].split()[0]: entry["rule"]
    for entry in crds()[1]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"]
}
ACCEPTED = {"conditions": [{"type": "Accepted", "status": "True"}]}
REFUSED = {"conditions": [{"type": "Accepted", "status": "False"}]}


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        pytest.param({"spec": {"method": "A"}}, {"spec": {"method": "B"}}, True, id="before anything was judged"),
        pytest.param(
            {"spec": {"method": "A"}, "status": REFUSED},
            {"spec": {"method": "B"}},
            True,
            id="a refused spec is corrected",
        ),
        pytest.param(
            {"spec": {"method": "A"}, "status": ACCEPTED},
            {"spec": {"method": "B"}},
            False,
            id="an accepted one is frozen",
        ),
        pytest.param(
            {"spec": {"method": "A"}, "status": ACCEPTED},
            {"spec": {"method": "A"}},
            True,
            id="and may be applied again",
        ),
    ],
)
def test_the_method_freezes_when_the_task_was_accepted(old: dict[str, Any], new: dict[str, Any], allowed: bool) -> None:
    assert evaluate(TASK_RULES["spec.method"], new, old) is allowed


def test_an_optional_part_can_be_neither_added_nor_removed_once_accepted() -> None:
    bare: dict[str, Any] = {"spec": {}, "status": ACCEPTED}
    full: dict[str, Any] = {"spec": {"modelFrom": {"name": "m"}}, "status": ACCEPTED}
    rule = TASK_RULES["spec.modelFrom"]
    assert not evaluate(rule, full, bare)
    assert not evaluate(rule, bare, full)
    assert evaluate(rule, full, full)


def test_priority_may_change_at_any_time() -> None:
    assert "spec.priority" not in TASK_RULES


def test_each_field_of_a_task_but_the_mutable_ones_has_a_rule() -> None:
    spec = crds()[1]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    frozen = {name.removeprefix("spec.") for name in TASK_RULES if name.startswith("spec.")}
    assert set(spec) - frozen == crd.KINDS[1].mutable
