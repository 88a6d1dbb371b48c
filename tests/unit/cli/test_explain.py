"""`why` gives one answer with commands that can be typed as they stand."""

import datetime as dt
import re
from typing import Any

import pytest
from cli_workplace import NOW, a_task, collab

from collabspace.api.conditions import Reason
from collabspace.api.dataset import DatasetSpec, DatasetStatus
from collabspace.api.task import Attempt, CollabTask
from collabspace.api.team import Team
from collabspace.cli.advice import ADVICE
from collabspace.cli.diagnosis import as_text
from collabspace.cli.explain import answer
from collabspace.cli.task_control import remedy
from collabspace.cli.task_facts import Facts, blocked
from collabspace.core.grants import authorize
from collabspace.core.observed import Dataset, observe

LAB = Team("research-lab", "u-lab", gpu_quota=2, cpu_quota=8)


def facts(task: CollabTask, **parts: Any) -> Facts:
    return Facts(**({"task": task, "team": LAB, "neighbours": [], "warnings": [], "now": NOW} | parts))


def commands(task: CollabTask, **parts: Any) -> tuple[str, ...]:
    return answer(facts(task, **parts)).next_commands


# Reasons that tasks never have, and those for which the field or its remedy is not in this release.
WITHOUT_ADVICE = {
    "Valid",
    "Granted",
    "VersionAvailable",
    "Verified",
    "Healthy",
    "NoVersion",
    # Of datasets alone.
    "Quarantined",
    # Of selections alone: `why` says for these which tasks to look at.
    "Comparing",
    "Promoting",
    "MetricMissing",
    "MetricInvalid",
    "BudgetExhausted",
    "NoWinner",
    "ComparisonFailed",
    "PromotionRefused",
}


def test_every_reason_that_a_task_can_have_comes_with_a_next_command() -> None:
    assert {reason.value for reason in Reason if reason not in ADVICE} == WITHOUT_ADVICE


@pytest.mark.parametrize("reason", ADVICE)
def test_commands_hold_this_tasks_names_and_no_placeholders_but_a_path(reason: Reason) -> None:
    for words in commands(a_task(reason=reason)):
        assert not re.search(r"\b(TASK|DATASET|NAMESPACE|NAME|DATE)\b", words), words


@pytest.mark.parametrize("reason", ADVICE)
def test_commands_of_ours_exist_with_these_options(reason: Reason) -> None:
    for words in commands(a_task(reason=reason)):
        if not words.startswith(("kubectl ", "collabspace ")):
            name = words.split()[: 2 if words.startswith(("teams", "grants")) else 1]
            page = collab(*name, "--help").stdout
            for option in re.findall(r"(?<= )--?[a-z-]+", words):
                assert option in page, words


def test_a_missing_grant_names_the_owner_and_the_command_that_cures_it() -> None:
    message = "datasets[a]: hospital-a/notes is not granted to namespace research-lab for Train"
    found = answer(facts(a_task(reason="GrantMissing", message=message)))
    assert found.who == "the data's owner (hospital-a)"
    assert found.next_commands == ("grants add notes -n hospital-a --to research-lab --use Train",)
    assert found.message == message
    assert found.blockers == ()


def test_without_a_name_in_the_message_every_foreign_dataset_is_asked_for() -> None:
    assert commands(a_task(reason="GrantMissing", message="?")) == (
        "grants add notes -n hospital-a --to research-lab --use Train",
        "grants add notes -n hospital-b --to research-lab --use Evaluate",
    )


def test_a_dataset_whose_name_begins_like_another_is_not_mistaken_for_it() -> None:
    datasets = [
        {"name": name, "datasetRef": {"namespace": "h", "name": name}, "role": "Train"} for name in ("notes", "notes-2")
    ]
    task = a_task(reason="GrantMissing", message="h/notes-2 is not granted", spec={"datasets": datasets})
    assert [source.name for source in blocked(task)] == ["notes-2"]


def test_one_dataset_in_two_roles_needs_one_grant_with_both_uses() -> None:
    datasets = [
        {"name": role.lower(), "datasetRef": {"namespace": "h", "name": "notes"}, "role": role}
        for role in ("Train", "Evaluate")
    ]
    task = a_task(reason="GrantMissing", spec={"datasets": datasets})
    assert commands(task) == ("grants add notes -n h --to research-lab --use Train --use Evaluate",)


@pytest.mark.parametrize(
    ("kind", "taken", "said"),
    [
        ("CollabTask", {"best"}, "why best -n research-lab"),
        ("CollabTask", set(), "list -n research-lab"),
        ("Alias", set(), "promote TASK --alias best -n research-lab"),
    ],
)
def test_a_model_of_the_own_team_that_is_not_there_yet_is_not_asked_of_an_owner_of_data(
    kind: str, taken: set[str], said: str
) -> None:
    model = {"kind": kind, "namespace": "research-lab", "name": "best"}
    message = f"modelFrom: {kind} research-lab/best stands for nothing yet"
    spec = {"initialization": "Pretrained", "modelFrom": model}
    waiting = a_task(reason="DatasetNotReady", message=message, spec=spec)
    assert commands(waiting, taken=frozenset(taken)) == (said,)
    other = a_task(reason="DatasetNotReady", message="hospital-a/notes has no version yet", spec=spec)
    assert commands(other) == ("push notes PATH -n hospital-a",)


def test_an_expired_grant_is_extended() -> None:
    assert commands(a_task(reason="GrantExpired", message="hospital-a/notes"))[0].endswith("--use Train --until 30d")


def test_a_task_without_quota_is_told_who_holds_it() -> None:
    running = [a_task(f"by-{name}", reason="Training") for name in "ab"]
    waiting = a_task("by-c", reason="WaitingForQuota")
    found = answer(facts(a_task(reason="WaitingForQuota"), neighbours=[*running, waiting]))
    assert "team research-lab: GPU quota 2, in use 2 by by-a (1), by-b (1)" in found.numbers


def test_a_task_that_exceeds_the_quota_names_the_quota_it_needs() -> None:
    task = a_task(reason="ExceedsQuota", spec={"resourcesPerNode": {"nvidia.com/gpu": "4"}})
    found = answer(facts(task))
    assert found.next_commands == (
        "submit joint-2 -n research-lab --like joint --gpus 2",
        "teams add research-lab --gpu-quota 4",
    )
    assert "team research-lab: GPU quota 2, in use 0" in found.numbers


def test_out_of_memory_asks_for_twice_as_much_under_the_next_free_name() -> None:
    neighbours = [a_task("joint-2", reason="OutOfMemory")]
    assert commands(a_task(reason="OutOfMemory"), neighbours=neighbours) == (
        "submit joint-3 -n research-lab --like joint --memory 4Gi",
    )


def test_divergence_asks_for_a_tenth_of_the_learning_rate() -> None:
    assert commands(a_task(reason="Diverged"))[0].endswith("--like joint --set learningRate=0.0001")


def test_a_person_who_may_not_read_the_namespace_gets_the_answer_without_its_quota() -> None:
    found = answer(facts(a_task(reason="WaitingForQuota"), team=None))
    assert found.numbers == ("asked: GPUs 1, CPUs 1, memory 2Gi",)


def test_a_task_that_nobody_looks_at_for_long_points_to_the_operator() -> None:
    old = facts(a_task(), now=NOW + dt.timedelta(minutes=10))
    assert "may not be running" in answer(old).meaning
    assert answer(facts(a_task(), now=NOW - dt.timedelta(seconds=90))).meaning == Reason.PENDING.help


def test_a_reason_of_a_newer_release_is_still_shown() -> None:
    found = answer(facts(a_task(reason="TooSunny", message="wait for rain")))
    assert found.headline == "research-lab/joint: Waiting, TooSunny"
    assert "newer release" in found.meaning


def test_the_text_says_the_message_once_and_ends_with_the_warnings() -> None:
    message = "hospital-a/notes is not granted to namespace research-lab for Train"
    found = answer(
        facts(a_task(reason="GrantMissing", message=message), warnings=["8s ago  CollabTask/joint  GrantMissing"])
    )
    text = as_text(found)
    assert text.count(message) == 1
    assert text.index("Next, by the data's owner (hospital-a):") < text.index("Numbers:") < text.index("Last warnings:")


def test_wrong_settings_of_the_team_are_among_the_numbers() -> None:
    team = Team("research-lab", "u", problems=("annotation collabspace.io/gpu-quota is 'many'",))
    assert (
        "annotation collabspace.io/gpu-quota is 'many'"
        in answer(facts(a_task(reason="WaitingForQuota"), team=team)).numbers
    )


def test_a_task_too_large_for_every_node_is_told_to_ask_for_what_the_largest_has() -> None:
    message = (
        "resourcesPerNode: asked 64 GPU, 1 CPU, 2 GiB memory; the largest node of this cluster has 4 GPU, 2 CPU, "
        "1 GiB memory. Ask for less per node"
    )
    task = a_task(reason="ExceedsCapacity", message=message, spec={"resourcesPerNode": {"nvidia.com/gpu": "64"}})
    assert commands(task) == ("submit joint-2 -n research-lab --like joint --gpus 4 --memory 972Mi",)


def test_a_quota_that_cannot_be_read_is_to_be_set_again_and_said_once() -> None:
    problem = "annotation collabspace.io/gpu-quota of namespace research-lab is 'two'"
    team = Team("research-lab", "u", problems=(problem,))
    found = answer(facts(a_task(reason="TeamNotReady", message=problem), team=team))
    assert found.next_commands == ("teams add research-lab --gpu-quota N",)
    assert "not set up as a team" not in found.meaning
    assert as_text(found).count(problem) == 1
    assert "GPU quota ?, in use 0" in as_text(found)


def test_a_running_task_counts_itself_among_those_that_hold_quota() -> None:
    assert "team research-lab: GPU quota 2, in use 1 by joint (1)" in answer(facts(a_task(reason="Training"))).numbers


@pytest.mark.parametrize("reason", ADVICE)
def test_no_general_command_stands_above_the_one_with_names(reason: Reason) -> None:
    assert "kubectl collab" not in answer(facts(a_task(reason=reason))).meaning


def test_a_cpu_quota_is_named_for_what_it_is() -> None:
    task = a_task(reason="ExceedsQuota", spec={"resourcesPerNode": {"cpu": "7500m"}})
    assert commands(task, team=Team("research-lab", "u", gpu_quota=2, cpu_quota=4)) == (
        "submit joint-2 -n research-lab --like joint --cpu 4",
        "teams add research-lab --cpu-quota 8",
    )


def test_a_quota_that_was_raised_meanwhile_asks_for_nothing_but_another_try() -> None:
    assert commands(a_task(reason="ExceedsQuota")) == ("submit joint-2 -n research-lab --like joint",)


FAILED = {
    "number": 1, "outcome": "Failed", "reason": "OutOfMemory", "exitCode": 30, "message": "peak 3 GiB",
    "startTime": "2026-11-22T11:58:00Z", "endTime": "2026-11-22T11:59:00Z", "memory": "2Gi",
}  # fmt: skip


def after(reason: str, **spec: Any) -> CollabTask:
    """A task that had two attempts, both too large for their memory, and stands where it does for this reason."""
    second = FAILED | {"number": 2, "memory": "3Gi", "change": "memory 3Gi instead of 2Gi"}
    task = a_task(reason=reason, spec=spec)
    status = task.status.model_copy(update={"attempts": [Attempt(**FAILED), Attempt(**second)], "failed_attempts": 2})
    return task.model_copy(update={"status": status})


def test_a_task_between_two_attempts_says_how_they_ended_and_how_many_are_left() -> None:
    found = answer(facts(after("RetryBackoff")))
    assert found.attempts == (
        "attempt 1 failed: OutOfMemory (exit code 30): peak 3 GiB",
        "attempt 2 after OutOfMemory, from the beginning: memory 3Gi instead of 2Gi",
        "attempt 2 failed: OutOfMemory (exit code 30): peak 3 GiB",
        "counted as failed: 2 of at most 3",
    )
    assert found.next_commands == ("get joint -n research-lab -w", "logs joint -n research-lab --attempt 2")
    assert as_text(found).index("Attempts:") < as_text(found).index("Numbers:")


def test_the_moment_of_the_next_attempt_is_told() -> None:
    crashed = Attempt(**FAILED | {"reason": "UserError", "endTime": "2026-11-22T11:59:58Z"})
    task = after("RetryBackoff")
    task = task.model_copy(update={"status": task.status.model_copy(update={"attempts": [crashed]})})
    said = answer(facts(task)).meaning
    assert re.search(r"Attempt 2 starts by itself in ([6-9]|10)s \(at 12:00:(0[6-9]|10) UTC\)", said), said
    assert answer(facts(task, now=NOW + dt.timedelta(minutes=1))).meaning.endswith("Attempt 2 starts by itself now.")


@pytest.mark.parametrize(
    ("reason", "spec", "words"),
    [
        ("Suspended", {}, ("resume joint -n research-lab",)),
        ("OutOfMemory", {}, ("submit joint-2 -n research-lab --like joint --memory 6Gi",)),
        ("DeadlineExceeded", {"activeDeadlineSeconds": 90},
         ("submit joint-2 -n research-lab --like joint --deadline 3m",)),
        ("PendingDeadlineExceeded", {"pendingDeadlineSeconds": 60},
         ("submit joint-2 -n research-lab --like joint --pending-deadline 2m",)),
        ("BudgetSpent", {"budget": {"gpuSeconds": 60}},
         ("report joint -n research-lab", "submit joint-2 -n research-lab --like joint --budget gpu=2m")),
        ("AttemptsExhausted", {},
         ("logs joint -n research-lab --attempt 2", "submit joint-2 -n research-lab --like joint")),
        ("UserError", {}, ("logs joint -n research-lab --attempt 2",)),
        ("NodeLost", {}, ("get joint -n research-lab -w",)),
    ],
)  # fmt: skip
def test_what_follows_an_attempt_comes_with_the_command_that_fits(
    reason: str, spec: dict[str, Any], words: tuple[str, ...]
) -> None:
    assert commands(after(reason, **spec)) == words


def test_a_grant_that_ran_out_under_a_task_is_extended_and_nobody_is_said_to_have_taken_it_back() -> None:
    task = a_task()
    ended = {"namespace": "research-lab", "namespaceUID": "u-lab", "notAfter": "2026-11-22T11:00:00Z"}
    spec = {"format": "TokenClassification", "grants": [{"name": "lab", "uses": ["Train"]} | ended]}
    raw = {"metadata": {"name": "notes", "namespace": "hospital-a", "uid": "u-d"}, "spec": spec}
    notes = Dataset(observe(raw, DatasetSpec, DatasetStatus), ())
    said = authorize(task.spec, "research-lab", {("hospital-a", "notes"): notes}, {"research-lab": "u-lab"}, NOW)
    message = said.message.split("; ")[0]
    found = answer(facts(a_task(reason="AccessRevoked", message=f"the broker refused access: {message}")))
    assert found.next_commands[0] == "grants add notes -n hospital-a --to research-lab --use Train --until 30d"
    assert found.meaning == "The grant ended while the task needed it; its owner did not take it back."
    both = answer(facts(a_task(reason="AccessRevoked", message=said.message)))
    assert both.next_commands[1] == "grants add notes -n hospital-b --to research-lab --use Evaluate"
    assert both.meaning == Reason.ACCESS_REVOKED.help


def test_a_spec_that_was_refused_is_corrected_in_place_until_an_attempt_has_begun_with_it() -> None:
    edit = "kubectl edit collabtask joint -n research-lab"
    refused = a_task(reason="InvalidParameter")
    assert commands(refused)[1] == edit
    assert edit in remedy(refused) and "submit" not in remedy(refused)
    frozen = a_task(reason="InvalidSpec")
    assert commands(frozen)[1] == "submit joint-2 -n research-lab --like joint"
    assert "submit NEW-NAME -n research-lab --like joint" in remedy(frozen) and edit not in remedy(frozen)


def test_a_revoked_grant_is_the_owners_and_a_new_task_the_members() -> None:
    found = answer(facts(a_task(reason="AccessRevoked", message="hospital-a/notes: the grant was taken back")))
    assert found.who == "the data's owner (hospital-a), then you"
    assert found.next_commands == (
        "grants add notes -n hospital-a --to research-lab --use Train",
        "submit joint-2 -n research-lab --like joint",
    )
