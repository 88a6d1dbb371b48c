"""The CustomResourceDefinitions of our kinds, generated from the types: `python -m collabspace.api.crd DIR`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from collabspace.api import dataset, names, selection, task
from collabspace.api.resource import Part, Rule
from collabspace.api.schema import Schema, structural

ACCEPTED = (
    "(has(oldSelf.status) && has(oldSelf.status.conditions) && "
    "oldSelf.status.conditions.exists(c, c.type == 'Accepted' && c.status == 'True'))"
)


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`. Priority 1 shows with `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True)
class Kind:
    """One of our kinds, as far as its CRD goes."""

    model: type[Part]
    plural: str
    short: str
    columns: tuple[Column, ...]
    root_rules: tuple[tuple[str, str], ...] = ()
    spec_rules: tuple[Rule, ...] = ()
    mutable: frozenset[str] | None = None
    selectable: tuple[str, ...] = ()


def condition(kind: str, field: str = "status") -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


KINDS = (
    Kind(
        dataset.SharedDataset,
        names.SHARED_DATASETS,
        "sds",
        columns=(
            Column("Format", ".spec.format"),
            Column("Ready", condition("Ready")),
            Column("Reason", condition("Ready", "reason"), priority=1),
            Column("Records", ".status.currentVersion.records", "integer"),
            Column("Bytes", ".status.currentVersion.bytes", "integer", 1),
            Column("Grants", ".status.activeGrants", "integer"),
            Column("Reads", ".status.usage.reads", "integer"),
            Column("Version", ".status.currentVersion.digest", priority=1),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        root_rules=dataset.ROOT_RULES,
        spec_rules=tuple(dataset.SPEC_RULES["x-kubernetes-validations"]),
        selectable=(".spec.format",),
    ),
    Kind(
        task.CollabTask,
        names.COLLAB_TASKS,
        "ctask",
        columns=(
            Column("Task", ".spec.task"),
            Column("Method", ".spec.method"),
            Column("Succeeded", condition("Succeeded")),
            Column("Reason", ".status.reason"),
            Column("Done%", ".status.progress.percent", "integer"),
            Column("GPUs", ".spec.resourcesPerNode['nvidia.com/gpu']", priority=1),
            Column("Metric", ".status.metrics[0].value", priority=1),
            Column("Message", condition("Succeeded", "message"), priority=1),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        root_rules=(task.NAME_RULE,),
        spec_rules=tuple(task.SPEC_RULES["x-kubernetes-validations"]),
        mutable=task.MUTABLE,
        selectable=(".spec.task", ".spec.method", ".status.assignment.namespace", ".status.reason"),
    ),
    Kind(
        selection.ModelSelection,
        names.MODEL_SELECTIONS,
        "msel",
        columns=(
            Column("Task", ".spec.task"),
            Column("Metric", ".spec.objective.metric"),
            Column("Succeeded", condition("Succeeded")),
            Column("Reason", ".status.reason"),
            Column("Winner", ".status.winner.candidate"),
            Column("Value", ".status.winner.metricValue"),
            Column("Promotion", ".status.promotion.state", priority=1),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        root_rules=(selection.NAME_RULE,),
        spec_rules=tuple(selection.SPEC_RULES["x-kubernetes-validations"]),
        mutable=selection.MUTABLE,
        selectable=(".spec.task", ".status.reason"),
    ),
)


def crds() -> list[dict[str, Any]]:
    """The definitions as objects, in the order SharedDataset, CollabTask, ModelSelection."""
    return [_definition(kind) for kind in KINDS]


def _definition(kind: Kind) -> dict[str, Any]:
    name = kind.model.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": kind.plural,
                "singular": name.lower(),
                "shortNames": [kind.short],
                "categories": ["collab"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                    "selectableFields": [{"jsonPath": path} for path in kind.selectable],
                    "schema": {"openAPIV3Schema": _object_schema(kind)},
                }
            ],
        },
    }


def _column(column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return entry | ({"priority": column.priority} if column.priority else {})


def _object_schema(kind: Kind) -> Schema:
    fields = kind.model.model_fields
    spec = structural(_model(fields["spec"].annotation))
    status = structural(_model(fields["status"].annotation))
    spec["x-kubernetes-validations"] = list(kind.spec_rules)
    if kind is KINDS[0]:
        spec["properties"]["splits"] |= dataset.SPLIT_RULES
    rules = [*kind.root_rules, *(_frozen(spec, kind.mutable) if kind.mutable is not None else ())]
    schema: Schema = {
        "type": "object",
        "description": (kind.model.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    if rules:
        schema["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in rules]
    return schema


def _model(annotation: Any) -> type[BaseModel]:
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"{annotation!r} is not a model")
    return annotation


def _frozen(spec: Schema, mutable: frozenset[str]) -> list[tuple[str, str]]:
    """One rule per field, so that the message names it. Optional ones are compared with has() at the parent."""
    found = []
    for name, field in spec["properties"].items():
        if name in mutable:
            continue
        always = name in spec.get("required", ()) or "default" in field
        new, old = f"self.spec.{name}", f"oldSelf.spec.{name}"
        same = f"{new} == {old}" if always else f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"
        message = f"spec.{name} is frozen since the object was accepted; create a new one"
        found.append((f"!{ACCEPTED} || ({same})", message))
    return found


def write(folder: Path) -> None:
    """One file per kind, `<group>_<plural>.yaml`."""
    for definition in crds():
        plural = definition["spec"]["names"]["plural"]
        text = "# Generated from operator/collabspace/api by `make generate`; do not edit.\n"
        text += yaml.safe_dump(definition, sort_keys=False, width=120, allow_unicode=True)
        (folder / f"{names.GROUP}_{plural}.yaml").write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
