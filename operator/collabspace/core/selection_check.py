"""Whether a selection can be run at all: its metric, its goal, its candidates. All problems at once, by field."""

from collections import Counter
from decimal import Decimal

from collabspace.api.catalogue import Catalogue, CatalogueTask, Purpose
from collabspace.api.conditions import Reason
from collabspace.api.selection import Candidate, SelectionSpec
from collabspace.core import parameters, selection_pins
from collabspace.core.parameters import Problem, closest, invalid
from collabspace.core.ranking import goal_of
from collabspace.core.selection_children import candidate_spec, child_names

MOST_WORDS = 8


def check(spec: SelectionSpec, catalogue: Catalogue, name: str, namespace: str) -> list[Problem]:
    """What is wrong with the spec of the selection of that name; reads nothing but its arguments."""
    task = catalogue.task(spec.task)
    if task is None:
        offered = sorted(each.name for each in catalogue.tasks)
        words = f"task is {spec.task!r}: this release has no such task.{closest(spec.task, offered)}"
        return [Problem(Reason.UNKNOWN_METHOD, f"{words} There is: {', '.join(offered)}")]
    found = [*_objective(spec, task), *_names(spec, name), *_datasets(spec)]
    for candidate in spec.candidates:
        found += _candidate(spec, candidate, task, catalogue, namespace)
    if not found:
        found += _equal(spec, catalogue)
    words = selection_pins.too_many(spec)
    return [*found, *([invalid(words)] if words else [])][:MOST_WORDS]


def _objective(spec: SelectionSpec, task: CatalogueTask) -> list[Problem]:
    objective, problems = spec.objective, []
    if objective.metric not in task.metrics:
        said = f"objective.metric is {objective.metric!r}: task {task.name} reports no such metric."
        problems.append(invalid(f"{said}{closest(objective.metric, task.metrics)} It has: {', '.join(task.metrics)}"))
    elif objective.goal is not goal_of(objective.metric):
        right = goal_of(objective.metric)
        better = "lower" if right.value == "Minimize" else "higher"
        words = f"objective.goal is {objective.goal}, but of {objective.metric} the {better} is better; write {right}"
        problems.append(invalid(words))
    if Decimal(objective.tolerance) < 0:
        problems.append(invalid(f"objective.tolerance is {objective.tolerance}; it must be 0 or more"))
    return problems


def _names(spec: SelectionSpec, name: str) -> list[Problem]:
    candidates = Counter(each.name for each in spec.candidates)
    twice = [each for each, count in candidates.items() if count > 1]
    if twice:
        return [invalid(f"candidates: two of them are named {twice[0]!r}; each needs a name of its own")]
    tasks = Counter(child_names(name, spec))
    same = [each for each, count in tasks.items() if count > 1]
    if not same:
        return []
    words = f"candidates: two tasks of this selection would be named {same[0]}; give the candidates other names:"
    return [invalid(f"{words} none of choose, final, champion, and none that is another's with a number behind")]


def _datasets(spec: SelectionSpec) -> list[Problem]:
    if len({each.name for each in spec.datasets}) < len(spec.datasets):
        return [invalid("datasets: two of them have the same name")]
    return []


def _candidate(
    spec: SelectionSpec, candidate: Candidate, task: CatalogueTask, catalogue: Catalogue, namespace: str
) -> list[Problem]:
    label = f"candidates[{candidate.name}]"
    method = task.method(candidate.method)
    if method is not None and method.purpose is not Purpose.TRAINING:
        offered = ", ".join(each.name for each in task.methods if each.purpose is Purpose.TRAINING)
        return [invalid(f"{label}.method is {method.name}, which learns nothing; there is: {offered}")]
    derived = candidate_spec(spec, candidate, 0, spec.datasets, candidate.model_from)
    problems = parameters.check(derived, catalogue, namespace).problems
    return [Problem(each.reason, f"{label}.{each.message}") for each in problems if not _of_datasets(each, spec)]


def _of_datasets(problem: Problem, spec: SelectionSpec) -> bool:
    """Of the datasets it is said once, not for every candidate."""
    return problem.message.startswith("datasets: two") and bool(_datasets(spec))


def _equal(spec: SelectionSpec, catalogue: Catalogue) -> list[Problem]:
    problems = []
    known: dict[object, str] = {}
    for each in spec.candidates:
        filled = parameters.check(candidate_spec(spec, each, 0, spec.datasets, each.model_from), catalogue).parameters
        said = (each.method, each.model_from, each.initialization, each.resources_per_node)
        first = known.setdefault((*said, tuple(sorted(filled.items()))), each.name)
        if first != each.name:
            words = (
                "is the same model and method with the same parameters; change one, or leave it out (seeds: runs each)"
            )
            problems.append(invalid(f"candidates[{each.name}] and candidates[{first}]: the one {words}"))
    return problems
