"""A CollabTask from what was typed, and its check before anything is sent. Pure."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collabspace.api import names
from collabspace.api.catalogue import Catalogue, ParameterType
from collabspace.api.run import EVALUATION, Role
from collabspace.api.task import MAX_NAME, TaskSpec
from collabspace.cli.errors import CommandError
from collabspace.cli.parameters import DatasetChoice, ModelChoice, is_name
from collabspace.cli.wrong_fields import read_spec
from collabspace.core import parameters

Object = dict[str, Any]
AGAIN = "Correct it and submit again; nothing was sent."
WHOLE = re.compile(r"^-?[0-9]{1,15}$")


@dataclass(frozen=True)
class Typed:
    """The flags of `submit`; empty and None: not given, so what is copied or the API's default holds."""

    name: str
    task: str | None
    method: str | None
    datasets: Sequence[DatasetChoice]
    settings: Mapping[str, str]
    model: ModelChoice | None = None
    random_init: bool = False
    seed: int | None = None
    priority: int | None = None
    gates: Mapping[str, str] | None = None
    cpu: str | None = None
    memory: str | None = None
    gpus: int | None = None
    max_attempts: int | None = None
    deadline: int | None = None
    pending_deadline: int | None = None
    ttl: int | None = None
    budget: Mapping[str, int] | None = None

    @property
    def scalars(self) -> Object:
        """The fields of the spec that were given and are one value each."""
        given = {
            "task": self.task,
            "method": self.method,
            "seed": self.seed,
            "priority": self.priority,
            "maxAttempts": self.max_attempts,
            "activeDeadlineSeconds": self.deadline,
            "pendingDeadlineSeconds": self.pending_deadline,
            "ttlSecondsAfterFinished": self.ttl,
        }
        return {key: value for key, value in given.items() if value is not None}


def build(typed: Typed, namespace: str, catalogue: Catalogue, like: Object | None = None) -> Object:
    """The manifest; with `like`, the spec of another task, only what was typed differs from it. It is not suspended.

    Raises CommandError when two datasets cannot be told apart.
    """
    spec: Object = {key: value for key, value in (like or {}).items() if key != "suspend"} | typed.scalars
    if typed.datasets:
        role = Role.EVALUATE if spec.get("method") == EVALUATION else Role.TRAIN
        spec["datasets"] = _datasets(typed.datasets, namespace, role)
    if typed.model:
        model = typed.model
        spec["modelFrom"] = {"kind": model.kind, "namespace": model.namespace or namespace, "name": model.name}
        spec.pop("initialization", None)
    if typed.random_init:
        spec["initialization"] = "Random"
        spec.pop("modelFrom", None)
    if typed.settings:
        settings = {key: _scalar(spec, key, value, catalogue) for key, value in typed.settings.items()}
        spec["parameters"] = spec.get("parameters", {}) | settings
    if typed.gates:
        spec["gates"] = [{"metric": metric, "minimum": minimum} for metric, minimum in typed.gates.items()]
    if typed.budget:
        spec["budget"] = spec.get("budget", {}) | {f"{what}Seconds": limit for what, limit in typed.budget.items()}
    asked = {"cpu": typed.cpu, "memory": typed.memory, names.GPU_RESOURCE: typed.gpus}
    resources = {key: str(value) for key, value in asked.items() if value is not None}
    if resources:
        spec["resourcesPerNode"] = spec.get("resourcesPerNode", {}) | resources
    metadata = {"name": typed.name, "namespace": namespace}
    return {"apiVersion": names.API_VERSION, "kind": "CollabTask", "metadata": metadata, "spec": spec}


def _datasets(choices: Sequence[DatasetChoice], own: str, role: Role) -> list[Object]:
    """Each has its label, else the dataset's name; where that is taken twice, its namespace, then both. `role` is that
    of those for which none was typed."""
    references = [(choice.namespace or own, choice.name) for choice in choices]
    by_name = Counter(name for _, name in references)
    by_owner = Counter(owner for owner, _ in references)
    found = []
    for choice, (owner, name) in zip(choices, references, strict=True):
        label = choice.label or (name if by_name[name] == 1 else owner if by_owner[owner] == 1 else f"{owner}-{name}")
        reference = {"namespace": owner, "name": name}
        entry: Object = {"name": label, "datasetRef": reference, "role": choice.role or role.value}
        found.append(entry | ({"version": choice.digest} if choice.digest else {}))
    labels = Counter(entry["name"] for entry in found)
    for label, count in labels.items():
        if count > 1 or not is_name(label):
            what = f"does not tell {count} datasets apart" if count > 1 else "is longer than 63 characters"
            remedy = "Give each a name of its own: --dataset LABEL=NAMESPACE/NAME."
            raise CommandError(f"the name {label} within the task {what}", remedy)
    return found


def _scalar(spec: Object, key: str, value: str, catalogue: Catalogue) -> int | str:
    """Whole numbers are written as such where the method wants one; all else stays text, as the API has no floats."""
    task = catalogue.task(str(spec.get("task")))
    method = task.method(str(spec.get("method"))) if task else None
    known = next((each for each in method.parameters if each.name == key), None) if method else None
    wants_whole = known is None or known.type is ParameterType.INTEGER
    return int(value) if wants_whole and WHOLE.match(value) else value


def check(document: Object, catalogue: Catalogue) -> None:
    """Raises CommandError with every field that the operator would refuse; says nothing about grants and quota."""
    if document.get("kind") != "CollabTask" or document.get("apiVersion") != names.API_VERSION:
        found = f"{document.get('apiVersion')} {document.get('kind')}"
        raise CommandError(
            f"submit takes a {names.API_VERSION} CollabTask, not {found}", "Use kubectl apply for the rest."
        )
    given = document.get("metadata")
    metadata = given if isinstance(given, dict) else {}
    name = str(metadata.get("name") or "")
    if not is_name(name) or len(name) > MAX_NAME:
        what = f"metadata.name is {name[:80]!r}"
        raise CommandError(what, f"Use lower-case letters, digits and hyphens, at most {MAX_NAME}.")
    if not is_name(str(metadata.get("namespace"))):
        what = f"task {name}: metadata.namespace is {str(metadata.get('namespace'))[:80]!r}"
        raise CommandError(what, "Use lower-case letters, digits and hyphens, at most 63.")
    _refuse_floats(name, document.get("spec"))
    spec = read_spec(TaskSpec, document.get("spec"), f"task {name}", AGAIN)
    problems = parameters.check(spec, catalogue, str(metadata.get("namespace"))).problems
    if problems:
        found = ". ".join(problem.message.rstrip(".") for problem in problems)
        raise CommandError(f"task {name}: {found}", AGAIN)


def _refuse_floats(name: str, spec: object) -> None:
    """The API has no floats; YAML makes one of every number with a point. Raises CommandError."""
    parameters = spec.get("parameters") if isinstance(spec, dict) else None
    for key, value in parameters.items() if isinstance(parameters, dict) else ():
        if isinstance(value, float):
            what = f"task {name}: parameters.{str(key)[:64]} is {value}, and the API has no floats"
            raise CommandError(what, f'Put it in quotes: "{value}".')
