"""spec.suspend: a task leaves the queue or its node, and comes back to where it was."""

from operator_harness import (
    JOBS,
    TASKS,
    FakeBroker,
    Object,
    Teams,
    condition,
    digest,
    end_record,
    gone,
    reason,
    story,
    until,
)

from collabspace.core.attempt import PATIENCE_SECONDS
from collabspace.kube.client import KubeClient


async def test_a_suspended_task_waits_outside_the_queue_and_takes_its_place_when_resumed(
    teams: Teams, admin: KubeClient
) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, "first", gpu=1, suspend=True, pendingDeadlineSeconds=3600)
    waiting = await teams.until_reason(team, "first", "Suspended")
    assert condition(waiting, "Admitted") == ("Unknown", "Suspended")
    await teams.task(team, "second", gpu=1)
    await teams.until_reason(team, "second", "Starting")
    await admin.merge(f"{TASKS.format(team)}/first", {"spec": {"suspend": False}})
    await teams.until_reason(team, "first", "WaitingForQuota")
    await teams.end_pod(team, "second", code=20)
    await teams.until_reason(team, "first", "Starting")


async def test_a_running_task_saves_frees_its_quota_when_its_pod_has_ended_and_goes_on_later(
    teams: Teams, admin: KubeClient, broker: FakeBroker
) -> None:
    team = await teams.ready(gpus="1")
    made = await teams.task(team, gpu=1)
    await teams.run_pod(team, "task")
    await teams.until_reason(team, "task", "Training")
    await teams.task(team, "next", gpu=1)
    await teams.until_reason(team, "next", "WaitingForQuota")
    await admin.merge(f"{TASKS.format(team)}/task", {"spec": {"suspend": True}})
    await teams.leaving_pod(team, "task")
    await teams.until_reason(team, "task", "Stopping")
    assert reason(await admin.get(f"{TASKS.format(team)}/next")) == "WaitingForQuota"
    await teams.end_pod(team, "task", code=50, message=end_record(None, 50))
    suspended = await teams.until_reason(team, "task", "Suspended")
    assert story(suspended) == [("Interrupted", "Suspended")]
    assert suspended["status"]["failedAttempts"] == 0
    await teams.until_reason(team, "next", "Starting")
    await gone(admin, JOBS.format(team), "task-1")
    await admin.merge(f"{TASKS.format(team)}/task", {"spec": {"suspend": False}})
    await teams.until_reason(team, "task", "WaitingForQuota")
    await teams.end_pod(team, "next", code=20)
    await until(admin, JOBS.format(team), "task-2", lambda _: True)
    result = digest("result")
    broker.committed(made["metadata"]["uid"], result, number=2)
    await teams.end_pod(team, "task", message=end_record(result), attempt=2)
    done = await teams.until_reason(team, "task", "Completed")
    assert story(done) == [("Interrupted", "Suspended"), ("Completed", "Completed")]


async def test_a_task_that_ends_while_it_is_told_to_stop_has_ended(
    teams: Teams, admin: KubeClient, broker: FakeBroker
) -> None:
    team = await teams.ready()
    made = await teams.task(team)
    await teams.run_pod(team, "task")
    await teams.until_reason(team, "task", "Training")
    result = digest("result")
    broker.committed(made["metadata"]["uid"], result)
    await admin.merge(f"{TASKS.format(team)}/task", {"spec": {"suspend": True}})
    await teams.leaving_pod(team, "task")
    await teams.end_pod(team, "task", message=end_record(result))
    await teams.until_reason(team, "task", "Completed")


async def test_a_task_whose_pod_is_refused_says_why_and_is_suspended_without_one(
    teams: Teams, admin: KubeClient
) -> None:
    team = await teams.ready()
    # A namespace that allows no pods: the Job never gets one.
    await admin.create(
        f"/api/v1/namespaces/{team}/resourcequotas", {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    )
    await teams.task(team)
    await teams.until_reason(team, "task", "Starting")
    refused = await teams.until_task(team, "task", lambda task: "exceeded quota" in words(task), PATIENCE_SECONDS + 60)
    assert "FailedCreate" in words(refused)
    await admin.merge(f"{TASKS.format(team)}/task", {"spec": {"suspend": True}})
    suspended = await teams.until_reason(team, "task", "Suspended")
    assert story(suspended) == [("Interrupted", "Suspended")]
    assert suspended["status"]["usage"]["cpuSeconds"] == 0


def words(task: Object) -> str:
    """What its conditions say."""
    return " ".join(each.get("message", "") for each in (task.get("status") or {}).get("conditions", ()))
