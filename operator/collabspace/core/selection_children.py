"""The CollabTasks of a selection: what each must say, and what has become of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from collabspace.api import names
from collabspace.api.conditions import ConditionType, Reason
from collabspace.api.selection import Candidate, Cost, SelectionSpec
from collabspace.api.task import ModelSource, TaskBudget, TaskDataset, TaskSpec
from collabspace.core import status
from collabspace.core.job import KIND as TASK_KIND
from collabspace.core.observed import ObservedSelection, ObservedTask
from collabspace.core.selection_world import Child

KIND = "ModelSelection"
CHOOSE, FINAL, CHAMPION = "choose", "final", "champion"
PARTS = (CHOOSE, FINAL, CHAMPION)
# Of a child, these change while it lives: what it may spend is decided when it starts, the others by people.
FREE = ("budget", "suspend", "priority")


class Stage(Enum):
    MISSING = auto()
    FOREIGN = auto()
    """Somebody else's task of the same name."""
    CHANGED = auto()
    """Ours, but it says something else than it must."""
    ACTIVE = auto()
    FAILED = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Trial:
    """A child as it must be and as it is. `reason` and `message` are its own, of a foreign one NameConflict."""

    name: str
    wanted: TaskSpec
    stage: Stage
    task: ObservedTask | None = None
    reason: str = ""
    message: str = ""

    @property
    def cost(self) -> Cost:
        """What its ended attempts used."""
        used = self.task.status.usage if self.task is not None else None
        return Cost(cpu_seconds=used.cpu_seconds, gpu_seconds=used.gpu_seconds) if used is not None else Cost()

    @property
    def running(self) -> bool:
        return self.task is not None and status.holds(ConditionType.RUNNING, self.task.status.conditions)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one candidate; runs differ in their seed."""

    candidate: Candidate
    number: int
    trial: Trial


def candidate_names(selection: str, spec: SelectionSpec) -> Iterator[tuple[Candidate, int, str]]:
    """Every run that the spec asks for with its task's name, first runs first."""
    for number in range(spec.seeds):
        for candidate in spec.candidates:
            yield candidate, number, names.trial_name(selection, candidate.name, number)


def child_names(selection: str, spec: SelectionSpec) -> list[str]:
    """The names of all tasks that a selection may ever have."""
    parts = [names.trial_name(selection, part) for part in PARTS]
    return [*(name for _, _, name in candidate_names(selection, spec)), *parts]


def candidate_spec(
    spec: SelectionSpec, candidate: Candidate, number: int, datasets: list[TaskDataset], model: ModelSource | None
) -> TaskSpec:
    """What the task of a run says; `datasets` and `model` name their versions."""
    return TaskSpec(
        task=spec.task,
        method=candidate.method,
        datasets=datasets,
        model_from=model,
        initialization=candidate.initialization,
        parameters=candidate.parameters,
        seed=number,
        resources_per_node=candidate.resources_per_node,
    )


def look(selection: ObservedSelection, name: str, wanted: TaskSpec, children: Mapping[str, Child]) -> Trial:
    """What has become of the child of that name."""
    child = children.get(name)
    if child is None:
        return Trial(name, wanted, Stage.MISSING)
    task = child.task
    if child.owner_uid != selection.meta.uid:
        words = (
            f"a CollabTask named {name} exists that this selection did not make; delete it (kubectl delete collabtask "
            f"{name}), or give the selection another name"
        )
        return Trial(name, wanted, Stage.FOREIGN, task, Reason.NAME_CONFLICT.value, words)
    if task.meta.deletion_timestamp is not None:
        return Trial(name, wanted, Stage.ACTIVE, task, Reason.STOPPING.value, f"CollabTask {name} is being deleted")
    if _kept(task.spec) != _kept(wanted):
        words = f"the spec of CollabTask {name} was changed; delete it, and it is made anew as the selection says"
        return Trial(name, wanted, Stage.CHANGED, task, Reason.NAME_CONFLICT.value, words)
    return Trial(name, wanted, _stage(task), task, task.status.reason, _words(task))


def _kept(spec: TaskSpec | None) -> TaskSpec | None:
    fields = TaskSpec.model_fields
    return spec.model_copy(update={name: fields[name].default for name in FREE}) if spec is not None else None


def _stage(task: ObservedTask) -> Stage:
    held = task.status.conditions
    if status.holds(ConditionType.SUCCEEDED, held):
        return Stage.ENDED if task.status.result is not None else Stage.FAILED
    # A refused task is not over, but nobody may correct it: it is the selection's.
    return Stage.FAILED if status.holds(ConditionType.STALLED, held) else Stage.ACTIVE


def _words(task: ObservedTask) -> str:
    for kind in (ConditionType.STALLED, ConditionType.RUNNING, ConditionType.SUCCEEDED):
        found = status.find(kind, task.status.conditions)
        if found is not None and found.reason == task.status.reason:
            return found.message
    return ""


def manifest(selection: ObservedSelection, name: str, wanted: TaskSpec, budget: TaskBudget | None) -> dict[str, Any]:
    """The CollabTask to create."""
    meta = selection.meta
    said = wanted.model_copy(update={"budget": budget})
    return {
        "apiVersion": names.API_VERSION,
        "kind": TASK_KIND,
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": KIND,
                    "name": meta.name,
                    "uid": meta.uid,
                    "controller": True,
                }
            ],
        },
        "spec": said.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
