"""What all our kinds share: the shape of a Kubernetes object, camelCase names, references, quantities."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

Rule = dict[str, str]


class Part(BaseModel):
    """Base of everything inside our objects: camelCase in YAML, frozen once parsed, unknown fields ignored
    (the API server has pruned them already; an object stored by a newer release must still be readable)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class ObjectMeta(Part):
    """The part of metadata that we read. Labels and annotations are the tenant's words: never trusted."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = Field(default=0, ge=0)
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


NameText = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="Name of the object."),
]
NamespaceName = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="Namespace (team).")
]
TimeText = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]
UidText = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
DigestText = Annotated[str, Field(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
DecimalText = Annotated[str, Field(max_length=32, pattern=r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?$")]


def _as_text(value: object) -> object:
    """YAML reads `cpu: 4` as a number; quantities are text."""
    return str(value) if isinstance(value, int) else value


# Of a quantity written as a number: bytes of memory are the largest.
MAX_QUANTITY = 2**53
QuantityText = Annotated[
    str,
    Field(
        max_length=32,
        pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
        json_schema_extra={"x-quantity": MAX_QUANTITY},
    ),
    BeforeValidator(_as_text),
]
GpuText = Annotated[
    str,
    Field(max_length=4, pattern=r"^[0-9]+$", json_schema_extra={"x-quantity": 9999}),
    BeforeValidator(_as_text),
]


class ObjectReference(Part):
    """Names another object, possibly of another team; whether it may be used is decided by its owner's grants."""

    namespace: NamespaceName
    name: ObjectName


def rules(*pairs: tuple[str, str]) -> dict[str, list[Rule]]:
    """CEL rules with the message a person can act on, for `json_schema_extra`."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


def map_list(*keys: str) -> dict[str, Any]:
    """A list whose items are told apart by these fields."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
