"""`task`, `method`, `parameters`, `initialization` and `modelFrom` against what the trainer can do."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from collabspace.api.catalogue import Catalogue, CatalogueTask, Method, Parameter, ParameterType, Purpose
from collabspace.api.conditions import Reason
from collabspace.api.run import LOWER_IS_BETTER, Role, Scalar
from collabspace.api.task import Initialization, ModelKind, TaskSpec
from collabspace.core import quantity

NUMBER = re.compile(r"^-?[0-9]{1,18}(\.[0-9]{1,18})?([eE][-+]?[0-9]{1,3})?$")
WHOLE = re.compile(r"^-?[0-9]{1,18}$")


@dataclass(frozen=True, slots=True)
class Problem:
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Checked:
    """Either `parameters` with every default filled in, or all `problems` at once."""

    parameters: Mapping[str, Scalar]
    random_init: bool
    problems: tuple[Problem, ...]


def check(spec: TaskSpec, catalogue: Catalogue, namespace: str | None = None) -> Checked:
    """The method's parameters as the trainer will get them. Reads nothing but the spec, the catalogue and the task's
    own namespace, where that is known."""
    task = catalogue.task(spec.task)
    if task is None:
        return _refused(
            [_unknown("task", spec.task, (each.name for each in catalogue.tasks), "this release has no such task")]
        )
    method = task.method(spec.method)
    if method is None:
        offered = (each.name for each in task.methods)
        return _refused([_unknown("method", spec.method, offered, f"task {task.name} has no such method")])
    problems = [
        *_weights(spec, method),
        *_own_model(spec, namespace),
        *_results(spec, method),
        *_gates(spec, task),
        *_datasets(spec, method),
        *_resources(spec, method),
    ]
    filled, wrong = _fill(spec.parameters, method)
    random_init = method.purpose is Purpose.TRAINING and _starts_from_weights(method) and spec.model_from is None
    return Checked(filled, random_init, (*wrong, *problems))


def _refused(problems: list[Problem]) -> Checked:
    return Checked({}, False, tuple(problems))


def _unknown(field: str, value: str, offered: Iterable[str], what: str) -> Problem:
    names = sorted(offered)
    return Problem(
        Reason.UNKNOWN_METHOD,
        f"{field} is {value[:64]!r}: {what}.{closest(value, names)} There is: {', '.join(names)}",
    )


def closest(value: str, names: Sequence[str]) -> str:
    """A question about the name most like the one found; empty when none is."""
    folded = {name.lower(): name for name in names}
    match = difflib.get_close_matches(value.lower(), folded, n=1)
    return f" Did you mean {folded[match[0]]}?" if match else ""


def _fill(given: Mapping[str, Scalar], method: Method) -> tuple[dict[str, Scalar], list[Problem]]:
    known = {parameter.name: parameter for parameter in method.parameters}
    problems: list[Problem] = []
    for name in sorted(given.keys() - known.keys()):
        names = sorted(known)
        problems.append(
            Problem(
                Reason.INVALID_PARAMETER,
                f"parameters.{name[:64]}: method {method.name} has no such parameter.{closest(name, names)} "
                f"It has: {', '.join(names) or 'none'}",
            )
        )
    filled: dict[str, Scalar] = {}
    for name, parameter in known.items():
        try:
            filled[name] = _value(parameter, given.get(name, parameter.default))
        except ValueError as error:
            problems.append(Problem(Reason.INVALID_PARAMETER, f"parameters.{name}: {error}"))
    return filled, problems


def _value(parameter: Parameter, value: Scalar) -> Scalar:
    text = str(value)
    if parameter.type is ParameterType.CHOICE:
        if text not in parameter.choices:
            raise ValueError(
                f"{text[:64]!r} is not offered;{closest(text, parameter.choices)} choose one of "
                f"{', '.join(parameter.choices)}"
            )
        return text
    shape, kind = (WHOLE, "a whole number") if parameter.type is ParameterType.INTEGER else (NUMBER, "a number")
    low, high = parameter.minimum, parameter.maximum
    if (
        shape.match(text) is None
        or (low is not None and Decimal(text) < Decimal(low))
        or (high is not None and Decimal(text) > Decimal(high))
    ):
        bounds = " ".join(
            part
            for part in (f"from {low}" if low is not None else "", f"to {high}" if high is not None else "")
            if part
        )
        raise ValueError(f"{text[:64]!r} is not allowed; write {kind}{f' {bounds}' if bounds else ''}")
    return int(text) if parameter.type is ParameterType.INTEGER else text


def _weights(spec: TaskSpec, method: Method) -> list[Problem]:
    if method.purpose is Purpose.EVALUATION:
        wants = f"modelFrom: method {method.name} measures a model; name one, for example by kind CollabTask or Alias"
        return [] if spec.model_from is not None else [invalid(wants)]
    if spec.model_from is not None:
        if spec.initialization is Initialization.RANDOM:
            return [invalid("initialization Random and modelFrom exclude each other; remove one")]
        if not _starts_from_weights(method):
            return [invalid(f"modelFrom: method {method.name} starts from no weights; remove modelFrom")]
        return []
    if method.needs_weights:
        return [invalid(f"modelFrom: method {method.name} needs weights; name a SharedDataset of format Model")]
    if method.accepts_weights and spec.initialization is not Initialization.RANDOM:
        return [
            invalid(
                f"modelFrom: method {method.name} starts from weights; name a SharedDataset of format Model, or set "
                "initialization: Random to learn from nothing"
            )
        ]
    return []


def _own_model(spec: TaskSpec, namespace: str | None) -> list[Problem]:
    source = spec.model_from
    if source is None or source.kind is ModelKind.SHARED_DATASET or namespace in (None, source.namespace):
        return []
    return [
        invalid(
            f"modelFrom.namespace is {source.namespace!r}: kind {source.kind} is of the own namespace alone, write "
            f"{namespace}; a model of another team comes as a SharedDataset of format Model that it grants"
        )
    ]


def _results(spec: TaskSpec, method: Method) -> list[Problem]:
    if method.purpose is not Purpose.COMPARISON:
        return [invalid(f"results: method {method.name} compares nothing; remove results")] if spec.results else []
    problems = []
    candidates = {each.candidate for each in spec.results}
    if len(candidates) < 2:
        problems.append(
            invalid(
                f"results: {len(spec.results)} of {len(candidates)} candidates; method {method.name} compares those of "
                "at least two candidates"
            )
        )
    if len({each.name for each in spec.results}) < len(spec.results):
        problems.append(invalid("results: two of them have the same name"))
    if len({(each.task_name, each.digest) for each in spec.results}) < len(spec.results):
        problems.append(invalid("results: one is named twice; a result is compared once"))
    return problems


def _starts_from_weights(method: Method) -> bool:
    return method.needs_weights or method.accepts_weights


def _gates(spec: TaskSpec, task: CatalogueTask) -> list[Problem]:
    floors = sorted(set(task.metrics) - LOWER_IS_BETTER)
    return [
        invalid(
            f"gates: {gate.metric!r} is no metric of task {task.name} that can have a floor."
            f"{closest(gate.metric, floors)} It has: {', '.join(floors)}"
        )
        for gate in spec.gates
        if gate.metric not in floors
    ]


def _datasets(spec: TaskSpec, method: Method) -> list[Problem]:
    problems = []
    learned = [dataset.name for dataset in spec.datasets if dataset.role is Role.TRAIN]
    if method.purpose is Purpose.TRAINING and not learned:
        problems.append(invalid("datasets: at least one must have role Train"))
    if method.purpose is Purpose.EVALUATION and learned:
        words = f"datasets[{learned[0]}].role is Train; method {method.name} learns nothing, write role: Evaluate"
        problems.append(invalid(words))
    if len({dataset.name for dataset in spec.datasets}) < len(spec.datasets):
        problems.append(invalid("datasets: two of them have the same name"))
    return problems


def _resources(spec: TaskSpec, method: Method) -> list[Problem]:
    asked = spec.resources_per_node
    try:
        amount = quantity.amount(cpu=asked.cpu, memory=asked.memory, gpu=asked.gpu)
    except ValueError as error:
        return [invalid(f"resourcesPerNode: {error}")]
    problems = []
    if amount.cpu_millis == 0 or amount.memory_bytes == 0:
        problems.append(invalid("resourcesPerNode: cpu and memory must be above 0"))
    if method.needs_gpu and amount.gpus == 0:
        problems.append(invalid(f"resourcesPerNode: method {method.name} needs nvidia.com/gpu of at least 1"))
    return problems


def invalid(message: str) -> Problem:
    """The spec contradicts itself."""
    return Problem(Reason.INVALID_SPEC, message)
