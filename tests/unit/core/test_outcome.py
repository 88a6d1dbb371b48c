"""How an attempt ended, from what was seen, claimed and held."""

from dataclasses import replace
from typing import Any

import pytest
from core_facts import NOW, at, claims, digest, end_record, held, job_facts, pod, text

from collabspace.api import names
from collabspace.api.conditions import Reason
from collabspace.core.observed import AttemptRecord
from collabspace.core.outcome import End, Remains, Unsettled, judge, read_pod

FAILED = {"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": text(at(90)), "message": "why"}]}
LATER = at(3600)
RESULT = digest("result")


def ended(code: int | None = 0, message: str = "", record: AttemptRecord | None = None, **changes: Any) -> End:
    found = judge(job_facts(), pod(code, message, **changes), record, True, LATER)
    assert isinstance(found, End), found
    return found


def test_nothing_is_said_while_the_job_runs() -> None:
    assert judge(job_facts({"ready": 1}), None, None, True, NOW) is None


def test_a_result_that_the_broker_holds_is_a_success() -> None:
    end = ended(0, claims(0, RESULT), held(RESULT))
    assert (end.reason, end.exit_code, end.node) == ("Completed", 0, "node-1")
    assert end.result is not None
    assert (end.result.digest, end.result.bytes) == (RESULT, 5)


@pytest.mark.parametrize("record", [None, AttemptRecord(end=end_record(0, RESULT))])
def test_a_claim_alone_is_no_success_however_long_it_stands(record: AttemptRecord | None) -> None:
    found = judge(job_facts(), pod(0, claims(0, RESULT)), record, True, LATER)
    assert isinstance(found, Unsettled)
    assert RESULT in found.message
    assert found.until is None


def test_for_a_moment_after_the_end_nothing_is_said() -> None:
    found = judge(job_facts(), pod(0, claims(0, RESULT)), None, True, at(91))
    assert isinstance(found, Unsettled)
    assert found.until == at(105)


def test_another_result_than_the_claimed_one_is_no_success() -> None:
    end = ended(0, claims(0, RESULT), held(digest("other")))
    assert end.reason == "UserError"
    assert RESULT in end.message
    assert digest("other") in end.message
    assert end.result is None


def test_code_0_without_a_named_result_is_no_success() -> None:
    assert ended(0, claims(0, None)).reason == "UserError"


def test_when_the_pods_last_words_are_lost_the_brokers_record_stands_in() -> None:
    record = AttemptRecord(end=end_record(0, RESULT), result_digest=RESULT, result_bytes=5)
    assert ended(0, "", record).reason == "Completed"
    gone = judge(job_facts(FAILED), None, AttemptRecord(end=end_record(20, message="x:3")), True, LATER)
    assert isinstance(gone, End)
    assert (gone.reason, gone.exit_code, gone.message) == ("DataError", 20, "exit code 20: x:3")


def test_without_any_words_a_current_feed_is_waited_for_only_a_moment_and_an_absent_one_for_longer() -> None:
    assert isinstance(judge(job_facts(), pod(0), None, True, at(95)), Unsettled)
    assert isinstance(judge(job_facts(), pod(0), None, False, LATER), Unsettled)
    end = judge(job_facts(), pod(0), None, True, LATER)
    assert isinstance(end, End)
    assert end.reason == "UserError"


@pytest.mark.parametrize(
    ("code", "changes", "wanted"),
    [
        (10, {}, "InvalidSpec"),
        (20, {}, "DataError"),
        (21, {}, "AccessRevoked"),
        (30, {}, "OutOfMemory"),
        (40, {}, "BrokerUnavailable"),
        (50, {}, "Interrupted"),
        (51, {}, "Interrupted"),
        (60, {}, "GateNotMet"),
        (61, {}, "Diverged"),
        (62, {}, "BudgetSpent"),
        (70, {}, "UserError"),
        (1, {}, "UserError"),
        (2, {}, "UserError"),
        (134, {}, "UserError"),
        (127, {}, "UserError"),
        (137, {}, "Interrupted"),
        (143, {}, "Interrupted"),
        (137, {"out_of_memory": True}, "OutOfMemory"),
        (137, {"lost": True}, "NodeLost"),
        (None, {"lost": True}, "NodeLost"),
        (None, {"words": "Evicted: low on memory"}, "Interrupted"),
    ],
)
def test_every_exit_has_its_true_reason(code: int | None, changes: dict[str, Any], wanted: str) -> None:
    end = ended(code, **changes)
    assert (end.reason, end.exit_code) == (wanted, code)
    assert end.reason.outcome in ("Terminal", "Retried")


def test_a_refused_parameter_is_told_from_other_faults_of_the_document() -> None:
    assert ended(10, claims(10, message="training.parameters.epochs is 0")).reason == "InvalidParameter"


def test_words_for_terminals_hold_no_control_characters() -> None:
    assert ended(20, claims(20, message="a\u001b[31m\nb")).message == "exit code 20: a [31m b"


@pytest.mark.parametrize("code", [60, 62])
def test_a_result_below_the_gate_or_cut_by_the_budget_is_kept(code: int) -> None:
    end = ended(code, claims(code, RESULT), held(RESULT))
    assert end.result is not None
    assert end.result.digest == RESULT


def test_a_failed_attempt_keeps_no_result() -> None:
    assert ended(70, claims(70, RESULT), held(RESULT)).result is None


@pytest.mark.parametrize(
    "message",
    [
        "patient Miller",
        "{}",
        '{"code": 70, "reason": "x", "message": "patient Miller", "extra": 1}',
        '{"code": 70, "reason": "patient Miller"}',
        claims(70, message="m")[:-1] + " " * 4000 + "}",
        "\ud83d\ude00" * 3000,
        "[" * 3000,
    ],
)
def test_hostile_last_words_are_not_repeated(message: str) -> None:
    end = ended(70, message)
    assert (end.reason, end.message, end.claims) == ("UserError", "exit code 70", None)


def test_words_about_another_code_than_the_pods_are_not_believed() -> None:
    assert ended(70, claims(20, message="it was the data")).message == "exit code 70"


def test_a_job_that_vanished_ends_the_attempt_by_what_the_broker_knows() -> None:
    waiting = judge(None, None, None, True, NOW, Remains(True))
    assert isinstance(waiting, Unsettled)
    gone = judge(None, None, None, True, NOW, Remains(True, True))
    assert isinstance(gone, End)
    assert (gone.reason, gone.message) == ("Interrupted", "the pod ended without an exit code: its Job was deleted")
    record = AttemptRecord(end=end_record(0, RESULT), result_digest=RESULT)
    saved = judge(None, None, record, True, NOW, Remains(True, True))
    assert isinstance(saved, End)
    assert saved.reason == "Completed"


def test_a_finished_job_waits_a_moment_for_its_pods_words() -> None:
    assert isinstance(judge(job_facts(FAILED), None, None, True, at(91)), Unsettled)
    end = judge(job_facts(FAILED), None, None, True, LATER)
    assert isinstance(end, End)
    assert end.message == "the pod ended without an exit code: why"


def pod_body(**status: Any) -> dict[str, Any]:
    owner = {"kind": "Job", "uid": "uid-job", "controller": True}
    return {
        "metadata": {"name": "p", "ownerReferences": [owner]},
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Failed", "startTime": text(NOW)} | status,
    }


def container(**end: Any) -> dict[str, Any]:
    return {"name": names.TRAINER_CONTAINER, "state": {"terminated": end}}


def test_a_pod_is_read_with_code_time_and_words() -> None:
    facts = read_pod(pod_body(containerStatuses=[container(exitCode=20, finishedAt=text(at(9)), message="m")]))
    assert facts is not None
    assert (facts.exit_code, facts.ended, facts.message, facts.node) == (20, text(at(9)), "m", "node-1")
    assert not facts.out_of_memory


def test_the_kernels_kill_for_memory_is_seen() -> None:
    facts = read_pod(pod_body(containerStatuses=[container(exitCode=137, reason="OOMKilled")]))
    assert facts is not None
    assert facts.out_of_memory


@pytest.mark.parametrize(
    ("reason", "lost"),
    [("DeletionByTaintManager", True), ("DeletionByPodGC", True), ("EvictionByEvictionAPI", False)],
)
def test_a_lost_node_is_told_from_an_eviction(reason: str, lost: bool) -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason}
    facts = read_pod(pod_body(conditions=[condition]))
    assert facts is not None
    assert (facts.lost, facts.exit_code) == (lost, None)


@pytest.mark.parametrize(
    "body", [{}, {"metadata": {"name": "p"}}, {"metadata": 7}, {"metadata": {"ownerReferences": [7]}}]
)
def test_a_pod_that_no_job_controls_is_nobodys(body: dict[str, Any]) -> None:
    assert read_pod(body) is None


def test_a_pod_that_is_stuck_on_a_dead_node_has_ended_for_the_reason_it_was_told_to_go() -> None:
    stuck = Remains(stuck_on="node-1")
    lost = judge(job_facts(), None, None, True, NOW, stuck)
    assert isinstance(lost, End)
    assert (lost.reason, lost.message) == ("NodeLost", "node node-1 does not answer")
    stopped = replace(job_facts(), suspended=True, stop=(Reason.ACCESS_REVOKED, "taken back"))
    told = judge(stopped, None, None, True, NOW, stuck)
    assert isinstance(told, End)
    assert (told.reason, told.message) == ("AccessRevoked", "taken back")


def test_an_end_after_a_stop_is_the_stops_unless_the_trainer_came_to_its_own() -> None:
    stopped = replace(job_facts(), suspended=True, stop=(Reason.SUSPENDED, "spec.suspend is true"))
    for code, wanted in ((50, "Suspended"), (137, "Suspended"), (70, "Suspended"), (20, "DataError"), (61, "Diverged")):
        end = judge(stopped, pod(code), None, True, LATER)
        assert isinstance(end, End)
        assert end.reason == wanted
    done = judge(stopped, pod(0, claims(0, RESULT)), held(RESULT), True, LATER)
    assert isinstance(done, End)
    assert done.reason == "Completed"


def test_a_halted_job_without_a_pod_has_ended() -> None:
    halted = replace(job_facts(), suspended=True, halted=True, stop=(Reason.SUSPENDED, "x"))
    assert judge(halted, None, None, True, NOW) is None
    end = judge(halted, None, None, True, NOW, Remains(none_left=True))
    assert isinstance(end, End)
    assert (end.reason, end.exit_code) == ("Suspended", None)


@pytest.mark.parametrize("phase", ["Running", "Unknown", "Dancing", None])
def test_a_pod_in_any_other_phase_has_not_ended(phase: str | None) -> None:
    assert read_pod(pod_body(phase=phase)) is None


def test_an_end_beyond_all_time_is_reckoned_with() -> None:
    late = pod(51, started="0001-01-01T00:00:00+14:00", ended="9999-12-31T23:59:59-14:00")
    assert isinstance(judge(job_facts(), late, None, True, LATER), End)
