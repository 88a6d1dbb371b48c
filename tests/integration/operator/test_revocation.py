"""Owners take data back from work that runs on it; tasks that are deleted leave nothing behind."""

import datetime as dt

import pytest
from operator_harness import (
    DATASETS,
    GROUPS,
    IDENTITY,
    JOBS,
    TASKS,
    Teams,
    condition,
    conditions,
    end_record,
    gone,
    story,
    until,
)

from collabspace.api import names
from collabspace.kube import clock, config
from collabspace.kube.client import KubeClient
from collabspace.local.cluster import LocalCluster


async def shared(teams: Teams, **changes: object) -> tuple[str, str]:
    """A running task on another team's dataset; owner and team."""
    owner, team = await teams.ready(), await teams.team()
    await teams.grant(owner, team, **changes)
    await teams.task(team, datasets=[{"name": "theirs", "datasetRef": {"namespace": owner, "name": "table"}}])
    await teams.run_pod(team, "task")
    await teams.until_reason(team, "task", "Training")
    return owner, team


async def revoke(admin: KubeClient, owner: str, how: str) -> None:
    path = f"{DATASETS.format(owner)}/table"
    if how == "deleted":
        await admin.delete(path)
        return
    grants = (await admin.get(path))["spec"]["grants"]
    if how == "removed":
        grants = []
    elif how == "another use":
        grants[0]["uses"] = ["Evaluate"]
    else:
        grants[0]["namespaceUID"] = "11111111-2222-3333-4444-555555555555"
    await admin.merge(path, {"spec": {"grants": grants}})


@pytest.mark.parametrize("how", ["removed", "another use", "another namespace", "deleted"])
async def test_a_grant_taken_back_stops_running_work_for_good(teams: Teams, admin: KubeClient, how: str) -> None:
    owner, team = await shared(teams)
    await revoke(admin, owner, how)
    await teams.leaving_pod(team, "task")
    await teams.end_pod(team, "task", code=50, message=end_record(None, 50))
    ended = await teams.until_reason(team, "task", "AccessRevoked")
    assert condition(ended, "Stalled") == ("True", "AccessRevoked")
    assert condition(ended, "DataAuthorized") == ("False", "AccessRevoked")
    assert f"{owner}/table" in conditions(ended)["Stalled"]["message"]
    assert story(ended) == [("Failed", "AccessRevoked")]


async def test_a_grant_that_ends_by_itself_stops_running_work_at_that_time(teams: Teams) -> None:
    end = clock.rfc3339(clock.now() + dt.timedelta(seconds=8))
    _, team = await shared(teams, notAfter=end)
    await teams.leaving_pod(team, "task")
    assert clock.rfc3339(clock.now()) >= end
    await teams.end_pod(team, "task", code=143)
    ended = await teams.until_reason(team, "task", "AccessRevoked")
    assert f"ended at {end}" in conditions(ended)["Stalled"]["message"]


async def test_an_owner_may_let_running_work_finish_but_no_further_attempt_starts(
    teams: Teams, admin: KubeClient
) -> None:
    owner, team = await shared(teams)
    await admin.merge(f"{DATASETS.format(owner)}/table", {"spec": {"onRevoke": "Finish"}})
    await revoke(admin, owner, "removed")
    going = await teams.until_task(team, "task", lambda item: condition(item, "DataAuthorized")[0] == "False")
    assert condition(going, "Running") == ("True", "Training")
    job = await admin.get(f"{JOBS.format(team)}/task-1")
    assert not job["spec"].get("suspend")
    await teams.end_pod(team, "task", code=50)
    waiting = await teams.until_reason(team, "task", "GrantMissing")
    assert condition(waiting, "Stalled")[0] == "False"
    await teams.grant(owner, team)
    await until(admin, JOBS.format(team), "task-2", lambda _: True)


async def test_a_broker_that_refuses_first_is_believed_once_the_grant_is_read_afresh(
    teams: Teams, admin: KubeClient
) -> None:
    owner, team = await shared(teams)
    await revoke(admin, owner, "removed")
    await teams.end_pod(team, "task", code=21, message=end_record(None, 21))
    ended = await teams.until_reason(team, "task", "AccessRevoked")
    assert "is not granted" in conditions(ended)["Stalled"]["message"]


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
async def test_a_task_deleted_while_it_runs_takes_its_jobs_along(
    teams: Teams, admin: KubeClient, propagation: str
) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, gpu=1)
    await teams.run_pod(team, "task")
    await teams.until_reason(team, "task", "Training")
    await teams.task(team, "next", gpu=1)
    await teams.until_reason(team, "next", "WaitingForQuota")
    await admin.delete(f"{TASKS.format(team)}/task", propagation=propagation)
    pod = await teams.leaving_pod(team, "task")
    await teams.end_pod(team, "task", code=143)
    await admin.delete(f"/api/v1/namespaces/{team}/pods/{pod['metadata']['name']}", grace_seconds=0)
    await teams.until_reason(team, "next", "Starting")
    await gone(admin, JOBS.format(team), "task-1")
    await gone(admin, TASKS.format(team), "task")


async def test_a_task_deleted_between_attempts_gets_no_other(teams: Teams, admin: KubeClient) -> None:
    team = await teams.ready()
    await teams.task(team)
    await teams.run_pod(team, "task")
    await teams.end_pod(team, "task", code=40)
    await teams.until_reason(team, "task", "RetryBackoff")
    await admin.delete(f"{TASKS.format(team)}/task", propagation="Foreground")
    await gone(admin, TASKS.format(team), "task")
    await gone(admin, JOBS.format(team), "task-1")
    assert (await admin.list(JOBS.format(team)))["items"] == []


async def test_a_job_made_in_the_race_with_the_deletion_of_its_task_is_collected(
    teams: Teams, admin: KubeClient, cluster: LocalCluster
) -> None:
    team = await teams.ready()
    await teams.task(team)
    await teams.until_reason(team, "task", "Starting")
    job = await admin.get(f"{JOBS.format(team)}/task-1")
    await admin.delete(f"{TASKS.format(team)}/task")
    await gone(admin, JOBS.format(team), "task-1")
    meta = {"name": "task-2", "ownerReferences": job["metadata"]["ownerReferences"]}
    template = job["spec"]["template"]
    labels = {key: value for key, value in template["metadata"]["labels"].items() if key.startswith(names.GROUP)}
    late = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta | {"labels": labels},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": template["spec"]}},
    }
    async with KubeClient(config.load(cluster.user(IDENTITY, GROUPS))) as operator:
        await operator.create(JOBS.format(team), late)
    await gone(admin, JOBS.format(team), "task-2")
