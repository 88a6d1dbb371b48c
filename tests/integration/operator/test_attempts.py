"""One Job after the other: what follows the end of an attempt, and what the status tells about it."""

import json

from operator_harness import (
    JOBS,
    TASKS,
    Audit,
    FakeBroker,
    FakeNode,
    OperatorProcess,
    Store,
    Teams,
    calls,
    condition,
    conditions,
    digest,
    end_record,
    gone,
    reason,
    story,
    until,
)

from collabspace.api import names
from collabspace.kube.client import KubeClient, Object
from collabspace.local.cluster import LocalCluster


async def start(teams: Teams, **spec: object) -> tuple[str, str]:
    """A running task; its team and uid."""
    team = await teams.ready()
    made = await teams.task(team, gpu=1, **spec)
    await teams.run_pod(team, "task")
    await teams.until_reason(team, "task", "Training")
    return team, made["metadata"]["uid"]


async def second(teams: Teams, team: str, number: int = 2) -> Object:
    """The Job of the next attempt."""
    return await until(teams.admin, JOBS.format(team), f"task-{number}", lambda _: True)


def run_of(job: Object) -> Object:
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    return dict(json.loads(next(each["value"] for each in environment if each["name"] == "COLLABSPACE_RUN")))


async def test_an_interrupted_attempt_goes_on_at_once_with_the_same_versions_and_does_not_count(
    teams: Teams, admin: KubeClient, broker: FakeBroker
) -> None:
    team, uid = await start(teams)
    dataset = (await admin.get(f"/apis/{names.API_VERSION}/namespaces/{team}/shareddatasets/table"))["metadata"]
    broker.publish(dataset["uid"], digest("two"), digest("three"), digest("four"))
    saved = end_record(None, 50, checkpoint={"step": 12, "digest": digest("checkpoint")})
    await teams.end_pod(team, "task", code=50, message=saved)
    job = await second(teams, team)
    run = run_of(job)
    assert run["execution"]["attempt"] == 2
    assert [each["digest"] for each in run["training"]["datasets"]] == [digest("one")]
    await teams.run_pod(team, "task", attempt=2)
    going = await teams.until_reason(team, "task", "Training")
    assert story(going) == [("Interrupted", "Interrupted"), ("Running", "")]
    assert going["status"]["attempts"][0]["checkpointStep"] == 12
    assert going["status"]["failedAttempts"] == 0
    result = digest("result")
    broker.committed(uid, result, number=2)
    await teams.end_pod(team, "task", message=end_record(result), attempt=2)
    done = await teams.until_reason(team, "task", "Completed")
    assert story(done) == [("Interrupted", "Interrupted"), ("Completed", "Completed")]
    assert broker.await_usage(uid, 1)["outcome"] == "Interrupted"
    assert broker.await_usage(uid, 2)["outcome"] == "Completed"


async def test_a_task_that_exceeds_its_memory_gets_more_and_says_so(teams: Teams) -> None:
    team, _ = await start(teams)
    await teams.end_pod(team, "task", code=137, why="OOMKilled")
    job = await second(teams, team)
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"] == "1536Mi"
    told = await teams.until_task(team, "task", lambda item: len(item["status"]["attempts"]) == 2)
    assert told["status"]["attempts"][1]["change"] == "memory 1536Mi instead of 1Gi"
    assert told["status"]["attempts"][0]["reason"] == "OutOfMemory"
    assert told["status"]["failedAttempts"] == 0


async def test_smaller_batches_come_before_more_memory_where_the_method_has_batches(teams: Teams) -> None:
    team = await teams.ready()
    await teams.task(team, method="NeuralNetwork", parameters={"batchSize": 64})
    await teams.run_pod(team, "task")
    await teams.end_pod(team, "task", code=30, message=end_record(None, 30, suggestedMicroBatch=12))
    job = await second(teams, team)
    assert run_of(job)["execution"]["microBatchSize"] == 12
    assert run_of(job)["training"]["parameters"]["batchSize"] == 64
    await teams.end_pod(team, "task", code=137, why="OOMKilled", attempt=2)
    job = await second(teams, team, 3)
    assert run_of(job)["execution"]["microBatchSize"] == 6
    assert job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "1Gi"
    told = await teams.until_task(team, "task", lambda item: len(item["status"]["attempts"]) == 3)
    assert [each["change"] for each in told["status"]["attempts"]] == [
        "",
        "12 records at a time, accumulated to a batch",
        "6 records at a time instead of 12, accumulated to a batch",
    ]


async def test_the_same_crash_twice_ends_the_task_and_quota_is_free_between_attempts(teams: Teams) -> None:
    team, _ = await start(teams)
    crash = end_record(None, 70, message="boom", signature="abc")
    await teams.end_pod(team, "task", code=70, message=crash)
    waiting = await teams.until_reason(team, "task", "RetryBackoff")
    assert condition(waiting, "Admitted") == ("False", "RetryBackoff")
    assert condition(waiting, "Succeeded") == ("Unknown", "RetryBackoff")
    assert waiting["status"]["failedAttempts"] == 1
    # While it pauses another one has the quota.
    await teams.task(team, "other", gpu=4)
    await teams.until_reason(team, "other", "Starting")
    queued = await teams.until_reason(team, "task", "WaitingForQuota")
    assert story(queued) == [("Failed", "UserError")]
    await teams.end_pod(team, "other", code=20)
    await teams.end_pod(team, "task", code=70, message=crash, attempt=2)
    ended = await teams.until_reason(team, "task", "UserError")
    assert condition(ended, "Stalled") == ("True", "UserError")
    assert "boom" in conditions(ended)["Stalled"]["message"]


async def test_attempts_are_used_up_and_the_last_cause_is_told(teams: Teams) -> None:
    team, _ = await start(teams, maxAttempts=1)
    await teams.end_pod(team, "task", code=40, message=end_record(None, 40, message="broker away"))
    ended = await teams.until_reason(team, "task", "AttemptsExhausted")
    assert "spec.maxAttempts is 1; the last: BrokerUnavailable" in conditions(ended)["Stalled"]["message"]


async def test_a_budget_goes_on_over_attempts(teams: Teams) -> None:
    team, _ = await start(teams, budget={"gpuSeconds": 100_000}, activeDeadlineSeconds=50_000)
    await teams.end_pod(team, "task", code=51)
    execution = run_of(await second(teams, team))["execution"]
    assert execution["budget"]["gpuSeconds"] <= 100_000
    assert execution["deadline"].endswith("Z")


async def test_a_deadline_stops_the_attempt_and_ends_the_task(teams: Teams) -> None:
    team, _ = await start(teams, activeDeadlineSeconds=3)
    await teams.leaving_pod(team, "task")
    stopping = await teams.until_reason(team, "task", "Stopping")
    assert "DeadlineExceeded" in conditions(stopping)["Running"]["message"]
    await teams.end_pod(team, "task", code=50)
    ended = await teams.until_reason(team, "task", "DeadlineExceeded")
    assert condition(ended, "Stalled") == ("True", "DeadlineExceeded")
    # A Job that could start a pod again does not stay.
    await gone(teams.admin, JOBS.format(team), "task-1")


async def test_a_task_that_cannot_start_in_time_ends_and_says_what_it_waited_for(teams: Teams) -> None:
    team = await teams.team()
    await teams.task(team, pendingDeadlineSeconds=2)
    ended = await teams.until_reason(team, "task", "PendingDeadlineExceeded")
    assert "it waited for DatasetNotReady" in conditions(ended)["Stalled"]["message"]
    assert ended["status"]["completionTime"]


async def test_an_ended_task_is_deleted_after_its_time_also_when_that_is_set_later(
    teams: Teams, admin: KubeClient
) -> None:
    team, _ = await start(teams)
    await teams.end_pod(team, "task", code=20)
    await teams.until_reason(team, "task", "DataError")
    await admin.merge(f"{TASKS.format(team)}/task", {"spec": {"ttlSecondsAfterFinished": 1}})
    await gone(admin, TASKS.format(team), "task")


async def test_a_trainer_that_stands_still_is_stopped_counted_and_tried_again(teams: Teams, broker: FakeBroker) -> None:
    team, uid = await start(teams)
    broker.attempt(uid, progress={"step": 3, "totalSteps": 10, "beat": 7, "stallSeconds": 2})
    await teams.leaving_pod(team, "task")
    await teams.end_pod(team, "task", code=137)
    waiting = await teams.until_reason(team, "task", "RetryBackoff")
    assert story(waiting) == [("Failed", "NoProgress")]
    assert waiting["status"]["failedAttempts"] == 1
    assert "at step 3" in waiting["status"]["attempts"][0]["message"]


async def test_an_operator_killed_between_attempts_starts_the_next_one_once(
    teams: Teams, operator: OperatorProcess, audit: Audit
) -> None:
    team, _ = await start(teams)
    async with audit.record() as entries:
        operator.process.kill()  # type: ignore[union-attr]
        operator.process.wait()  # type: ignore[union-attr]
        await teams.end_pod(team, "task", code=50)
        operator.start()
        await second(teams, team)
        operator.process.kill()  # type: ignore[union-attr]
        operator.process.wait()  # type: ignore[union-attr]
        operator.start()
        await teams.run_pod(team, "task", attempt=2)
        going = await teams.until_task(
            team, "task", lambda item: reason(item) == "Training" and len(item["status"]["attempts"]) == 2
        )
    assert story(going) == [("Interrupted", "Interrupted"), ("Running", "")]
    assert calls(entries, team).count(("create", "jobs")) == 1


async def test_a_status_that_says_nonsense_neither_stops_the_operator_nor_runs_two_attempts_at_a_time(
    teams: Teams, store: Store, admin: KubeClient, audit: Audit
) -> None:
    team, _ = await start(teams)
    wild = [{"number": 7, "outcome": "", "startTime": "2020-13-99T00:00:00Z", "reason": "x" * 60}]

    def scramble(item: Object) -> None:
        item["status"]["attempts"] = wild

    async with audit.record() as entries:
        store.change(names.COLLAB_TASKS, team, "task", scramble)
        await admin.merge(f"{TASKS.format(team)}/task", {"spec": {"priority": 3}})
        await gone(admin, JOBS.format(team), "task-1")
        await second(teams, team, 8)
        await teams.until_task(
            team, "task", lambda item: story(item) == [("Interrupted", "Interrupted"), ("Running", "")]
        )
    jobs = [call for call in calls(entries, team) if call[1] == "jobs" and call[0] != "get"]
    assert jobs == [("delete", "jobs"), ("create", "jobs")]
    await teams.task(team, "other")
    await teams.until_reason(team, "other", "Starting")


async def test_a_pod_on_a_node_that_is_gone_does_not_hold_the_task_back(
    teams: Teams, admin: KubeClient, cluster: LocalCluster, fake_node: FakeNode
) -> None:
    team = await teams.ready(gpus="1")
    doomed = FakeNode(cluster.kubeconfig, f"doomed-{fake_node.node}", fake_node.allocatable)
    doomed.start()
    try:
        await admin.merge(f"/api/v1/nodes/{fake_node.node}", {"spec": {"unschedulable": True}})
        await teams.task(team, gpu=1)
        pod = await teams.pod(team, "task", good=lambda pod: pod["spec"].get("nodeName") == doomed.node)
        await admin.merge(f"/api/v1/nodes/{fake_node.node}", {"spec": {"unschedulable": None}})
        await teams.run_pod(team, "task")
        await teams.until_reason(team, "task", "Training")
        ready = {"type": "Ready", "status": "False", "reason": "Test"}
        await admin.merge(f"/api/v1/nodes/{doomed.node}/status", {"status": {"conditions": [ready]}})
        # What the node controller does after the pod's toleration; no kubelet answers.
        await admin.delete(f"/api/v1/namespaces/{team}/pods/{pod['metadata']['name']}")
        await second(teams, team)
        told = await teams.until_task(team, "task", lambda item: len(item["status"]["attempts"]) == 2)
        assert story(told)[0] == ("Interrupted", "NodeLost")
        assert told["status"]["failedAttempts"] == 0
        await gone(admin, JOBS.format(team), "task-1")
    finally:
        doomed.stop()
