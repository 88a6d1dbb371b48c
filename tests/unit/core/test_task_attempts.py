"""A task over all its attempts, played to the end: what is tried again, with what, for how long, and what is told."""

import datetime as dt
from typing import Any

import pytest
from attempt_world import RESULT, SUCCESS, Ends, Play
from core_facts import NOW, OTHER, at, dataset, digest, grant, reference, task, text
from hypothesis import given, settings
from hypothesis import strategies as st

from collabspace.api.task import TaskStatus
from collabspace.core import attempt
from collabspace.core.quantity import Amount
from collabspace.core.task_plan import is_final

KILLED = Ends(137, facts={"out_of_memory": True, "mute": True})
NEURAL = {"task": "Tabular", "method": "NeuralNetwork"}


@pytest.mark.parametrize(
    ("ends", "story", "reason", "failed"),
    [
        ([Ends(10)], ["Failed InvalidSpec"], "InvalidSpec", 1),
        ([Ends(126)], ["Failed UserError"], "UserError", 1),
        ([Ends(127)], ["Failed UserError"], "UserError", 1),
        ([Ends(20)], ["Failed DataError"], "DataError", 1),
        ([Ends(60)], ["Failed GateNotMet"], "GateNotMet", 1),
        ([Ends(61)], ["Failed Diverged"], "Diverged", 1),
        ([Ends(62)], ["Failed BudgetSpent"], "BudgetSpent", 1),
        ([Ends(40), SUCCESS], ["Failed BrokerUnavailable", "Completed Completed"], "Completed", 1),
        ([Ends(40)], ["Failed BrokerUnavailable"] * 3, "AttemptsExhausted", 3),
        ([Ends(50), SUCCESS], ["Interrupted Interrupted", "Completed Completed"], "Completed", 0),
        ([Ends(51), SUCCESS], ["Interrupted Interrupted", "Completed Completed"], "Completed", 0),
        ([Ends(137), SUCCESS], ["Interrupted Interrupted", "Completed Completed"], "Completed", 0),
        ([Ends(143), SUCCESS], ["Interrupted Interrupted", "Completed Completed"], "Completed", 0),
        ([Ends(None), SUCCESS], ["Interrupted Interrupted", "Completed Completed"], "Completed", 0),
        ([Ends(None, facts={"lost": True}), SUCCESS], ["Interrupted NodeLost", "Completed Completed"], "Completed", 0),
        ([Ends(70), SUCCESS], ["Failed UserError", "Completed Completed"], "Completed", 1),
        ([Ends(70)], ["Failed UserError"] * 2, "UserError", 2),
        ([Ends(139)], ["Failed UserError"] * 2, "UserError", 2),
        ([Ends(1), Ends(2), Ends(134)], ["Failed UserError"] * 3, "UserError", 3),
        (
            [Ends(33), Ends(50), Ends(33)],
            ["Failed UserError", "Interrupted Interrupted", "Failed UserError"],
            "UserError",
            2,
        ),
        ([Ends(21)], ["Failed BrokerUnavailable"] * 3, "AttemptsExhausted", 3),
        ([KILLED, SUCCESS], ["Failed OutOfMemory", "Completed Completed"], "Completed", 0),
    ],
)
def test_every_exit_is_followed_by_what_the_table_says(
    ends: list[Ends], story: list[str], reason: str, failed: int
) -> None:
    play = Play(*ends).run()
    assert [" ".join(each) for each in play.story] == story
    assert (play.status.reason, play.status.failed_attempts) == (reason, failed)
    assert play.status.completion_time is not None
    assert [each.attempt for each in play.spent] == list(range(1, len(story) + 1))


def test_crashes_with_different_signatures_are_tried_until_the_third() -> None:
    crashes = [Ends(70, said={"signature": f"s{number}"}) for number in range(9)]
    play = Play(*crashes, maxAttempts=9).run()
    assert (play.status.reason, len(play.story)) == ("UserError", 3)
    assert [each.signature for each in play.status.attempts] == ["s0", "s1", "s2"]


def test_two_different_crashes_and_an_outage_between_them_are_survived() -> None:
    play = Play(Ends(70), Ends(40), Ends(139), SUCCESS, maxAttempts=9).run()
    assert (play.status.reason, play.status.failed_attempts) == ("Completed", 3)


def test_a_task_that_exceeds_its_memory_halves_its_batches_and_then_gets_more_memory() -> None:
    play = Play(*[KILLED] * 4, SUCCESS, **NEURAL, parameters={"batchSize": 4}).run()
    sizes = [(each.micro_batch_size, each.memory) for each in play.status.attempts]
    assert sizes == [(None, "4Gi"), (2, "4Gi"), (1, "4Gi"), (1, "6144Mi"), (1, "9216Mi")]
    assert [each.change for each in play.status.attempts] == [
        "",
        "2 records at a time, accumulated to a batch",
        "1 record at a time instead of 2, accumulated to a batch",
        "memory 6144Mi instead of 4Gi",
        "memory 9216Mi instead of 6144Mi",
    ]
    assert [run.training for run in play.runs] == [play.runs[0].training] * 5
    assert play.status.failed_attempts == 0


def test_the_ladder_of_memory_ends_at_four_times_what_was_asked() -> None:
    play = Play(KILLED).run()
    assert [each.memory for each in play.status.attempts] == ["4Gi", "6144Mi", "9216Mi", "13824Mi", "16384Mi"]
    assert play.status.reason == "OutOfMemory"


def test_the_ladder_of_memory_ends_at_what_a_node_that_fits_otherwise_has() -> None:
    play = Play(KILLED)
    play.offers = frozenset({Amount(8, 64_000, 5 * 2**30), Amount(0, 64_000, 900 * 2**30)})
    play.run()
    assert [each.memory for each in play.status.attempts] == ["4Gi", "5120Mi"]


def test_memory_of_a_gpu_does_not_grow_with_that_of_its_pod() -> None:
    assert Play(Ends(30)).run().story == [("Failed", "OutOfMemory")]


def test_what_the_trainer_suggests_is_taken_when_it_is_less_than_before() -> None:
    wise = [Ends(30, said={"suggestedMicroBatch": 12}), Ends(30, said={"suggestedMicroBatch": 9000}), SUCCESS]
    play = Play(*wise, **NEURAL, parameters={"batchSize": 64}).run()
    assert [each.micro_batch_size for each in play.status.attempts] == [None, 12, 6]


def test_size_learnt_from_memory_stays_after_an_interruption() -> None:
    play = Play(KILLED, Ends(50), SUCCESS).run()
    assert [each.memory for each in play.status.attempts] == ["4Gi", "6144Mi", "6144Mi"]
    assert play.status.attempts[2].change == ""


def test_pauses_grow_with_failures_and_are_spread_but_the_same_each_time() -> None:
    play = Play(Ends(40), maxAttempts=7).run()
    ends = [dt.datetime.fromisoformat(each.end_time or "") for each in play.status.attempts]
    pauses = [(start - end).total_seconds() for start, end in zip(play.starts[1:], ends, strict=False)]
    for pause, step in zip(pauses, (10, 30, 60, 120, 300, 300), strict=True):
        assert 0.8 * step <= pause <= 1.2 * step + 1
    assert Play(Ends(40), maxAttempts=7).run().starts == play.starts


def test_an_interruption_after_long_work_is_followed_at_once_and_quick_ones_ever_more_slowly() -> None:
    long = Play(Ends(50, seconds=3600), SUCCESS).run()
    assert (long.starts[1] - NOW).total_seconds() <= 3603
    quick = Play(Ends(50, seconds=2), maxAttempts=1).run()
    assert (quick.starts[4] - quick.starts[3]).total_seconds() >= 48


def test_ten_interruptions_in_a_row_without_a_new_checkpoint_are_a_failure() -> None:
    vain = Play(Ends(137), maxAttempts=2).run()
    assert (vain.status.reason, vain.status.failed_attempts) == ("AttemptsExhausted", 2)
    assert len(vain.runs) == 20
    steps = [Ends(50, said={"checkpoint": {"step": step, "digest": digest("c")}}) for step in range(30)]
    assert Play(*steps, SUCCESS, maxAttempts=1).run().status.reason == "Completed"


def test_versions_stay_those_of_the_first_attempt_when_the_dataset_moves_on() -> None:
    play = Play(Ends(50), SUCCESS, datasets=lambda now: dataset(versions=("one",) if now == NOW else ("two", "three")))
    play.run()
    assert [run.training.datasets[0].digest for run in play.runs] == [digest("one")] * 2
    assert [each.digest for each in play.status.datasets] == [digest("one")]


def test_a_dataset_made_anew_between_attempts_is_not_taken_for_the_old_one() -> None:
    def datasets(now: dt.datetime) -> Any:
        found = dataset()
        if now == NOW:
            return found
        meta = found.object.meta.model_copy(update={"uid": "another"})
        return type(found)(type(found.object)(meta, found.object.spec, "", found.object.status), found.versions)

    play = Play(Ends(40), datasets=datasets)
    play.run(until=lambda each: each.status.reason == "DatasetNotReady")
    assert len(play.runs) == 1


def test_the_active_deadline_goes_over_all_attempts_and_not_over_pauses() -> None:
    play = Play(Ends(40, seconds=100), maxAttempts=9, activeDeadlineSeconds=250).run()
    assert play.status.reason == "DeadlineExceeded"
    assert [each.reason for each in play.status.attempts] == [
        "BrokerUnavailable",
        "BrokerUnavailable",
        "DeadlineExceeded",
    ]
    assert play.status.usage is not None
    assert 250 <= play.status.usage.active_seconds <= 252
    assert play.seconds > 280


def test_each_attempt_is_told_what_is_left_of_time_and_budget() -> None:
    budget = {"cpuSeconds": 1000, "gpuSeconds": 1000}
    play = Play(Ends(50, seconds=100), SUCCESS, activeDeadlineSeconds=500, budget=budget).run()
    first, second = (run.execution for run in play.runs)
    assert (first.deadline, first.budget.gpu_seconds) == (text(at(500)), 1000)
    assert (second.budget.cpu_seconds, second.budget.gpu_seconds) == (800, 900)
    assert second.deadline == text(play.starts[1] + dt.timedelta(seconds=400))


def test_a_budget_used_up_by_interrupted_attempts_ends_the_task() -> None:
    play = Play(Ends(50, seconds=100), budget={"gpuSeconds": 150}).run()
    assert (play.status.reason, len(play.runs)) == ("BudgetSpent", 2)


def test_a_result_below_the_gate_is_kept() -> None:
    status = Play(Ends(60)).run().status
    assert status.result is not None
    assert status.result.digest == RESULT


def test_suspension_stops_once_does_not_count_and_resumes() -> None:
    play = Play(Ends(0, seconds=500), SUCCESS)
    play.run(until=lambda each: bool(each.runs) and each.status.reason == "Training")
    play.spec["suspend"] = True
    play.run(until=lambda each: each.status.reason == "Suspended")
    assert [stop.reason for stop in play.stops] == ["Suspended"]
    assert play.story == [("Interrupted", "Suspended")]
    play.step()
    assert play.jobs == {}
    play.spec["suspend"] = False
    play.run()
    assert play.story == [("Interrupted", "Suspended"), ("Completed", "Completed")]


def test_a_suspended_wait_does_not_use_up_the_time_to_start() -> None:
    nothing = dataset(versions=())
    play = Play(SUCCESS, datasets=lambda _: nothing, suspend=True, pendingDeadlineSeconds=60)
    play.run(until=lambda each: each.status.reason == "Suspended")
    play.now = at(600)
    play.spec["suspend"] = False
    play.run(until=lambda each: each.status.reason == "DatasetNotReady")
    play.run()
    assert (play.status.reason, play.now) == ("PendingDeadlineExceeded", at(660))
    assert play.status.attempts == []


def test_a_wait_after_the_first_attempt_has_no_pending_deadline() -> None:
    play = Play(Ends(50, seconds=1000), SUCCESS, pendingDeadlineSeconds=60).run()
    assert play.status.reason == "Completed"


def test_a_priority_or_spec_is_not_needed_to_keep_what_is_on_record() -> None:
    play = Play(Ends(40), SUCCESS)
    play.run(until=lambda each: each.status.reason == "RetryBackoff")
    before = play.status
    play.step()
    assert play.status.attempts == before.attempts
    assert play.status.start_time == before.start_time


@pytest.mark.parametrize(("policy", "reason"), [("Stop", "AccessRevoked"), ("Finish", "Completed")])
def test_a_grant_that_ends_in_mid_run_is_looked_at_when_it_ends(policy: str, reason: str) -> None:
    def datasets(_: dt.datetime) -> Any:
        found = dataset(OTHER, grants=[grant(notAfter=text(at(40)))])
        spec = found.object.spec
        assert spec is not None
        spec.__dict__["on_revoke"] = type(spec.on_revoke)(policy)
        return found

    play = Play(SUCCESS, datasets=datasets)
    play.spec["datasets"] = [reference(OTHER)]
    play.run()
    assert play.status.reason == reason
    if policy == "Stop":
        assert play.now == at(40)
        assert f"{OTHER}/table" in play.status.attempts[0].message


def test_an_ended_task_expires_at_its_time_and_not_before() -> None:
    play = Play(Ends(20), ttlSecondsAfterFinished=50).run()
    end = play.now
    assert play.decide().requeue_after == 50
    play.now = end + dt.timedelta(seconds=50)
    assert play.decide().expired
    play.spec["ttlSecondsAfterFinished"] = 500
    assert not play.decide().expired


def test_old_jobs_go_and_the_newest_two_stay() -> None:
    play = Play(Ends(50), Ends(50), Ends(50), Ends(50), SUCCESS).run()
    play.carry_out(play.decide())
    assert sorted(play.jobs) == [4, 5]


def test_figures_for_the_ledger_are_the_same_when_reckoned_again() -> None:
    play = Play(Ends(50, seconds=70), SUCCESS).run()
    again = attempt.spent_since(task(play.status), NOW)
    assert again == play.spent
    usage = play.status.usage
    assert usage is not None
    assert usage.gpu_seconds == sum(each.gpu_seconds for each in play.spent)
    assert attempt.spent_since(task(play.status), at(80)) == play.spent[1:]


def test_a_clock_of_a_node_that_is_ahead_makes_no_pause_longer() -> None:
    play = Play(Ends(40, facts={"ended": text(at(90_000))}), SUCCESS).run()
    assert play.seconds < 300


ENDS = st.builds(
    Ends,
    st.sampled_from([0, 1, 10, 20, 21, 30, 40, 50, 51, 60, 61, 62, 70, 134, 137, 139, 143, None]),
    st.integers(0, 4000),
    st.sampled_from([0, 50, 51, 137, 143]),
    st.just({}),
    st.sampled_from([{}, {"out_of_memory": True}, {"lost": True}, {"mute": True}]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ENDS, min_size=1, max_size=30), st.integers(1, 5), st.sampled_from([None, 50, 5000]))
def test_whatever_happens_a_task_ends_once_within_its_bounds(
    script: list[Ends], most: int, deadline: int | None
) -> None:
    limits = {"maxAttempts": most} | ({"activeDeadlineSeconds": deadline} if deadline else {})
    play = Play(*script, Ends(40), **limits).run()
    assert is_final(play.status)
    assert play.status.failed_attempts <= most
    assert len({each.attempt for each in play.spent}) == len(play.spent) == len(play.runs)
    assert len(play.status.attempts) <= 10
    assert TaskStatus.model_validate(play.status.model_dump(by_alias=True)) == play.status
