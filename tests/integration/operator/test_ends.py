"""How attempts end, and what the status then says."""

import json

import pytest
from operator_harness import (
    JOBS,
    TASKS,
    FakeBroker,
    Teams,
    condition,
    conditions,
    digest,
    end_record,
    reason,
    story,
    until,
)

from collabspace.kube.client import KubeClient


async def start(teams: Teams, **spec: object) -> tuple[str, str]:
    """A running task; its team and uid."""
    team = await teams.ready()
    made = await teams.task(team, gpu=1, **spec)
    await teams.run_pod(team, "task")
    await teams.until_reason(team, "task", "Training")
    return team, made["metadata"]["uid"]


async def test_success_needs_the_result_that_the_trainer_claims_to_be_in_the_brokers_hands(
    teams: Teams, admin: KubeClient, broker: FakeBroker
) -> None:
    team, uid = await start(teams)
    result = digest("good")
    metric = {"name": "accuracy", "value": "0.91", "low": "0.88", "high": "0.94"}
    await teams.end_pod(team, "task", message=end_record(result, metrics=[metric]))
    waiting = await teams.until_reason(team, "task", "Confirming", seconds=40)
    assert condition(waiting, "Succeeded") == ("Unknown", "Confirming")
    broker.committed(uid, result, 4096)
    done = await teams.until_reason(team, "task", "Completed")
    assert condition(done, "Succeeded") == ("True", "Completed")
    assert condition(done, "Stalled")[0] == "False"
    status = done["status"]
    assert status["result"] == {"digest": result, "bytes": 4096}
    assert [(each["name"], each["value"]) for each in status["metrics"]] == [("accuracy", "0.91")]
    assert [(each["number"], each["outcome"], each["exitCode"]) for each in status["attempts"]] == [(1, "Completed", 0)]
    assert status["progress"]["percent"] == 100
    assert broker.await_usage(uid)["outcome"] == "Completed"


async def test_a_result_other_than_the_claimed_one_is_no_success(teams: Teams, broker: FakeBroker) -> None:
    team, uid = await start(teams)
    broker.committed(uid, digest("held"))
    await teams.end_pod(team, "task", message=end_record(digest("claimed")))
    ended = await teams.until_reason(team, "task", "UserError")
    assert condition(ended, "Succeeded") == ("False", "UserError")
    assert "result" not in ended["status"]


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (10, "InvalidSpec"),
        (20, "DataError"),
        (60, "GateNotMet"),
        (61, "Diverged"),
        (62, "BudgetSpent"),
        (127, "UserError"),
    ],
)
async def test_an_end_that_another_try_would_only_repeat_stalls_the_task_with_its_true_reason(
    teams: Teams, code: int, wanted: str
) -> None:
    team, _ = await start(teams)
    await teams.end_pod(team, "task", code=code, message=end_record(None, code, message="because"))
    ended = await teams.until_reason(team, "task", wanted)
    assert condition(ended, "Stalled") == ("True", wanted)
    assert condition(ended, "Succeeded") == ("False", wanted)
    assert ended["status"]["attempts"][0]["exitCode"] == code
    assert ended["status"]["completionTime"]


async def test_hostile_last_words_never_reach_the_status(teams: Teams) -> None:
    team, _ = await start(teams)
    await teams.end_pod(team, "task", code=1, message="patient Miller, HIV positive " * 60)
    ended = await teams.until_reason(team, "task", "RetryBackoff")
    assert story(ended) == [("Failed", "UserError")]
    assert "Miller" not in json.dumps(ended["status"])


async def test_a_job_deleted_under_a_running_task_is_made_again_only_when_its_pod_is_gone(
    teams: Teams, admin: KubeClient
) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, "first", gpu=1)
    await teams.run_pod(team, "first")
    await teams.until_reason(team, "first", "Training")
    await teams.task(team, "second", gpu=1)
    await teams.until_reason(team, "second", "WaitingForQuota")
    await admin.delete(f"{JOBS.format(team)}/first-1")
    pod = await teams.leaving_pod(team, "first")
    # The pod still stops on its node: what it holds is not free yet, and no other may stand beside it.
    assert reason(await admin.get(f"{TASKS.format(team)}/second")) == "WaitingForQuota"
    assert [each["metadata"]["name"] for each in (await admin.list(JOBS.format(team)))["items"]] == []
    await admin.delete(f"/api/v1/namespaces/{team}/pods/{pod['metadata']['name']}", grace_seconds=0)
    # While the first one pauses, the other has the quota.
    await teams.until_reason(team, "second", "Starting")
    waiting = await teams.until_reason(team, "first", "WaitingForQuota")
    assert story(waiting) == [("Interrupted", "Interrupted")]
    assert waiting["status"]["failedAttempts"] == 0
    await teams.end_pod(team, "second", code=20)
    await until(admin, JOBS.format(team), "first-2", lambda _: True)


async def test_a_deleted_task_leaves_nothing_and_its_quota_serves_the_next(teams: Teams, admin: KubeClient) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, "first", gpu=1)
    pod = await teams.pod(team, "first")
    await teams.task(team, "second", gpu=1)
    await teams.until_reason(team, "second", "WaitingForQuota")
    await admin.delete(f"{TASKS.format(team)}/first")
    await admin.delete(f"/api/v1/namespaces/{team}/pods/{pod['metadata']['name']}", grace_seconds=0)
    await teams.until_reason(team, "second", "Starting")
    jobs = await admin.list(JOBS.format(team))
    assert [job["metadata"]["name"] for job in jobs["items"]] == ["second-1"]


async def test_a_pod_that_does_not_start_is_explained_in_the_clusters_words(teams: Teams, admin: KubeClient) -> None:
    team = await teams.ready()
    await teams.task(team, "pulls")
    pod = await teams.pod(team, "pulls")
    waiting = {"waiting": {"reason": "ErrImageNeverPull", "message": "image is not present with pull policy Never"}}
    container = {"name": "trainer", "state": waiting, "ready": False, "image": "x", "imageID": "", "restartCount": 0}
    path = f"/api/v1/namespaces/{team}/pods/{pod['metadata']['name']}/status"
    await admin.merge(path, {"status": {"phase": "Pending", "containerStatuses": [container]}})
    found = await teams.until_reason(team, "pulls", "ImagePullFailed", seconds=50)
    assert "not present" in conditions(found)["Running"]["message"]
    await teams.run_pod(team, "pulls")
    await teams.until_reason(team, "pulls", "Training")
