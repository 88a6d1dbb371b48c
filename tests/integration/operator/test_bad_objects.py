"""Wrong objects and how they are set right; all classes of them are in tests/faults/inputs."""

from operator_harness import (
    JOBS,
    TASKS,
    Audit,
    OperatorProcess,
    Store,
    Teams,
    condition,
    conditions,
)

from collabspace.api import names
from collabspace.kube.client import KubeClient, Object


async def test_an_unknown_parameter_is_refused_by_name_and_the_corrected_spec_starts(
    teams: Teams, admin: KubeClient
) -> None:
    team = await teams.ready()
    await teams.task(team, parameters={"maxIteration": 10, "C": "-1"})
    refused = await teams.until_reason(team, "task", "InvalidParameter")
    message = conditions(refused)["Accepted"]["message"]
    assert "maxIteration" in message and "maxIterations" in message and "'-1'" in message
    assert condition(refused, "Stalled") == ("True", "InvalidParameter")
    await admin.merge(f"{TASKS.format(team)}/task", {"spec": {"parameters": {"maxIteration": None, "C": 2}}})
    started = await teams.until_reason(team, "task", "Starting")
    assert condition(started, "Accepted")[0] == "True"
    assert condition(started, "Stalled")[0] == "False"


async def test_a_quota_that_was_written_past_the_policies_is_named_and_a_right_one_starts_the_task(
    teams: Teams, admin: KubeClient, store: Store
) -> None:
    team = await teams.ready(gpus="1234")
    store.annotate_namespace(team, names.GPU_QUOTA, "1234", "many")
    await teams.task(team, gpu=1)
    waiting = await teams.until_reason(team, "task", "TeamNotReady")
    message = conditions(waiting)["Admitted"]["message"]
    assert names.GPU_QUOTA in message and "'many'" in message and "whole number" in message
    await admin.merge(f"/api/v1/namespaces/{team}", {"metadata": {"annotations": {names.GPU_QUOTA: "1"}}})
    await teams.until_reason(team, "task", "Starting")


async def test_a_job_of_the_same_name_is_never_adopted(teams: Teams, admin: KubeClient) -> None:
    team = await teams.ready()
    foreign = {
        "metadata": {"name": "task-1", "labels": {names.TASK_LABEL: "task", names.TASK_UID_LABEL: "x"}},
        "spec": {
            "suspend": True,
            "template": {
                "spec": {"restartPolicy": "Never", "containers": [{"name": "trainer", "image": "mine"}]},
            },
        },
    }
    await admin.create(JOBS.format(team), foreign)
    await teams.task(team)
    waiting = await teams.until_reason(team, "task", "NameConflict")
    assert "task-1" in conditions(waiting)["Admitted"]["message"]
    assert condition(waiting, "Succeeded")[0] == "Unknown"
    await admin.delete(f"{JOBS.format(team)}/task-1")
    await teams.until_reason(team, "task", "Starting", seconds=45)


def drop_spec(item: Object) -> None:
    del item["spec"]


async def test_a_task_that_the_api_server_itself_cannot_judge_raises_an_alarm_once_and_others_go_on(
    teams: Teams, operator: OperatorProcess, store: Store, audit: Audit
) -> None:
    """Its rules fail on such an object, so it refuses any status; the alarm is all that can be done."""
    series = 'collabspace_status_refused_total{code="422",kind="collabtasks"}'
    alarms = operator.metric(series, default=0)
    team = await teams.ready(gpus="1")
    await teams.task(team, "holds", gpu=1)
    await teams.until_reason(team, "holds", "Starting")
    await teams.task(team, "broken", gpu=1)
    await teams.until_reason(team, "broken", "WaitingForQuota")
    async with audit.record() as entries:
        store.change(names.COLLAB_TASKS, team, "broken", drop_spec)
        await teams.task(team, "healthy")
        await teams.until_reason(team, "healthy", "Starting")
    refused = [each for each in entries if (each.get("objectRef") or {}).get("name") == "broken"]
    assert [(each["verb"], each["responseStatus"]["code"]) for each in refused] == [("patch", 422)]
    assert operator.metric(series) == alarms + 1
