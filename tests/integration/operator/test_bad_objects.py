"""Wrong and hostile objects: each is answered on itself, and nothing else is touched."""

from collections.abc import Callable

import pytest
from operator_harness import (
    DATASETS,
    JOBS,
    TASKS,
    Audit,
    OperatorProcess,
    Store,
    Teams,
    condition,
    conditions,
    digest,
    until,
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


async def test_an_unknown_method_lists_what_there_is(teams: Teams) -> None:
    team = await teams.ready()
    await teams.task(team, method="LogisticRegresion")
    refused = await teams.until_reason(team, "task", "UnknownMethod")
    assert "Did you mean LogisticRegression?" in conditions(refused)["Accepted"]["message"]


async def test_a_dataset_of_another_format_is_refused(teams: Teams) -> None:
    team = await teams.team()
    await teams.dataset(team, "table", digest("tokens"), format="TokenClassification", contract={})
    await teams.task(team)
    refused = await teams.until_reason(team, "task", "InvalidSpec")
    assert "TokenClassification" in conditions(refused)["Accepted"]["message"]


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


def break_status(item: Object) -> None:
    item["status"] = {"conditions": "what", "attempts": 7}


def break_datasets(item: Object) -> None:
    item["spec"]["datasets"] = "none"


def break_references(item: Object) -> None:
    item["spec"]["datasets"] = [{"name": "x" * 5000, "datasetRef": {"namespace": "../..", "name": ""}}]


def break_resources(item: Object) -> None:
    item["spec"]["resourcesPerNode"] = {"cpu": "a lot", "memory": "-1", "nvidia.com/gpu": "1e9"}


def break_parameters(item: Object) -> None:
    item["spec"]["parameters"] = {f"p{number}": [number] for number in range(500)}


def drop_spec(item: Object) -> None:
    del item["spec"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (break_references, "datasets.0"),
        (break_resources, "resourcesPerNode.cpu"),
    ],
)
async def test_a_task_written_past_the_schema_stalls_by_itself_and_others_go_on(
    teams: Teams, operator: OperatorProcess, store: Store, change: Callable[[Object], None], field: str
) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, "holds", gpu=1)
    await teams.until_reason(team, "holds", "Starting")
    await teams.task(team, "broken", gpu=1)
    await teams.until_reason(team, "broken", "WaitingForQuota")
    store.change(names.COLLAB_TASKS, team, "broken", change)
    stalled = await teams.until_reason(team, "broken", "InvalidSpec")
    assert condition(stalled, "Stalled") == ("True", "InvalidSpec")
    assert field in conditions(stalled)["Accepted"]["message"]
    await teams.task(team, "healthy")
    await teams.until_reason(team, "healthy", "Starting")
    assert operator.running()


@pytest.mark.parametrize("change", [break_datasets, break_parameters, drop_spec])
async def test_a_task_that_the_api_server_itself_cannot_judge_raises_an_alarm_once_and_others_go_on(
    teams: Teams, operator: OperatorProcess, store: Store, audit: Audit, change: Callable[[Object], None]
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
        store.change(names.COLLAB_TASKS, team, "broken", change)
        await teams.task(team, "healthy")
        await teams.until_reason(team, "healthy", "Starting")
    refused = [each for each in entries if (each.get("objectRef") or {}).get("name") == "broken"]
    assert [(each["verb"], each["responseStatus"]["code"]) for each in refused] == [("patch", 422)]
    assert operator.metric(series) == alarms + 1


async def test_a_status_written_past_the_schema_is_made_anew(teams: Teams, store: Store) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, "holds", gpu=1)
    await teams.until_reason(team, "holds", "Starting")
    await teams.task(team, "broken", gpu=1)
    await teams.until_reason(team, "broken", "WaitingForQuota")
    store.change(names.COLLAB_TASKS, team, "broken", break_status)
    await teams.until_task(team, "broken", lambda item: isinstance(item["status"]["conditions"], list))


async def test_a_broken_dataset_and_selection_stall_by_themselves(
    teams: Teams, admin: KubeClient, store: Store
) -> None:
    team = await teams.ready()
    path = DATASETS.format(team)
    await until(admin, path, "table", lambda item: condition(item, "Ready")[0] == "True")
    store.change(names.SHARED_DATASETS, team, "table", lambda item: item["spec"].update(grants="everybody"))
    broken = await until(admin, path, "table", lambda item: condition(item, "Ready")[0] == "False")
    assert "grants" in conditions(broken)["Ready"]["message"]
    await teams.dataset(team, "other", digest("other"))
    await until(admin, path, "other", lambda item: condition(item, "Ready")[0] == "True")
