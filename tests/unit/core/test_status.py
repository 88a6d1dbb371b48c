"""Conditions, and when a change is worth a write."""

import pytest
from core_facts import NOW, at, text
from hypothesis import given
from hypothesis import strategies as st

from collabspace.api.conditions import TASK_CONDITIONS, ConditionType, Reason
from collabspace.api.task import Attempt, TaskProgress, TaskStatus, TaskUsage
from collabspace.core.status import Judged, bounded, conditions, holds, is_minor

KIND = ConditionType.ADMITTED


def judged(status: str, reason: Reason = Reason.WAITING_FOR_QUOTA, message: str = "") -> dict[ConditionType, Judged]:
    return {KIND: Judged(status, reason, message)}  # type: ignore[arg-type]


def test_all_known_types_are_there_from_first_sight_as_unknown() -> None:
    found = conditions(TASK_CONDITIONS, [], {}, 1, NOW)
    assert [each.type for each in found] == [kind.value for kind in TASK_CONDITIONS]
    assert {each.status for each in found} == {"Unknown"}
    assert {each.reason for each in found} == {"Pending"}


@pytest.mark.parametrize(
    ("status", "moment"), [("False", text(NOW)), ("True", text(at(60)))], ids=["the same status", "another status"]
)
def test_the_time_of_transition_moves_with_the_status_alone(status: str, moment: str) -> None:
    before = conditions([KIND], [], judged("False"), 1, NOW)
    after = conditions([KIND], before, judged(status, Reason.EXCEEDS_QUOTA, "other words"), 2, at(60))
    assert (after[0].last_transition_time, after[0].observed_generation) == (moment, 2)


def test_without_a_message_the_reasons_help_stands_in() -> None:
    assert conditions([KIND], [], judged("False"), 1, NOW)[0].message == Reason.WAITING_FOR_QUOTA.help


@given(st.text(max_size=3000))
def test_messages_are_bounded(text_: str) -> None:
    assert len(bounded(text_)) <= 1024
    assert bounded(text_).rstrip("…") in text_


def test_a_condition_holds_when_it_is_true() -> None:
    assert holds(KIND, conditions([KIND], [], judged("True"), 1, NOW))
    assert not holds(KIND, conditions([KIND], [], judged("False"), 1, NOW))
    assert not holds(KIND, [])


def status(message: str = "a", value: str = "False", **changes: object) -> TaskStatus:
    found = conditions([KIND], [], judged(value, message=message), 1, NOW)
    return TaskStatus(conditions=found, reason="WaitingForQuota").model_copy(update=changes)


PROGRESS = TaskProgress(percent=10, step=1, total_steps=10, last_update_time=text(NOW))


@pytest.mark.parametrize(
    ("after", "minor"),
    [
        (status("b"), True),
        (status(usage=TaskUsage(gpu_seconds=1)), True),
        (status(progress=PROGRESS), True),
        (status(value="True"), False),
        (status(reason="GrantMissing"), False),
        (status(attempts=[Attempt(number=1)]), False),
        (status(completion_time=text(NOW)), False),
    ],
    ids=["words", "usage", "progress", "a transition", "another reason", "an attempt", "the end"],
)
def test_words_and_counters_may_wait_and_turns_may_not(after: TaskStatus, minor: bool) -> None:
    assert is_minor(status(), after) is minor
