"""Tasks suspended, resumed, moved in the queue and cancelled by a member, and attempts told as they come."""

import asyncio

import pytest
import yaml
from cli_harness import SECONDS, Person, make_task, reached, set_attempts, set_state

from collabspace.api import names
from collabspace.cli.cluster import path_of
from collabspace.kube.client import KubeClient, KubeError, Object
from collabspace.local.cluster import LocalCluster

OOM = {"outcome": "Failed", "reason": "OutOfMemory", "exitCode": 30, "message": "peak 3 GiB", "checkpointStep": 40}
HALF = {"outcome": "Running", "change": "4 records at a time instead of 8", "startTime": "2026-01-01T00:00:00Z"}


@pytest.fixture
async def lab(team) -> str:
    return await team("lab", "--gpu-quota", "2", "--member", "rita")


@pytest.fixture
def rita(lab: str, cluster: LocalCluster) -> Person:
    """A member, with a member's rights and no more; the lab is her namespace."""
    return Person(cluster.user("rita", namespace=lab))


async def spec_of(admin: KubeClient, lab: str) -> Object:
    return dict((await admin.get(path_of(names.COLLAB_TASKS, lab, "x")))["spec"])


async def judge(admin: KubeClient, lab: str, reason: str, **conditions: str) -> None:
    """The operator has looked at the newest spec and found this."""
    await set_state(admin, lab, "x", reason, **conditions)
    generation = (await admin.get(path_of(names.COLLAB_TASKS, lab, "x")))["metadata"]["generation"]
    path = path_of(names.COLLAB_TASKS, lab, "x") + "/status"
    await admin.merge(path, {"status": {"observedGeneration": generation}})


async def test_a_member_suspends_and_resumes_and_twice_is_as_once(lab: str, rita: Person, admin: KubeClient) -> None:
    await make_task(admin, lab, "x")
    await judge(admin, lab, "Training", Accepted="True", Admitted="True", Running="True")
    result = await rita.did("suspend", "x")
    assert result.stdout == "collabtask.collabspace.io/x suspended\n"
    assert f"It stops after a checkpoint, and goes on with: kubectl collab resume x -n {lab}" in result.stderr
    assert (await spec_of(admin, lab))["suspend"] is True
    assert (await rita.did("suspend", "x")).stdout.endswith("/x unchanged\n")
    assert (await rita.did("resume", "x")).stdout.endswith("/x resumed\n")
    assert (await spec_of(admin, lab))["suspend"] is False
    assert (await rita.did("resume", "x")).stdout.endswith("/x unchanged\n")


async def test_waiting_for_a_stop_goes_by_what_was_judged_after_the_change(
    lab: str, rita: Person, admin: KubeClient
) -> None:
    await make_task(admin, lab, "x")
    await judge(admin, lab, "Suspended", Accepted="True")
    async with rita.process("suspend", "x", "--wait", "--timeout", "1s") as process:
        _, errors = await process.communicate()
        assert process.returncode == 124
        assert b"task x is not suspended after 1 s" in errors
    async with rita.process("suspend", "x", "--wait") as process:
        await reached(process, "unchanged")
        await judge(admin, lab, "Training", Accepted="True", Admitted="True", Running="True")
        await judge(admin, lab, "Suspended", Accepted="True")
        assert await process.wait() == 0
    async with rita.process("resume", "x", "--wait") as process:
        await reached(process, "resumed")
        await judge(admin, lab, "UserError", Succeeded="False", Stalled="True")
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert b"task x ended without running (UserError" in errors


async def test_the_priority_of_a_task_that_waits_is_changed_and_of_one_that_runs_is_not(
    lab: str, rita: Person, admin: KubeClient
) -> None:
    await make_task(admin, lab, "x")
    assert (await rita.did("priority", "x", "-7")).stdout.endswith("/x priority -7 (was 0)\n")
    assert (await spec_of(admin, lab))["priority"] == -7
    await set_state(admin, lab, "x", "Training", Accepted="True", Admitted="True", Running="True")
    assert (await rita.did("priority", "x", "-7")).stdout.endswith("/x unchanged\n")
    refused = await rita.collab("priority", "x", "9")
    assert refused.exit_code == 1
    assert f"To let others go first: kubectl collab suspend x -n {lab}." in refused.stderr
    assert (await spec_of(admin, lab))["priority"] == -7


@pytest.mark.parametrize("words", [["suspend"], ["resume"], ["cancel", "--yes"], ["priority", "5"]])
async def test_what_has_ended_or_is_not_there_is_said_and_left_alone(
    lab: str, rita: Person, admin: KubeClient, words: list[str]
) -> None:
    command = [words[0], "x", *words[1:]]
    missing = await rita.collab(*command)
    assert missing.exit_code == 1
    assert f"collabtask x not found in namespace {lab}" in missing.stderr
    await make_task(admin, lab, "x")
    await set_state(admin, lab, "x", "Completed", Succeeded="True")
    before = await admin.get(path_of(names.COLLAB_TASKS, lab, "x"))
    ended = await rita.collab(*command)
    assert ended.exit_code == 1
    assert "task x has ended already (Succeeded, Completed)" in ended.stderr
    assert f"kubectl delete collabtask x -n {lab}" in ended.stderr
    assert await admin.get(path_of(names.COLLAB_TASKS, lab, "x")) == before


async def test_a_cancelled_task_is_deleted_once_the_person_agrees(lab: str, rita: Person, admin: KubeClient) -> None:
    await make_task(admin, lab, "x")
    path = path_of(names.COLLAB_TASKS, lab, "x")
    nobody = await rita.collab("cancel", "x")
    assert nobody.exit_code == 1
    assert "nobody answers. To agree beforehand: --yes." in nobody.stderr
    declined = await rita.collab("cancel", "x", stdin="n\n")
    assert declined.exit_code == 1
    assert "is deleted with its checkpoints and any result" in declined.stderr
    assert f"kubectl collab suspend x -n {lab}" in declined.stderr
    await admin.get(path)
    agreed = await rita.did("cancel", "x", "--wait", "--timeout", "60s", stdin="y\n")
    assert agreed.stdout == "collabtask.collabspace.io/x cancelled and deleted\n"
    with pytest.raises(KubeError, match="not found"):
        await admin.get(path)


async def test_the_attempts_of_a_task_are_shown_listed_and_explained(lab: str, rita: Person, admin: KubeClient) -> None:
    await make_task(admin, lab, "x")
    await make_task(admin, lab, "first")
    await set_state(admin, lab, "x", "RetryBackoff", "attempt 2 starts in 20 s", Accepted="True")
    assert "ATTEMPTS" not in (await rita.did("list")).stdout
    await set_attempts(admin, lab, "x", OOM)
    text = (await rita.did("get", "x")).stdout
    assert "OutOfMemory   30" in text
    assert "step 40" in text
    await set_attempts(admin, lab, "x", OOM, HALF)
    lines = (await rita.did("list")).stdout.splitlines()
    assert "ATTEMPTS" in lines[0]
    assert lines[2].split()[5] == "2"
    answer = (await rita.did("why", "x")).stdout
    assert "attempt 2 starts in 20 s" in answer
    assert "attempt 1 failed: OutOfMemory (exit code 30): peak 3 GiB" in answer
    gone = await rita.collab("logs", "x", "--attempt", "3")
    assert "attempt 3 of task x has no pod (Waiting, RetryBackoff). It has had 2 so far." in gone.stderr


async def test_a_new_attempt_is_told_and_ends_neither_the_wait_nor_the_watch(
    lab: str, rita: Person, admin: KubeClient
) -> None:
    await make_task(admin, lab, "x")
    line = "attempt 2 after OutOfMemory, from step 40: 4 records at a time instead of 8"
    async with rita.process("get", "x", "-w") as watch, rita.process("wait", "x") as wait:
        await reached(watch, "Pending")
        await set_state(admin, lab, "x", "RetryBackoff", Accepted="True")
        await set_attempts(admin, lab, "x", OOM)
        await reached(watch, "RetryBackoff")
        await set_attempts(admin, lab, "x", OOM, HALF)
        await set_state(admin, lab, "x", "Training", Accepted="True", Admitted="True", Running="True")
        assert any(line in each for each in await reached(watch, "Training"))
        await set_state(admin, lab, "x", "Completed", Succeeded="True")
        async with asyncio.timeout(SECONDS):
            out, errors = await wait.communicate()
            assert await watch.wait() == 0
    assert b"condition met: Succeeded" in out
    assert line in errors.decode()


async def test_limits_are_typed_printed_and_stored(lab: str, rita: Person, admin: KubeClient) -> None:
    words = ["submit", "x", "--task", "TokenClassification", "--method", "FullFineTuning", "--random-init",
             "--dataset", "hospital-a/notes", "--max-attempts", "5", "--deadline", "2h", "--pending-deadline", "30m",
             "--ttl", "7d", "--gate", "entity_micro_f1>=0.8", "--budget", "cpu=1h", "--priority", "-1"]  # fmt: skip
    limits = {
        "maxAttempts": 5,
        "activeDeadlineSeconds": 7200,
        "pendingDeadlineSeconds": 1800,
        "ttlSecondsAfterFinished": 604800,
        "gates": [{"metric": "entity_micro_f1", "minimum": "0.8"}],
        "budget": {"cpuSeconds": 3600},
        "priority": -1,
    }
    printed = yaml.safe_load((await rita.did(*words, "--dry-run")).stdout)["spec"]
    await rita.did(*words)
    stored = await spec_of(admin, lab)
    for spec in (printed, stored):
        assert {key: spec[key] for key in limits} == limits
    shown = (await rita.did("get", "x")).stdout
    for said in ("2h of running", "within 30m", "7d after its end", "cpu 1h", "entity_micro_f1 >= 0.8"):
        assert said in shown
