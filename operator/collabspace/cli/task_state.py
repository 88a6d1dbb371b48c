"""A task's conditions read as people do: one word for where it stands, and its steps. Pure: objects in, values out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from collabspace.api.conditions import TASK_CONDITIONS, Condition, ConditionType, Outcome, Reason
from collabspace.api.task import CollabTask


class State(StrEnum):
    WAITING = "Waiting"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


STYLES = {
    State.WAITING: "yellow",
    State.STARTING: "cyan",
    State.RUNNING: "blue",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
}
STEPS = tuple(kind for kind in TASK_CONDITIONS if kind is not ConditionType.STALLED)


@dataclass(frozen=True)
class Step:
    """One condition as a step on the way: `mark` is done, now, failed or open."""

    type: ConditionType
    mark: str
    reason: str
    message: str
    since: str


def condition(conditions: Sequence[Condition], kind: str) -> Condition | None:
    return next((each for each in conditions if each.type == kind), None)


def status_of(task: CollabTask, kind: ConditionType) -> str:
    """`True`, `False` or `Unknown`, the last also when the condition is not there yet."""
    found = condition(task.status.conditions, kind)
    return found.status if found else "Unknown"


def has_ended(task: CollabTask) -> bool:
    return status_of(task, ConditionType.SUCCEEDED) != "Unknown"


def state_of(task: CollabTask) -> State:
    succeeded = status_of(task, ConditionType.SUCCEEDED)
    if succeeded != "Unknown":
        return State.SUCCEEDED if succeeded == "True" else State.FAILED
    if status_of(task, ConditionType.RUNNING) == "True":
        return State.RUNNING
    return State.STARTING if status_of(task, ConditionType.ADMITTED) == "True" else State.WAITING


def holds_quota(task: CollabTask) -> bool:
    """Whether its GPUs count against the team's quota now."""
    return not has_ended(task) and status_of(task, ConditionType.ADMITTED) == "True"


def reason_of(task: CollabTask) -> str:
    """The one dominant reason; Pending for a task that the operator has not looked at."""
    return task.status.reason or Reason.PENDING.value


def known_reason(word: str) -> Reason | None:
    """None for a reason of another release."""
    return next((reason for reason in Reason if reason.value == word), None)


def message_of(task: CollabTask) -> str:
    """The message of the condition that carries the dominant reason."""
    found = next((each for each in task.status.conditions if each.reason == reason_of(task) and each.message), None)
    return found.message if found else ""


def own_message(task: CollabTask) -> str:
    """The message, unless it only repeats what the reason means in general."""
    reason = known_reason(reason_of(task))
    message = message_of(task)
    return "" if reason and message == reason.help else message


def gpus_of(task: CollabTask) -> int:
    return int(task.spec.resources_per_node.gpu)


def steps(task: CollabTask) -> list[Step]:
    """The way from accepted to succeeded. What one step waits for, the later ones wait for too: they are only open."""
    found: list[Step] = []
    for kind in STEPS:
        each = condition(task.status.conditions, kind)
        mark = _mark(task, each) if each else "open"
        if each is None or (mark != "done" and any(_same(step, each) for step in found)):
            found.append(Step(kind, "failed" if mark == "failed" else "open", "", "", ""))
        else:
            found.append(Step(kind, mark, each.reason, each.message, each.last_transition_time))
    return found


def _same(step: Step, each: Condition) -> bool:
    return (step.reason, step.message) == (each.reason, each.message)


def _mark(task: CollabTask, each: Condition) -> str:
    if each.status == "True":
        return "now" if each.type == ConditionType.RUNNING and not has_ended(task) else "done"
    reason = known_reason(each.reason)
    if each.status == "False" and reason and reason.outcome is Outcome.TERMINAL:
        return "failed"
    if reason and reason.outcome is Outcome.WAITING:
        return "now"
    return "done" if each.type == ConditionType.RUNNING and has_ended(task) else "open"
