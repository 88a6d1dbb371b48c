"""Why a task waits, in true words and numbers, and what makes it start."""

import asyncio

import pytest
from operator_harness import DATASETS, JOBS, TASKS, FakeBroker, Teams, condition, conditions, digest, reason, until

from collabspace.api import names
from collabspace.kube.client import KubeClient, KubeError


async def test_a_task_over_quota_says_the_numbers_and_starts_within_a_second_of_the_release(
    teams: Teams, admin: KubeClient
) -> None:
    team = await teams.ready(gpus="2")
    await teams.task(team, "first", gpu=2)
    await teams.until_reason(team, "first", "Starting")
    await teams.task(team, "second", gpu=1)
    waiting = await teams.until_reason(team, "second", "WaitingForQuota")
    assert conditions(waiting)["Admitted"]["message"] == "GPU: asked 1, quota 2, in use 2 by 1 task"
    assert condition(waiting, "Accepted")[0] == "True"
    assert condition(waiting, "DataAuthorized")[0] == "True"
    await teams.run_pod(team, "first")
    await teams.end_pod(team, "first", code=70)
    async with asyncio.timeout(1):
        await until(admin, JOBS.format(team), "second-1", lambda _: True)


async def test_a_task_that_asks_for_gpus_of_a_team_without_quota_is_refused_by_name_and_starts_when_quota_comes(
    teams: Teams, admin: KubeClient
) -> None:
    team = await teams.ready(gpus=None)
    await teams.task(team, gpu=2)
    refused = await teams.until_reason(team, "task", "ExceedsQuota")
    assert condition(refused, "Stalled") == ("True", "ExceedsQuota")
    assert condition(refused, "Succeeded") == ("False", "ExceedsQuota")
    assert f"team {team} has no GPU quota" in conditions(refused)["Stalled"]["message"]
    assert (await admin.list(JOBS.format(team)))["items"] == []
    await admin.merge(f"/api/v1/namespaces/{team}", {"metadata": {"annotations": {names.GPU_QUOTA: "2"}}})
    started = await teams.until_reason(team, "task", "Starting")
    assert condition(started, "Stalled")[0] == "False"


async def test_a_namespace_becomes_a_team_while_its_task_waits(teams: Teams, admin: KubeClient) -> None:
    team = await teams.team(complete=False)
    await teams.dataset(team, "table", digest("one"))
    await teams.task(team)
    waiting = await teams.until_reason(team, "task", "TeamNotReady")
    assert f"kubectl collab teams add {team}" in conditions(waiting)["Admitted"]["message"]
    await admin.merge(f"/api/v1/namespaces/{team}", {"metadata": {"labels": {names.TEAM_LABEL: "true"}}})
    await teams.furnish(team)
    await teams.until_reason(team, "task", "Starting")


async def test_a_grant_that_arrives_later_starts_the_task_and_the_pinned_version_is_told(
    teams: Teams, admin: KubeClient
) -> None:
    owner, team = await teams.ready(), await teams.team()
    await teams.task(team, datasets=[{"name": "theirs", "datasetRef": {"namespace": owner, "name": "table"}}])
    waiting = await teams.until_reason(team, "task", "GrantMissing")
    missing = conditions(waiting)["DataAuthorized"]["message"]
    await teams.task(team, "ghost", datasets=[{"name": "theirs", "datasetRef": {"namespace": owner, "name": "ghost"}}])
    ghost = await teams.until_reason(team, "ghost", "GrantMissing")
    assert conditions(ghost)["DataAuthorized"]["message"] == missing.replace(f"{owner}/table", f"{owner}/ghost")
    await teams.grant(owner, team)
    started = await teams.until_reason(team, "task", "Starting")
    assert [(each["name"], each["digest"]) for each in started["status"]["datasets"]] == [("theirs", digest("one"))]
    dataset = await until(
        admin, DATASETS.format(owner), "table", lambda item: bool(item.get("status", {}).get("grants"))
    )
    assert dataset["status"]["grants"] == [{"name": "g", "namespace": team, "state": "Active"}]


async def test_a_grant_taken_back_shows_on_a_task_that_still_waits(teams: Teams, admin: KubeClient) -> None:
    owner, team = await teams.ready(), await teams.team(gpus="0")
    await admin.merge(f"/api/v1/namespaces/{team}", {"metadata": {"annotations": {names.GPU_QUOTA: "1"}}})
    reference = [{"name": "theirs", "datasetRef": {"namespace": owner, "name": "table"}}]
    await teams.grant(owner, team)
    await teams.task(team, "runs", gpu=1, datasets=reference)
    await teams.until_reason(team, "runs", "Starting")
    await teams.task(team, "waits", gpu=1, datasets=reference)
    await teams.until_reason(team, "waits", "WaitingForQuota")
    await admin.merge(f"{DATASETS.format(owner)}/table", {"spec": {"grants": []}})
    waiting = await teams.until_reason(team, "waits", "GrantMissing")
    assert condition(waiting, "DataAuthorized") == ("False", "GrantMissing")
    # Running work of a lost grant is stopped; that its pod goes is the kubelet's part.
    await teams.until_task(team, "runs", lambda item: reason(item) in ("Stopping", "AccessRevoked"))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"uses": ["Evaluate"]}, "UseNotGranted"),
        ({"notAfter": "2020-01-01T00:00:00Z"}, "GrantExpired"),
        ({"namespaceUID": None}, "GrantMissing"),
        ({"namespaceUID": "11111111-2222-3333-4444-555555555555"}, "GrantMissing"),
    ],
    ids=["another use", "ended", "not bound to the namespace", "bound to a namespace of the past"],
)
async def test_a_grant_that_does_not_cover_the_use_says_why(
    teams: Teams, changes: dict[str, object], wanted: str
) -> None:
    owner, team = await teams.ready(), await teams.team()
    await teams.grant(owner, team, **changes)
    await teams.task(team, datasets=[{"name": "theirs", "datasetRef": {"namespace": owner, "name": "table"}}])
    await teams.until_reason(team, "task", wanted)


async def test_a_digest_that_the_dataset_does_not_have_waits_and_starts_when_it_is_pushed(
    teams: Teams, broker: FakeBroker
) -> None:
    team = await teams.team()
    made = await teams.dataset(team, "table", digest("one"))
    await until(teams.admin, DATASETS.format(team), "table", lambda item: "currentVersion" in item.get("status", {}))
    pin = {"datasetRef": {"namespace": team, "name": "table"}, "version": digest("two")}
    await teams.task(team, datasets=[{"name": "train", **pin}])
    waiting = await teams.until_reason(team, "task", "DatasetNotReady")
    assert digest("two") in conditions(waiting)["DataAuthorized"]["message"]
    broker.publish(made["metadata"]["uid"], digest("two"), digest("one"))
    started = await teams.until_reason(team, "task", "Starting")
    assert [(each["name"], each["digest"]) for each in started["status"]["datasets"]] == [("train", digest("two"))]


async def test_a_dataset_that_vanishes_leaves_the_task_waiting_and_a_new_one_starts_it(
    teams: Teams, admin: KubeClient
) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, "holds", gpu=1)
    await teams.until_reason(team, "holds", "Starting")
    await teams.task(team, "waits", gpu=1)
    await teams.until_reason(team, "waits", "WaitingForQuota")
    await admin.delete(f"{DATASETS.format(team)}/table")
    await teams.until_reason(team, "waits", "DatasetNotReady")
    await teams.dataset(team, "table", digest("again"))
    await teams.until_reason(team, "waits", "WaitingForQuota")


async def test_the_spec_of_an_accepted_task_is_frozen_but_for_its_priority(teams: Teams, admin: KubeClient) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, "holds", gpu=1)
    await teams.until_reason(team, "holds", "Starting")
    await teams.task(team, "low", gpu=1)
    await teams.task(team, "high", gpu=1)
    await teams.until_reason(team, "low", "WaitingForQuota")
    await teams.until_reason(team, "high", "WaitingForQuota")
    with pytest.raises(KubeError, match=r"frozen|cannot|accepted"):
        await admin.merge(f"{TASKS.format(team)}/low", {"spec": {"seed": 7}})
    await admin.merge(f"{TASKS.format(team)}/high", {"spec": {"priority": 5}})
    await teams.until_task(team, "high", lambda item: item["status"]["observedGeneration"] == 2)
    await teams.end_pod(team, "holds", code=70)
    await teams.until_reason(team, "high", "Starting")
    assert reason(await admin.get(f"{TASKS.format(team)}/low")) == "WaitingForQuota"
