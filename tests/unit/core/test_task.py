"""One CollabTask through its life: what is planned in each state of the world."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from core_facts import (
    NOW,
    OTHER,
    at,
    claims,
    dataset,
    digest,
    end_record,
    grant,
    held,
    job_facts,
    pod,
    reference,
    spec_body,
    task,
    text,
    world,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from collabspace.api.conditions import ConditionType, Outcome, Reason
from collabspace.api.run import Progress
from collabspace.api.task import Attempt, TaskStatus
from collabspace.core import job
from collabspace.core.admission import ADMITTED, Decision, Verdict
from collabspace.core.observed import AttemptRecord, NotRunning, ObservedTask, TeamFacts
from collabspace.core.outcome import Remains
from collabspace.core.plan import Queued
from collabspace.core.quantity import Amount
from collabspace.core.task import STILL_SECONDS, decide_task
from collabspace.core.task_plan import TaskPlan
from collabspace.core.task_world import Refusal, TaskWorld

RESULT = digest("result")
GONE = Remains(True, True)
WAITS = Verdict(Decision.WAIT, Reason.WAITING_FOR_QUOTA, "GPU: asked 1, quota 1, in use 1 by 1 task")
REFUSED = Verdict(Decision.REFUSE, Reason.EXCEEDS_QUOTA, "too much")


def read(status: TaskStatus | None, kind: ConditionType) -> tuple[str, str]:
    assert status is not None
    found = next(each for each in status.conditions if each.type == kind)
    return found.status, found.reason


def plan_of(observed: ObservedTask, facts: TaskWorld, seconds: float = 0) -> TaskPlan:
    return decide_task(observed, facts, at(seconds))


def after(plan: TaskPlan) -> TaskStatus:
    assert plan.status is not None
    return plan.status


ADMITTED_STATUS = after(plan_of(task(), world(job=job_facts())))
RUNNING_STATUS = after(plan_of(task(ADMITTED_STATUS), world(job=job_facts({"ready": 1})), 5))


@pytest.mark.parametrize(
    ("facts", "reason", "authorized"),
    [
        (world(dataset(OTHER)), "GrantMissing", "False"),
        (world(dataset(OTHER, grants=[grant(uses=("Evaluate",))])), "UseNotGranted", "False"),
        (world(dataset(OTHER, versions=(), grants=[grant()])), "DatasetNotReady", "False"),
        (world(dataset(OTHER, grants=[grant()]), team=TeamFacts(False, "no")), "TeamNotReady", "Unknown"),
        (world(dataset(OTHER), team=TeamFacts(False, "no")), "TeamNotReady", "Unknown"),
        (world(dataset(OTHER, grants=[grant()]), verdict=WAITS), "WaitingForQuota", "True"),
        (
            world(dataset(OTHER, grants=[grant()]), refusal=Refusal(Reason.NAME_CONFLICT, "x")),
            "NameConflict",
            "True",
        ),
    ],
)
def test_a_waiting_task_says_one_reason_and_is_neither_stalled_nor_over(
    facts: TaskWorld, reason: str, authorized: str
) -> None:
    plan = plan_of(task(datasets=[reference(OTHER)]), facts)
    status = after(plan)
    assert (status.reason, plan.create) == (reason, None)
    assert Reason(reason).outcome is Outcome.WAITING
    assert read(status, ConditionType.ACCEPTED)[0] == "True"
    assert read(status, ConditionType.DATA_AUTHORIZED)[0] == authorized
    assert read(status, ConditionType.ADMITTED) == ("False", reason)
    assert read(status, ConditionType.SUCCEEDED) == ("Unknown", reason)
    assert read(status, ConditionType.STALLED) == ("False", "Healthy")
    assert plan.event is None


def test_before_the_first_verdict_the_task_stands_in_the_queue_and_nothing_is_written() -> None:
    plan = plan_of(task(), world())
    assert (plan.status, plan.create, plan.queued) == (None, None, Queued(1, Amount(1, 2000, 4 * 2**30)))


def test_an_admitted_task_gets_its_job_first_and_its_status_from_the_job() -> None:
    plan = plan_of(task(), world(verdict=ADMITTED))
    assert plan.create is not None
    assert plan.status is None
    status = ADMITTED_STATUS
    assert status.reason == "Starting"
    assert read(status, ConditionType.ADMITTED) == ("True", "QuotaReserved")
    assert read(status, ConditionType.RUNNING) == ("False", "Starting")
    assert [(each.name, each.digest) for each in status.datasets] == [("train", digest("one"))]
    assert [(each.number, each.outcome) for each in status.attempts] == [(1, "Running")]
    assert status.start_time == text(NOW)


def test_an_admission_is_an_event_only_after_a_wait() -> None:
    assert plan_of(task(), world(job=job_facts())).event is None
    waited = after(plan_of(task(), world(verdict=WAITS)))
    event = plan_of(task(waited), world(job=job_facts())).event
    assert event is not None
    assert (event.reason, event.warning) == ("Admitted", False)


@pytest.mark.parametrize(
    ("observed", "facts"),
    [
        (task(ADMITTED_STATUS), world(job=job_facts())),
        (task(RUNNING_STATUS), world(job=job_facts({"ready": 1}))),
        (task(after(plan_of(task(), world(verdict=WAITS)))), world(verdict=WAITS)),
        (task(after(plan_of(task(method="x"), world())), method="x"), world()),
    ],
    ids=["admitted", "running", "waiting", "refused"],
)
def test_looking_again_writes_nothing(observed: ObservedTask, facts: TaskWorld) -> None:
    plan = plan_of(observed, facts, 7)
    assert (plan.status, plan.create, plan.event, plan.spent) == (None, None, None, None)


def test_the_pinned_version_stays_when_the_dataset_moves_on() -> None:
    facts = world(dataset(versions=("two", "one")), job=job_facts({"ready": 1}))
    plan = plan_of(task(RUNNING_STATUS), facts)
    assert plan.status is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": "x"}, "UnknownMethod"),
        ({"parameters": {"x": 1}}, "InvalidParameter"),
        ({"gates": [{"metric": "x", "minimum": "1"}]}, "InvalidSpec"),
    ],
)
def test_a_wrong_spec_stalls_and_stays_open_for_correction(changes: dict[str, Any], reason: str) -> None:
    plan = plan_of(task(**changes), world())
    status = after(plan)
    assert read(status, ConditionType.STALLED) == ("True", reason)
    assert read(status, ConditionType.SUCCEEDED) == ("False", reason)
    assert read(status, ConditionType.ACCEPTED) == ("False", reason)
    assert plan.queued is None
    assert plan.event is not None
    assert plan.event.warning
    corrected = task(status, meta={"generation": 2})
    assert plan_of(corrected, world(verdict=ADMITTED)).create is not None


def test_a_spec_written_past_the_schema_names_the_field_and_repeats_no_value() -> None:
    broken = task(raw_spec=spec_body(seed="patient Miller", datasets=[]))
    status = after(plan_of(broken, world()))
    message = next(each.message for each in status.conditions if each.type == "Accepted")
    assert "spec.seed" in message
    assert "spec.datasets" in message
    assert "Miller" not in message


def test_a_dataset_of_another_format_is_told_only_to_those_it_is_granted_to() -> None:
    tokens = {"data_format": "TokenClassification"}
    stranger = plan_of(task(datasets=[reference(OTHER)]), world(dataset(OTHER, **tokens)))
    assert after(stranger).reason == "GrantMissing"
    granted = plan_of(task(datasets=[reference(OTHER)]), world(dataset(OTHER, grants=[grant()], **tokens)))
    assert after(granted).reason == "InvalidSpec"


def test_more_than_the_team_owns_is_refused_but_keeps_its_place_so_that_a_raised_quota_starts_it() -> None:
    plan = plan_of(task(), world(verdict=REFUSED))
    status = after(plan)
    assert read(status, ConditionType.STALLED) == ("True", "ExceedsQuota")
    assert plan.queued is not None
    raised = plan_of(task(status), world(verdict=ADMITTED))
    assert raised.create is not None


def test_the_end_of_a_grant_is_looked_at_when_it_comes() -> None:
    ends = world(dataset(OTHER, grants=[grant(notAfter=text(at(40)))]), verdict=WAITS)
    assert plan_of(task(datasets=[reference(OTHER)]), ends, 10).requeue_after == 30


def test_a_team_that_is_being_looked_at_is_waited_for_in_silence() -> None:
    plan = plan_of(task(), world(team=TeamFacts(None)))
    assert (plan.status, plan.queued, plan.create) == (None, None, None)


def test_a_job_without_a_pod_is_looked_at_after_half_a_minute_and_explained() -> None:
    early = plan_of(task(ADMITTED_STATUS), world(job=job_facts()), 10)
    assert (early.inspect, early.status, early.requeue_after) == (False, None, 20)
    late = plan_of(task(ADMITTED_STATUS), world(job=job_facts()), 31)
    assert late.inspect
    words = NotRunning(False, "Unschedulable: 0/3 nodes are available")
    told = after(plan_of(task(ADMITTED_STATUS), world(job=job_facts(), not_running=words), 31))
    assert (told.reason, read(told, ConditionType.RUNNING)) == ("PodsPending", ("False", "PodsPending"))
    pull = NotRunning(True, "ErrImagePull")
    assert after(plan_of(task(told), world(job=job_facts(), not_running=pull), 40)).reason == "ImagePullFailed"
    restarted = plan_of(task(told), world(job=job_facts()), 50)
    assert (restarted.status, restarted.inspect) == (None, True)


def test_a_pod_that_ran_is_not_called_starting_again() -> None:
    assert plan_of(task(RUNNING_STATUS), world(job=job_facts({"ready": 0})), 300).status is None


@pytest.mark.parametrize(
    ("seconds", "percent", "written"),
    [(70, 21, True), (70, 15, False), (30, 40, False), (70, 5, True)],
    ids=["a tenth more after a minute", "too little", "too early", "a step back"],
)
def test_progress_is_written_coarsely(seconds: float, percent: int, written: bool) -> None:
    first = AttemptRecord(progress=Progress(step=11, total_steps=100))
    started = after(plan_of(task(RUNNING_STATUS), world(job=job_facts({"ready": 1}), record=first), 1))
    assert started.progress is not None
    now = AttemptRecord(progress=Progress(step=percent, total_steps=100))
    if percent == 5:
        started = started.model_copy(update={"progress": started.progress.model_copy(update={"percent": 50})})
    plan = plan_of(task(started), world(job=job_facts({"ready": 1}), record=now), 1 + seconds)
    assert (plan.status is not None) is written


def test_success_tells_result_metrics_usage_and_time() -> None:
    metric = {"name": "accuracy", "value": "0.91", "low": "0.88", "high": "0.94"}
    message = claims(0, RESULT, metrics=[metric], step=10, totalSteps=10)
    plan = plan_of(task(RUNNING_STATUS), world(job=job_facts(), pod=pod(0, message), record=held(RESULT)), 100)
    status = after(plan)
    assert read(status, ConditionType.SUCCEEDED) == ("True", "Completed")
    assert read(status, ConditionType.STALLED)[0] == "False"
    assert status.result is not None
    assert status.result.digest == RESULT
    assert [(each.name, each.value, each.low) for each in status.metrics] == [("accuracy", "0.91", "0.88")]
    assert status.usage is not None
    assert (status.usage.gpu_seconds, status.usage.cpu_seconds) == (90, 180)
    assert status.completion_time == text(at(90))
    assert [(each.number, each.outcome, each.node) for each in status.attempts] == [(1, "Completed", "node-1")]
    assert plan.spent is not None
    assert (plan.spent.gpu_seconds, plan.spent.outcome) == (90, "Completed")
    assert plan.event is not None
    assert not plan.event.warning


def test_what_is_not_confirmed_is_said_only_after_a_moment_and_without_an_end() -> None:
    waiting = world(job=job_facts(), pod=pod(0, claims(0, RESULT)))
    soon = plan_of(task(RUNNING_STATUS), waiting, 95)
    assert (soon.status, soon.requeue_after) == (None, 10)
    late = after(plan_of(task(RUNNING_STATUS), waiting, 200))
    assert (late.reason, read(late, ConditionType.SUCCEEDED)) == ("Confirming", ("Unknown", "Confirming"))
    assert late.completion_time is None
    done = plan_of(task(late), world(job=job_facts(), pod=pod(0, claims(0, RESULT)), record=held(RESULT)), 300)
    assert read(after(done), ConditionType.SUCCEEDED) == ("True", "Completed")


def test_a_bad_end_stalls_with_the_trainers_bounded_words() -> None:
    plan = plan_of(task(RUNNING_STATUS), world(job=job_facts(), pod=pod(20, claims(20, message="a.csv:7"))), 100)
    status = after(plan)
    assert read(status, ConditionType.STALLED) == ("True", "DataError")
    assert status.attempts[0].message == "exit code 20: a.csv:7"
    assert plan.event is not None
    assert plan.event.warning


def test_a_refused_access_says_what_the_grant_looks_like_now() -> None:
    revoked = world(dataset(OTHER), job=job_facts(), pod=pod(21))
    status = after(plan_of(task(RUNNING_STATUS, datasets=[reference(OTHER)]), revoked, 100))
    assert read(status, ConditionType.DATA_AUTHORIZED) == ("False", "AccessRevoked")
    message = next(each.message for each in status.conditions if each.type == "Stalled")
    assert f"{OTHER}/table is not granted" in message


FINAL = [
    after(plan_of(task(RUNNING_STATUS), world(job=job_facts(), pod=pod(0, claims(0, RESULT)), record=held(RESULT)))),
    after(plan_of(task(RUNNING_STATUS), world(job=job_facts(), pod=pod(20)))),
]


@pytest.mark.parametrize("final", FINAL, ids=["succeeded", "failed"])
@pytest.mark.parametrize(
    "facts",
    [
        world(verdict=ADMITTED),
        world(remains=GONE),
        world(job=job_facts(), pod=pod(0)),
        world(dataset(OTHER)),
    ],
    ids=["admitted anew", "Job gone", "another end", "no data"],
)
def test_an_end_is_final_whatever_happens_later(final: TaskStatus, facts: TaskWorld) -> None:
    assert plan_of(task(final), facts, 999) == TaskPlan()


def test_a_task_on_record_as_started_never_starts_twice_while_its_job_is_not_found() -> None:
    assert plan_of(task(ADMITTED_STATUS), world(verdict=ADMITTED)) == TaskPlan()


@pytest.mark.parametrize("name", ["n" * 51, "a.b"])
def test_a_name_that_no_status_can_be_written_under_starts_nothing(name: str) -> None:
    observed = task()
    named = replace(observed, meta=observed.meta.model_copy(update={"name": name}))
    plan = plan_of(named, world(dataset(), verdict=ADMITTED))
    assert plan.create is None
    assert after(plan).reason == "InvalidSpec"


def test_a_flag_is_no_parameter() -> None:
    flagged = task(parameters={"epochs": True})
    assert flagged.spec is None
    assert "parameters.epochs" in flagged.problem


def test_nothing_is_started_beside_a_job_that_runs_though_its_end_is_on_record() -> None:
    ended = Attempt(number=1, outcome="Interrupted", reason="Interrupted", end_time=text(NOW))
    observed = task(TaskStatus(attempts=[ended]))
    facts = world(dataset(), job=job_facts(), jobs=(job_facts(),), verdict=ADMITTED)
    assert plan_of(observed, facts, 600) == TaskPlan(requeue_after=STILL_SECONDS)
    assert plan_of(observed, replace(facts, pod=pod(50)), 600).create is not None


def test_a_job_that_was_deleted_ends_the_attempt_once_its_pod_is_gone() -> None:
    stopping = plan_of(task(RUNNING_STATUS), world(job=job_facts(), remains=Remains(True)), 60)
    assert (stopping.status, stopping.requeue_after) == (None, 2)
    plan = plan_of(task(RUNNING_STATUS), world(job=job_facts(), remains=GONE), 60)
    status = after(plan)
    assert (status.reason, status.attempts[0].outcome, status.failed_attempts) == ("RetryBackoff", "Interrupted", 0)
    assert plan.spent is not None
    forgotten = after(plan_of(task(RUNNING_STATUS), world(remains=GONE), 60))
    assert forgotten.attempts[0].outcome == "Interrupted"


def test_a_task_being_deleted_is_left_alone() -> None:
    going = task(meta={"deletionTimestamp": text(NOW)})
    assert plan_of(going, world(verdict=ADMITTED)) == TaskPlan()


def test_a_changed_priority_is_taken_note_of() -> None:
    plan = plan_of(task(ADMITTED_STATUS, meta={"generation": 2}, priority=9), world(job=job_facts()))
    assert after(plan).observed_generation == 2


VERDICTS = st.sampled_from([None, ADMITTED, WAITS, REFUSED])
JOBS = st.sampled_from([None, job_facts(), job_facts({"ready": 1})])
PODS = st.sampled_from([None, pod(0, claims(0, RESULT)), pod(0), pod(70), pod(None, lost=True), pod(137)])
RECORDS = st.sampled_from([None, held(RESULT), held(digest("x")), AttemptRecord(end=end_record(0, RESULT))])
TEAMS = st.sampled_from([TeamFacts(True), TeamFacts(None), TeamFacts(False, "x")])
STATUSES = st.sampled_from([TaskStatus(), ADMITTED_STATUS, RUNNING_STATUS, *FINAL])


@settings(max_examples=400, deadline=None)
@given(VERDICTS, JOBS, PODS, RECORDS, TEAMS, STATUSES, st.booleans(), st.integers(0, 5000))
def test_in_every_world_looking_again_changes_nothing_and_no_success_is_unproven(
    verdict: Verdict | None,
    facts: job.JobFacts | None,
    last: Any,
    record: AttemptRecord | None,
    team: TeamFacts,
    status: TaskStatus,
    gone: bool,
    seconds: int,
) -> None:
    remains = Remains(gone and facts is None, gone)
    known = world(verdict=verdict, job=facts, pod=last, record=record, team=team, remains=remains)
    before = copy.deepcopy(status)
    first = plan_of(task(status), known, seconds)
    assert status == before
    assert first == plan_of(task(status), known, seconds)
    if first.status is None:
        return
    second = plan_of(task(first.status), known, seconds)
    assert second.spent is None
    if second.status is not None:
        # After the end of an attempt comes what the task waits for next; then there is nothing more to say.
        assert first.spent is not None
        third = plan_of(task(second.status), known, seconds)
        assert (third.status, third.event, third.spent) == (None, None, None)
    if read(first.status, ConditionType.SUCCEEDED)[0] == "True":
        assert record is not None
        assert record.result_digest == RESULT
    for each in first.status.conditions:
        assert len(each.message) <= 1024
    assert len({each.type for each in first.status.conditions}) == 6
