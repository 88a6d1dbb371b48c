"""From pydantic's JSON Schema to the structural schema that a CustomResourceDefinition demands."""

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]
DROPPED = {"title", "discriminator", "$defs"}


def structural(model: type[BaseModel]) -> Schema:
    """The model's schema with references inlined and everything dropped or rewritten that the API server refuses.

    Rules: "Extend the Kubernetes API with CustomResourceDefinitions", section on structural schemas.
    """
    source = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(source, source.get("$defs", {}))


def _convert(node: Schema, definitions: dict[str, Schema]) -> Schema:
    node = _inline(node, definitions)
    if node.get("x-kubernetes-int-or-string"):
        return {"x-kubernetes-int-or-string": True} | _only(node, "description", "maxLength")
    if largest := node.pop("x-quantity", None):
        # Bounds of numbers guard `gpu: -1`, the pattern guards `gpu: "-1"`: each is heeded for its own type only.
        bounds = {"minimum": 0, "maximum": largest} | _only(node, "pattern", "maxLength")
        return {"x-kubernetes-int-or-string": True} | bounds | _only(node, "description", "default")
    result: Schema = {key: value for key, value in node.items() if key not in DROPPED}
    if "const" in result:
        result["enum"] = [result.pop("const")]
    if "default" in result:
        result["default"] = _without_nulls(result["default"])
        if result["default"] is None:
            del result["default"]
    if "properties" in result:
        result["properties"] = {name: _convert(part, definitions) for name, part in result["properties"].items()}
        result.pop("additionalProperties", None)
    elif isinstance(result.get("additionalProperties"), dict):
        result["additionalProperties"] = _convert(result["additionalProperties"], definitions)
        result.pop("propertyNames", None)
    if "items" in result:
        result["items"] = _convert(result["items"], definitions)
    if result.get("type") == "integer":
        result["format"] = "int32" if abs(result.get("maximum", 2**53)) < 2**31 else "int64"
    return result


def _inline(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """Follows `$ref`, single `allOf` and `anyOf[x, null]`; what stands beside a reference wins over its target."""
    node = dict(node)
    while True:
        if "$ref" in node:
            target = definitions[node.pop("$ref").rsplit("/", 1)[-1]]
        elif len(node.get("allOf", ())) == 1:
            target = node.pop("allOf")[0]
        elif "anyOf" in node and not node.get("x-kubernetes-int-or-string"):
            options = [option for option in node.pop("anyOf") if option.get("type") != "null"]
            if len(options) != 1:
                raise ValueError(f"a union of several types has no structural schema: {options}")
            target = options[0]
        else:
            return node
        node = {**target, **node}


def _without_nulls(default: Any) -> Any:
    """An absent optional field is absent, never null: the API server refuses null where a type is given."""
    if isinstance(default, dict):
        return {key: _without_nulls(value) for key, value in default.items() if value is not None}
    return default


def _only(node: Schema, *keys: str) -> Schema:
    return {key: node[key] for key in keys if key in node}
