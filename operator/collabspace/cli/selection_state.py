"""Where a selection stands, read from its conditions. Pure."""

from collabspace.api.conditions import Condition, ConditionType, Outcome, Reason
from collabspace.api.selection import CandidateState, ModelSelection
from collabspace.cli.task_state import State, condition, known_reason

STYLES = {
    CandidateState.WAITING: "yellow",
    CandidateState.RUNNING: "blue",
    CandidateState.RANKED: "green",
    CandidateState.EXCLUDED: "red",
    CandidateState.SKIPPED: "dim",
}


def find(selection: ModelSelection, kind: ConditionType) -> Condition | None:
    return condition(selection.status.conditions, kind)


def status_of(selection: ModelSelection, kind: ConditionType) -> str:
    """`True`, `False` or `Unknown`, the last also when the condition is not there yet."""
    found = find(selection, kind)
    return found.status if found else "Unknown"


def is_judged(selection: ModelSelection) -> bool:
    """Whether the status speaks of the spec as it is now."""
    return selection.status.observed_generation >= selection.metadata.generation


def has_ended(selection: ModelSelection) -> bool:
    return is_judged(selection) and status_of(selection, ConditionType.SUCCEEDED) != "Unknown"


def state_of(selection: ModelSelection) -> State:
    succeeded = status_of(selection, ConditionType.SUCCEEDED)
    if succeeded != "Unknown":
        return State.SUCCEEDED if succeeded == "True" else State.FAILED
    if status_of(selection, ConditionType.RUNNING) == "True":
        return State.RUNNING
    reason = known_reason(reason_of(selection))
    going = reason is not None and reason.outcome is Outcome.ACTIVE and reason is not Reason.PENDING
    return State.RUNNING if going else State.WAITING


def reason_of(selection: ModelSelection) -> str:
    """The one dominant reason; Pending for a selection that the operator has not looked at."""
    return selection.status.reason or Reason.PENDING.value


def message_of(selection: ModelSelection) -> str:
    """The message of the condition that carries the dominant reason, unless it says what the reason means anyway."""
    word = reason_of(selection)
    found = next((each for each in selection.status.conditions if each.reason == word and each.message), None)
    reason = known_reason(word)
    return "" if found is None or (reason and found.message == reason.help) else found.message
