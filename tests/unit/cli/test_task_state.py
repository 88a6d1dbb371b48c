"""Conditions read as people do: one word, and steps that say each thing once."""

import pytest
from cli_workplace import NOW, a_task, condition

from collabspace.api.conditions import Outcome, Reason
from collabspace.api.run import Progress
from collabspace.cli import task_rows
from collabspace.cli.output import aligned, without_empty
from collabspace.cli.task_state import State, has_ended, holds_quota, own_message, reason_of, state_of, steps
from collabspace.client.protocol import AttemptFeed


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("", State.WAITING),
        ("GrantMissing", State.WAITING),
        ("Training", State.RUNNING),
        ("Completed", State.SUCCEEDED),
        ("OutOfMemory", State.FAILED),
        ("InvalidParameter", State.FAILED),
    ],
)
def test_a_task_stands_in_one_of_five_states(reason: str, state: State) -> None:
    assert state_of(a_task(reason=reason)) is state


def test_a_task_with_its_quota_and_no_running_pod_is_starting() -> None:
    task = a_task(status={"reason": "Starting", "conditions": [condition("Admitted", "True", "QuotaReserved")]})
    assert state_of(task) is State.STARTING
    assert holds_quota(task)


@pytest.mark.parametrize("reason", list(Reason))
def test_exactly_the_good_and_the_terminal_reasons_end_a_task(reason: Reason) -> None:
    assert has_ended(a_task(reason=reason)) is (reason.outcome in (Outcome.GOOD, Outcome.TERMINAL))


def test_a_task_that_nobody_looked_at_is_pending() -> None:
    assert reason_of(a_task()) == "Pending"
    assert [step.mark for step in steps(a_task())] == ["open"] * 5


def test_what_one_step_waits_for_is_said_once() -> None:
    found = steps(a_task(reason="GrantMissing", message="hospital-a/notes is not granted"))
    assert [step.mark for step in found] == ["done", "now", "open", "open", "open"]
    assert [step.message for step in found].count("hospital-a/notes is not granted") == 1


def test_the_step_at_which_a_task_failed_is_marked() -> None:
    found = steps(a_task(reason="InvalidParameter", message="parameters.epoch: no such parameter"))
    assert found[0].mark == "failed"
    assert found[0].message == "parameters.epoch: no such parameter"


def test_figures_tell_test_from_validation_and_the_test_comes_first() -> None:
    metrics = [
        {"name": "accuracy", "value": "0.9", "split": "validation"},
        {"name": "accuracy", "value": "0.8", "low": "0.7", "high": "0.85"},
        {"name": "accuracy", "value": "0.6", "dataset": "a"},
    ]
    task = a_task(status={"reason": "Completed", "metrics": metrics})
    rows = task_rows.metric_rows(task.status.metrics)
    table = aligned(*without_empty(task_rows.METRIC_HEADERS, rows, task_rows.METRIC_OPTIONAL))
    assert [line.split() for line in table.splitlines()] == [
        ["METRIC", "VALUE", "95", "%", "INTERVAL", "SPLIT", "DATASET"],
        ["accuracy", "0.8", "0.7", "to", "0.85", "test", "all"],
        ["accuracy", "0.6", "test", "a"],
        ["accuracy", "0.9", "validation", "all"],
    ]
    assert task_rows.headline(task) == "accuracy 0.8"


def test_a_finished_task_has_all_its_steps_behind_it() -> None:
    assert {step.mark for step in steps(a_task(reason="Completed"))} == {"done"}


def test_a_message_that_only_repeats_the_meaning_is_not_a_message_of_its_own() -> None:
    assert own_message(a_task(reason="Completed")) == ""
    assert own_message(a_task(reason="OutOfMemory", message="peak 3 GiB")) == "peak 3 GiB"


def feed(step: int, **parts: object) -> AttemptFeed:
    progress = Progress(step=step, total_steps=40, loss="0.31", curve=["0.9", "0.5", "0.31"], **parts)  # type: ignore[arg-type]
    return AttemptFeed(task_uid="u-1", attempt=1, progress=progress)


def test_the_live_figure_of_the_broker_is_newer_than_the_status() -> None:
    running = a_task(
        reason="Training",
        status={"progress": {"percent": 10, "step": 4, "totalSteps": 40, "lastUpdateTime": "2026-11-22T11:59:00Z"}},
    )
    assert task_rows.percent(running) == 10
    assert task_rows.percent(running, feed(20)) == 50
    assert task_rows.percent(a_task(reason="Completed"), feed(20)) == 100
    assert task_rows.percent(a_task(reason="GrantMissing")) is None


def test_an_attempt_that_reads_its_checkpoint_is_not_said_to_be_at_step_0() -> None:
    known = {"percent": 40, "step": 16, "totalSteps": 40, "lastUpdateTime": "2026-11-22T11:59:00Z"}
    running = a_task(reason="Training", status={"progress": known})
    for live in (
        feed(0, stage="Resume"),
        AttemptFeed(task_uid="u", attempt=2, progress=Progress(step=0, total_steps=0)),
    ):
        assert task_rows.percent(running, live) == 40
        assert "step 0" not in task_rows.progress_line(running, live, 40)
    assert task_rows.percent(running, feed(0)) == 0


def test_a_task_that_waits_shows_no_loss_of_an_attempt_that_is_over() -> None:
    waiting = a_task(reason="RetryBackoff")
    assert "loss" not in task_rows.live_line(waiting, feed(20))
    assert task_rows.live_row(waiting, feed(20))[-1] == ""


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_row_has_a_cell_for_each_header(everywhere: bool) -> None:
    task = a_task(reason="Training")
    for wide in (False, True):
        headers = task_rows.headers(everywhere=everywhere, wide=wide)
        assert len(task_rows.row(task, NOW, everywhere=everywhere, wide=wide)) == len(headers)
    headers = task_rows.live_headers(everywhere=everywhere)
    assert len(task_rows.live_row(task, feed(3), everywhere=everywhere)) == len(headers)


def test_a_live_row_draws_progress_and_losses() -> None:
    cells = task_rows.live_row(a_task(reason="Training"), feed(20))
    assert cells == ("joint", ("Running", "blue"), "Training", "██████████░░░░░░░░░░  50 %", "█▃▁ 0.31")


def test_a_live_row_fits_80_columns() -> None:
    curve = [str(step) for step in range(60)]
    progress = Progress(step=60, total_steps=60, loss="0.1234", curve=curve)
    live = AttemptFeed(task_uid="u", attempt=1, progress=progress)
    tasks = [a_task("a-and-b", reason=reason) for reason in ("Training", "WaitingForQuota")]
    rows = [task_rows.live_row(task, live, 80) for task in tasks]
    assert max(map(len, aligned(task_rows.live_headers(), rows).split("\n"))) <= 80


def test_a_line_for_a_pipe_says_state_reason_progress_and_loss() -> None:
    assert task_rows.live_line(a_task(reason="Training"), feed(20)) == "joint  Running  Training  50 %  loss 0.31"
    waiting = a_task(reason="WaitingForQuota", message="GPU: asked 1, quota 2, in use 2 by 2 tasks")
    assert task_rows.live_line(waiting, None).endswith("GPU: asked 1, quota 2, in use 2 by 2 tasks")


def test_a_loss_that_is_no_number_does_not_stop_the_drawing() -> None:
    progress = Progress(step=1, total_steps=2, loss="nan", curve=["nan", "1", "x"])
    assert task_rows.losses(AttemptFeed(task_uid="u", attempt=1, progress=progress)) == "▁  nan"


def test_facts_tell_what_was_asked_and_what_it_took() -> None:
    task = a_task(
        reason="Completed",
        status={
            "startTime": "2026-11-22T11:50:00Z",
            "completionTime": "2026-11-22T11:51:35Z",
            "usage": {"gpuSeconds": 95, "cpuSeconds": 190},
            "datasets": [{"name": "a", "digest": "sha256:" + "ab" * 32}],
        },
    )
    facts = task_rows.facts(task, NOW)
    assert ("dataset", "a: hospital-a/notes, Train, version abababababab") in facts
    assert ("age", "2m (took 95s)") in facts
    assert ("used", "190 CPU-seconds, 95 GPU-seconds") in facts
