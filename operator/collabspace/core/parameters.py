"""`task`, `method`, `parameters`, `initialization` and `modelFrom` against what the trainer can do."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from collabspace.api.catalogue import Catalogue, CatalogueTask, Method, Parameter, ParameterType
from collabspace.api.conditions import Reason
from collabspace.api.run import LOWER_IS_BETTER, Role, Scalar
from collabspace.api.task import Initialization, TaskSpec
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


def check(spec: TaskSpec, catalogue: Catalogue) -> Checked:
    """The method's parameters as the trainer will get them. Reads nothing but the spec and the catalogue."""
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
        *_gates(spec, task),
        *_datasets(spec),
        *_resources(spec, method),
    ]
    filled, wrong = _fill(spec.parameters, method)
    random_init = _starts_from_weights(method) and spec.model_from is None
    return Checked(filled, random_init, (*wrong, *problems))


def _refused(problems: list[Problem]) -> Checked:
    return Checked({}, False, tuple(problems))


def _unknown(field: str, value: str, offered: Iterable[str], what: str) -> Problem:
    names = sorted(offered)
    return Problem(
        Reason.UNKNOWN_METHOD,
        f"{field} is {value[:64]!r}: {what}.{_closest(value, names)} There is: {', '.join(names)}",
    )


def _closest(value: str, names: list[str]) -> str:
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
                f"parameters.{name[:64]}: method {method.name} has no such parameter.{_closest(name, names)} "
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
                f"{text[:64]!r} is not offered;{_closest(text, parameter.choices)} choose one of "
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
    if spec.model_from is not None:
        if spec.initialization is Initialization.RANDOM:
            return [_invalid("initialization Random and modelFrom exclude each other; remove one")]
        if not _starts_from_weights(method):
            return [_invalid(f"modelFrom: method {method.name} starts from no weights; remove modelFrom")]
        return []
    if method.needs_weights:
        return [_invalid(f"modelFrom: method {method.name} needs weights; name a SharedDataset of format Model")]
    if method.accepts_weights and spec.initialization is not Initialization.RANDOM:
        return [
            _invalid(
                f"modelFrom: method {method.name} starts from weights; name a SharedDataset of format Model, or set "
                "initialization: Random to learn from nothing"
            )
        ]
    return []


def _starts_from_weights(method: Method) -> bool:
    return method.needs_weights or method.accepts_weights


def _gates(spec: TaskSpec, task: CatalogueTask) -> list[Problem]:
    floors = sorted(set(task.metrics) - LOWER_IS_BETTER)
    return [
        _invalid(
            f"gates: {gate.metric!r} is no metric of task {task.name} that can have a floor."
            f"{_closest(gate.metric, floors)} It has: {', '.join(floors)}"
        )
        for gate in spec.gates
        if gate.metric not in floors
    ]


def _datasets(spec: TaskSpec) -> list[Problem]:
    problems = []
    if not any(dataset.role is Role.TRAIN for dataset in spec.datasets):
        problems.append(_invalid("datasets: at least one must have role Train"))
    if len({dataset.name for dataset in spec.datasets}) < len(spec.datasets):
        problems.append(_invalid("datasets: two of them have the same name"))
    return problems


def _resources(spec: TaskSpec, method: Method) -> list[Problem]:
    asked = spec.resources_per_node
    try:
        amount = quantity.amount(cpu=asked.cpu, memory=asked.memory, gpu=asked.gpu)
    except ValueError as error:
        return [_invalid(f"resourcesPerNode: {error}")]
    problems = []
    if amount.cpu_millis == 0 or amount.memory_bytes == 0:
        problems.append(_invalid("resourcesPerNode: cpu and memory must be above 0"))
    if method.needs_gpu and amount.gpus == 0:
        problems.append(_invalid(f"resourcesPerNode: method {method.name} needs nvidia.com/gpu of at least 1"))
    return problems


def _invalid(message: str) -> Problem:
    return Problem(Reason.INVALID_SPEC, message)
