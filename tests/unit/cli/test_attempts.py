"""Attempts read as a story: how each ended, what the next does otherwise, and where it took up."""

from typing import Any

from cli_workplace import NOW, a_task, conditions_for

from collabspace.api.run import Progress
from collabspace.api.task import CollabTask
from collabspace.cli import attempts, task_rows
from collabspace.cli.output import without_empty
from collabspace.client.protocol import AttemptFeed

FIRST = {
    "number": 1, "outcome": "Failed", "reason": "OutOfMemory", "exitCode": 30, "node": "n1", "checkpointStep": 40,
    "startTime": "2026-11-22T11:58:00Z", "endTime": "2026-11-22T11:59:00Z",
}  # fmt: skip
SECOND = {
    "number": 2, "outcome": "Running", "startTime": "2026-11-22T11:59:30Z",
    "change": "4 records at a time instead of 8",
}  # fmt: skip


def task_with(*found: dict[str, Any], reason: str = "Training") -> CollabTask:
    return a_task(status={"reason": reason, "conditions": conditions_for(reason), "attempts": list(found)})


def test_a_single_attempt_that_runs_or_ended_well_needs_no_table() -> None:
    assert not attempts.worth_telling(a_task())
    assert not attempts.worth_telling(task_with(FIRST | {"outcome": "Running"}))
    assert not attempts.worth_telling(task_with(FIRST | {"outcome": "Completed"}))
    assert attempts.worth_telling(task_with(FIRST))
    assert attempts.worth_telling(task_with(FIRST, SECOND))


def test_the_table_has_only_the_columns_that_hold_something() -> None:
    task = task_with(FIRST, SECOND)
    headers, rows = without_empty(attempts.HEADERS, attempts.rows(task, NOW), attempts.OPTIONAL)
    assert headers == ["ATTEMPT", "OUTCOME", "REASON", "EXIT", "NODE", "TOOK", "CHECKPOINT", "CHANGED"]
    assert rows == [
        ("1", ("Failed", "red"), "OutOfMemory", "30", "n1", "60s", "step 40", ""),
        ("2", ("Running", "blue"), "", "", "", "30s", "", "4 records at a time instead of 8"),
    ]


def test_an_attempt_that_ended_before_its_first_checkpoint_says_so_and_the_next_begins_anew() -> None:
    unsaved = FIRST | {"outcome": "Interrupted", "reason": "Interrupted", "exitCode": 51, "checkpointStep": None}
    task = task_with(unsaved, SECOND)
    _, rows = without_empty(attempts.HEADERS, attempts.rows(task, NOW), attempts.OPTIONAL)
    assert [row[6] for row in rows] == ["-", ""]
    second = task.status.attempts[1]
    assert attempts.begun_line(task, second).startswith("attempt 2 after Interrupted, from the beginning: ")
    forgotten = task_with(unsaved | {"number": 11}, SECOND | {"number": 12})
    assert "from" not in attempts.begun_line(forgotten, forgotten.status.attempts[1])


def test_each_new_attempt_is_announced_once_with_its_cause_and_where_it_takes_up() -> None:
    announcer = attempts.Announcer()
    assert announcer.lines(a_task()) == []
    assert announcer.lines(task_with(FIRST | {"outcome": "Running"})) == []
    assert announcer.lines(task_with(FIRST, reason="RetryBackoff")) == []
    line = "attempt 2 after OutOfMemory, from step 40: 4 records at a time instead of 8"
    assert announcer.lines(task_with(FIRST, SECOND)) == [line]
    assert announcer.lines(task_with(FIRST, SECOND)) == []
    third = SECOND | {"number": 3, "change": ""}
    interrupted = SECOND | {"outcome": "Interrupted", "reason": "NodeLost"}
    assert announcer.lines(task_with(FIRST, interrupted, third)) == ["attempt 3 after NodeLost, from step 40"]


def test_whoever_looks_late_hears_of_the_newest_attempt_alone() -> None:
    third = SECOND | {"number": 3}
    assert len(attempts.Announcer().lines(task_with(FIRST, SECOND, third))) == 1


def test_the_step_taken_up_from_is_said_unless_the_live_figure_is_below_it() -> None:
    task = task_with(FIRST, SECOND)

    def line(step: int) -> str:
        live = AttemptFeed(task_uid="u", attempt=2, progress=Progress(step=step, total_steps=100))
        return task_rows.progress_line(task, live, step)

    assert line(50).endswith("resumed from step 40")
    assert "resumed" not in line(20)
    assert "resumed" not in task_rows.progress_line(task_with(FIRST | {"outcome": "Running"}), None, 5)


def test_words_of_a_trainer_cannot_steer_the_terminal() -> None:
    line = attempts.ended_line(task_with(FIRST | {"message": "a\x1b[31mb\nc"}).status.attempts[0])
    assert line == "attempt 1 failed: OutOfMemory (exit code 30): a [31mb c"


def test_an_exit_code_is_said_once() -> None:
    task = task_with(FIRST | {"message": "exit code 30: peak 3 GiB"})
    assert attempts.ended_line(task.status.attempts[0]) == "attempt 1 failed: OutOfMemory: exit code 30: peak 3 GiB"
