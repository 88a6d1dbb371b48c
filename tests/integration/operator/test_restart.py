"""A new process finds the world as it was left: nothing is chosen again, nothing is written, nothing is lost."""

import asyncio
import signal
import subprocess
import sys
from contextlib import suppress

from operator_harness import (
    JOBS,
    TASKS,
    Audit,
    FakeBroker,
    OperatorProcess,
    Teams,
    calls,
    digest,
    end_record,
    until,
)

from collabspace.kube.client import KubeClient


async def test_a_restart_writes_nothing_and_the_pinned_version_stays(
    teams: Teams, admin: KubeClient, audit: Audit, broker: FakeBroker, operator: OperatorProcess
) -> None:
    team = await teams.ready(gpus="1")
    dataset = (await admin.get(f"/apis/collabspace.io/v1alpha1/namespaces/{team}/shareddatasets/table"))["metadata"]
    made = await teams.task(team, "runs", gpu=1)
    await teams.run_pod(team, "runs")
    await teams.until_reason(team, "runs", "Training")
    await teams.task(team, "waits", gpu=1)
    await teams.until_reason(team, "waits", "WaitingForQuota")
    await teams.task(team, "wrong", method="Nonsense")
    await teams.until_reason(team, "wrong", "UnknownMethod")
    async with audit.record() as entries:
        assert operator.stop(signal.SIGKILL) == -signal.SIGKILL
        operator.start()
        # Whatever the new process wants to say about these, it has said once it has started another one.
        await teams.task(team, "later")
        await teams.until_reason(team, "later", "Starting")
    written = [call for call in calls(entries, team) if call[0] in ("create", "patch", "update", "delete")]
    assert written == [("create", "jobs"), ("patch", "collabtasks/status")]
    broker.publish(dataset["uid"], digest("two"), digest("one"))
    result = digest("result")
    broker.committed(made["metadata"]["uid"], result)
    await teams.end_pod(team, "runs", message=end_record(result))
    done = await teams.until_reason(team, "runs", "Completed")
    assert [(each["name"], each["digest"]) for each in done["status"]["datasets"]] == [("train", digest("one"))]
    await teams.until_reason(team, "waits", "Starting")


async def test_a_task_that_was_admitted_when_the_operator_died_is_followed_by_the_next(
    teams: Teams, admin: KubeClient, operator: OperatorProcess
) -> None:
    team = await teams.ready()
    await teams.task(team, "goes-on", gpu=1)
    await teams.until_reason(team, "goes-on", "Starting")
    operator.stop(signal.SIGKILL)
    await teams.end_pod(team, "goes-on", code=20, message=end_record(None, 20, message="train.csv:7: no target"))
    operator.start()
    ended = await teams.until_reason(team, "goes-on", "DataError")
    assert "train.csv:7" in ended["status"]["attempts"][0]["message"]


async def test_what_happened_while_the_operator_was_away_is_caught_up_with(
    teams: Teams, admin: KubeClient, operator: OperatorProcess
) -> None:
    team = await teams.ready()
    await teams.task(team, "deleted")
    await teams.until_reason(team, "deleted", "Starting")
    operator.stop()
    await admin.delete(f"{TASKS.format(team)}/deleted")
    await teams.task(team, "made")
    operator.start()
    await teams.until_reason(team, "made", "Starting")


async def test_an_attempt_of_which_only_the_broker_tells_is_not_started_again_under_its_number(
    teams: Teams, admin: KubeClient, broker: FakeBroker, operator: OperatorProcess
) -> None:
    # The process before made a Job, its trainer read, somebody deleted the Job, and no status was written.
    team = await teams.ready()
    datasets = f"/apis/collabspace.io/v1alpha1/namespaces/{team}/shareddatasets"
    await until(admin, datasets, "table", lambda item: bool(item.get("status", {}).get("versions")))
    operator.stop()
    made = await teams.task(team)
    broker.attempt(made["metadata"]["uid"])
    with broker.silence(), suppress(TimeoutError):
        operator.start()
        async with asyncio.timeout(2):
            await until(admin, JOBS.format(team), "task-1", lambda _: True)
    await teams.until_reason(team, "task", "Starting")
    assert [each["metadata"]["name"] for each in (await admin.list(JOBS.format(team)))["items"]] == ["task-2"]


def test_the_operator_says_which_setting_is_wrong(operator: OperatorProcess) -> None:
    environment = operator.environment | {"COLLABSPACE_BROKER_URL": "broker"}
    run = subprocess.run(
        [sys.executable, "-m", "collabspace.controller.main"], env=environment, capture_output=True, timeout=60
    )
    assert run.returncode != 0
    assert run.stderr.decode().strip().startswith("collabspace-operator: COLLABSPACE_BROKER_URL: is no URL")
