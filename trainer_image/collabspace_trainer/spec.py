"""The run document, read and checked before anything heavy is imported: what cannot work ends here, with code 10."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from collabspace.api.catalogue import Purpose
from collabspace.api.manifest import Digest, Manifest
from collabspace.api.run import LOWER_IS_BETTER, MAX_RUN_BYTES, RUN_VARIABLE, Role, RunDocument
from collabspace_trainer import registry
from collabspace_trainer.errors import ConfigError
from collabspace_trainer.parameters import Settings, check

UNPINNED = "sha256:" + "0" * 64
"""Digest of a dataset in a run file that leaves the pin out: whatever folder is given is the version."""
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Plan:
    """A run document that this trainer can carry out."""

    document: RunDocument
    task: registry.TaskEntry
    method: registry.MethodEntry
    settings: Settings

    @property
    def purpose(self) -> Purpose:
        return self.method.description.purpose


def from_environment() -> RunDocument:
    """The document of the pod. Raises ConfigError."""
    text = os.environ.get(RUN_VARIABLE)
    if not text:
        raise ConfigError(f"environment variable {RUN_VARIABLE} is missing; run in a pod, or give --run FILE")
    return parse(text)


def from_file(path: Path) -> RunDocument:
    """A document written by hand: task reference, owners, uids and pins may be left out. Raises ConfigError."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--run {path.name}: cannot be read as JSON ({type(error).__name__})") from None
    return filled(data)


def filled(data: Any) -> RunDocument:
    """A document with what a run without a cluster may leave out. Raises ConfigError."""
    if isinstance(data, dict):
        _fill(data)
    return parse(json.dumps(data))


def parse(text: str) -> RunDocument:
    """Raises ConfigError naming the fields; unknown fields are errors."""
    if len(text.encode()) > MAX_RUN_BYTES:
        raise ConfigError(f"run document has {len(text.encode())} bytes, at most {MAX_RUN_BYTES} are allowed")
    try:
        return RunDocument.model_validate_json(text)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
        raise ConfigError(f"run document: {found}") from None


def plan(document: RunDocument) -> Plan:
    """The document with the registry's entries and checked parameters. Raises ConfigError."""
    registry.load()
    training = document.training
    task = registry.TASKS.get(training.task)
    if task is None:
        raise ConfigError(
            f"training.task {training.task[:64]!r} is unknown; choose one of {', '.join(sorted(registry.TASKS))}"
        )
    method = registry.METHODS.get((training.task, training.method))
    if method is None:
        known = sorted(name for owner, name in registry.METHODS if owner == training.task)
        raise ConfigError(
            f"training.method {training.method[:64]!r} is unknown for {training.task}; choose one of {', '.join(known)}"
        )
    purpose = method.description.purpose
    _check_datasets(document, purpose)
    _check_weights(document, method)
    _check_results(document, purpose)
    _check_gates(document, task, purpose)
    settings = check(method.description.parameters, training.parameters)
    return Plan(document, task, method, settings)


def complete(document: RunDocument, manifests: Mapping[str, Manifest], model: Manifest | None) -> RunDocument:
    """The document with labels, owners' uids and pins taken from what was read, where a run file left them out."""
    training = document.training
    datasets = [
        dataset.model_copy(
            update={"digest": manifests[dataset.name].digest, "uid": dataset.uid or manifests[dataset.name].owner_uid}
        )
        if dataset.digest == UNPINNED
        else dataset
        for dataset in training.datasets
    ]
    labels = training.labels or sorted({label for manifest in manifests.values() for label in manifest.labels})
    update: dict[str, Any] = {"datasets": datasets, "labels": labels}
    if training.initial_model is not None and model is not None and training.initial_model.digest == UNPINNED:
        update["initial_model"] = training.initial_model.model_copy(update={"digest": model.digest})
    return document.model_copy(update={"training": training.model_copy(update=update)})


def parents(document: RunDocument) -> list[Digest]:
    """What comes of the run is of these: the versions of its data, and the model that it starts from or measures."""
    training = document.training
    found = [dataset.digest for dataset in training.datasets]
    if training.initial_model is not None:
        found.append(training.initial_model.digest)
    return [digest for digest in dict.fromkeys(found) if digest != UNPINNED]


def _fill(data: dict[str, Any]) -> None:
    data.setdefault("task", {"namespace": "local", "name": "run", "uid": "local"})
    training = data.get("training")
    if not isinstance(training, dict):
        return
    training.setdefault("seed", 0)
    training.setdefault("parameters", {})
    datasets = training.get("datasets")
    for dataset in datasets if isinstance(datasets, list) else []:
        if isinstance(dataset, dict):
            dataset.setdefault("role", "Train")
            dataset.setdefault("owner", f"local/{dataset.get('name', '')}")
            dataset.setdefault("uid", "local")
            dataset.setdefault("digest", UNPINNED)
    results = training.get("results")
    for result in results if isinstance(results, list) else []:
        if isinstance(result, dict):
            for field, value in (("candidate", result.get("name", "")), ("uid", "local"), ("digest", UNPINNED)):
                result.setdefault(field, value)
    if training.get("initialModel") == {}:
        training["initialModel"] = {"uid": "local", "digest": UNPINNED}


def _check_datasets(document: RunDocument, purpose: Purpose) -> None:
    datasets = document.training.datasets
    _check_names("datasets", [dataset.name for dataset in datasets])
    learnt = next((dataset.name for dataset in datasets if dataset.role is Role.TRAIN), None)
    if purpose is Purpose.TRAINING and learnt is None:
        raise ConfigError("training.datasets has none of role Train; add one")
    if purpose is Purpose.EVALUATION and learnt is not None:
        raise ConfigError(f"training.datasets {learnt} has role Train, nothing is learnt from it here; use Evaluate")


def _check_names(field: str, names: list[str]) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"training.{field} name {name[:64]!r}: use at most 63 of a-z, 0-9 and '-', not at the ends"
            )
        if names.count(name) > 1:
            raise ConfigError(f"training.{field} name {name!r} appears twice; each needs its own")


def _check_results(document: RunDocument, purpose: Purpose) -> None:
    results = document.training.results
    if purpose is not Purpose.COMPARISON:
        if results:
            raise ConfigError(f"training.results: {document.training.method} reads none; remove them")
        return
    _check_names("results", [result.name for result in results])
    candidates = {result.candidate for result in results}
    for name in sorted(candidates):
        if not NAME.fullmatch(name):
            raise ConfigError(f"training.results candidate {name[:64]!r}: use at most 63 of a-z, 0-9 and '-'")
    if len(candidates) < 2:
        raise ConfigError(f"training.results are of {len(candidates)} candidates; at least 2 can be compared")


def _check_weights(document: RunDocument, method: registry.MethodEntry) -> None:
    training, name = document.training, method.description.name
    if not method.description.accepts_weights:
        if training.initial_model is not None:
            raise ConfigError(f"training.initialModel: {name} starts without weights; remove it")
        return
    if training.initial_model is None and method.description.needs_weights:
        raise ConfigError(f"training.initialModel is missing and {name} cannot do without; name a model")
    if training.initial_model is None and not training.random_init:
        raise ConfigError(
            f"training.initialModel is missing and {name} needs weights; name a model or set randomInit to true"
        )
    if training.initial_model is not None and training.random_init:
        raise ConfigError("training.randomInit is true beside training.initialModel; keep one of them")


def _check_gates(document: RunDocument, task: registry.TaskEntry, purpose: Purpose) -> None:
    if purpose is Purpose.COMPARISON and document.execution.gates:
        raise ConfigError("gates: a comparison has none; remove them")
    allowed = [str(metric) for metric in task.metrics if metric not in LOWER_IS_BETTER]
    for gate in document.execution.gates:
        if gate.metric not in allowed:
            raise ConfigError(
                f"gates metric {gate.metric[:64]!r} sets no floor for {task.name}; choose one of {', '.join(allowed)}"
            )
        try:
            finite = Decimal(gate.minimum).is_finite()
        except InvalidOperation:
            finite = False
        if not finite:
            raise ConfigError(f"gates minimum {gate.minimum[:32]!r} of {gate.metric}; write a number")
