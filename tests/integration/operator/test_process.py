"""The process itself: probes, metrics, identity, events, and its line to the broker."""

import asyncio
import json
import signal

from operator_harness import (
    DATASETS,
    JOBS,
    TASKS,
    WAIT_SECONDS,
    Audit,
    FakeBroker,
    OperatorProcess,
    Teams,
    condition,
    end_record,
    reason,
    until,
)

from collabspace.api import names
from collabspace.kube.client import KubeClient


async def test_probes_answer_and_metrics_name_a_task_only_where_they_tell_its_progress(
    teams: Teams, operator: OperatorProcess
) -> None:
    team = await teams.ready(gpus="3")
    await teams.task(team, "unmistakable", gpu=2)
    await teams.until_reason(team, "unmistakable", "Starting")
    assert operator.probe("/livez") == (200, "ok\n")
    assert operator.probe("/readyz") == (200, "ok\n")
    words = operator.probe("/readyz?verbose")[1]
    for line in ("loop: last beat", "caches: filled", "leadership: leading as tested:", "broker: ", "watches: "):
        assert f"\n{line}" in words
    assert operator.metric("collabspace_leader") == 1
    assert operator.metric("collabspace_loop_lag_seconds") < 5
    assert operator.probe("/else")[0] == 404
    assert operator.metric(f'collabspace_gpu_quota{{team="{team}"}}') == 3
    assert operator.metric(f'collabspace_gpu_allocated{{team="{team}"}}') == 2
    assert operator.metric(f'collabspace_tasks{{state="Active",team="{team}"}}') == 1
    assert operator.metric('collabspace_admission_decisions_total{reason="QuotaReserved"}') >= 1
    assert operator.metric("collabspace_broker_connected") == 1
    metrics = operator.probe("/metrics")[1]
    for watch in ("nodes", "pods", "jobs", "collabtasks", "shareddatasets", "modelselections", "namespaces"):
        assert operator.metric(f'collabspace_watch_staleness_seconds{{watch="{watch}"}}') < 90
    named = {line.split("{")[0] for line in metrics.splitlines() if "unmistakable" in line}
    assert named == {"collabspace_task_progress_timestamp_seconds"}


async def test_the_broker_hears_a_token_of_the_operators_account_for_its_own_audience(
    teams: Teams, admin: KubeClient, broker: FakeBroker
) -> None:
    await teams.ready()
    token = next(iter(broker.tokens)).removeprefix("Bearer ")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    review["spec"] |= {"audiences": [names.BROKER_AUDIENCE]}  # type: ignore[operator]
    status = (await admin.create(path, review))["status"]
    assert status["authenticated"]
    assert status["user"]["username"].endswith(f":{names.OPERATOR_ACCOUNT}")
    review["spec"] = {"token": token}
    assert not (await admin.create(path, review))["status"].get("authenticated")


async def test_events_tell_the_turns_of_a_tasks_life(teams: Teams, admin: KubeClient) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, "first", gpu=1)
    await teams.until_reason(team, "first", "Starting")
    await teams.task(team, "second", gpu=1)
    await teams.until_reason(team, "second", "WaitingForQuota")
    await teams.end_pod(team, "first", code=20, message=end_record(None, 20, message="a.csv:7"))
    path = f"/apis/events.k8s.io/v1/namespaces/{team}/events"
    ours = {"fieldSelector": f"reportingController={names.GROUP}/operator"}
    listing = await admin.list(path, ours)
    seen = {(each["regarding"]["name"], each["reason"], each["type"]) for each in listing["items"]}
    wanted = {("first", "DataError", "Warning"), ("second", "Admitted", "Normal")}
    async with asyncio.timeout(WAIT_SECONDS):
        stream = admin.watch(path, listing["metadata"]["resourceVersion"], ours)
        while not wanted <= seen:
            item = (await anext(stream))["object"]
            if "reason" in item:
                seen.add((item["regarding"]["name"], item["reason"], item["type"]))
    assert wanted <= seen


async def test_every_write_is_made_by_the_operators_own_account_within_its_rights(teams: Teams, audit: Audit) -> None:
    async with audit.record() as entries:
        team = await teams.ready()
        await teams.task(team)
        await teams.run_pod(team, "task")
        await teams.until_reason(team, "task", "Training")
    assert entries
    refused = [each for each in entries if each["responseStatus"]["code"] in (401, 403)]
    assert refused == []


async def test_without_the_broker_known_versions_still_start_tasks_and_nothing_is_unlearned(
    teams: Teams, admin: KubeClient, operator: OperatorProcess, broker: FakeBroker
) -> None:
    team = await teams.ready()
    path = DATASETS.format(team)
    await until(admin, path, "table", lambda item: condition(item, "Ready")[0] == "True")
    operator.stop()
    url = operator.environment["COLLABSPACE_BROKER_URL"]
    operator.environment["COLLABSPACE_BROKER_URL"] = "http://127.0.0.1:9"
    try:
        operator.start()
        await teams.task(team)
        await teams.until_reason(team, "task", "Starting")
        assert condition(await admin.get(f"{path}/table"), "Ready") == ("True", "VersionAvailable")
        assert operator.metric("collabspace_broker_connected") == 0
    finally:
        operator.environment["COLLABSPACE_BROKER_URL"] = url
        operator.stop()
        operator.start()


async def test_usage_reaches_the_ledger_even_if_the_operator_ends_before_it_could_say_so(
    teams: Teams, operator: OperatorProcess, broker: FakeBroker
) -> None:
    team = await teams.ready()
    made = await teams.task(team, gpu=1)
    await teams.end_pod(team, "task", code=20)
    await teams.until_reason(team, "task", "DataError")
    uid = made["metadata"]["uid"]
    assert broker.await_usage(uid)["outcome"] == "DataError"
    broker.usage.clear()
    operator.stop(signal.SIGKILL)
    operator.start()
    assert broker.await_usage(uid) == {
        "namespace": team,
        "task": "task",
        "gpuSeconds": broker.usage[f"{uid}/1"]["gpuSeconds"],
        "cpuSeconds": broker.usage[f"{uid}/1"]["cpuSeconds"],
        "outcome": "DataError",
    }


async def test_a_pod_that_still_stops_holds_its_quota_over_a_restart_of_the_operator(
    teams: Teams, admin: KubeClient, operator: OperatorProcess
) -> None:
    team = await teams.ready(gpus="1")
    await teams.task(team, "first", gpu=1)
    await teams.run_pod(team, "first")
    await teams.until_reason(team, "first", "Training")
    pod = await teams.pod(team, "first")
    await admin.merge(f"{TASKS.format(team)}/first", {"spec": {"suspend": True}})
    await teams.until_reason(team, "first", "Stopping")
    await admin.delete(f"{JOBS.format(team)}/first-1")
    operator.stop(signal.SIGKILL)
    operator.start()
    await teams.task(team, "second", gpu=1)
    await teams.until_reason(team, "second", "WaitingForQuota")
    await admin.delete(f"/api/v1/namespaces/{team}/pods/{pod['metadata']['name']}", grace_seconds=0)
    await teams.until_reason(team, "second", "Starting")


async def test_no_log_line_holds_what_a_trainer_or_tenant_wrote(teams: Teams, operator: OperatorProcess) -> None:
    team = await teams.ready()
    await teams.task(team, parameters={"zqxsecret": "zqxsecret"})
    await teams.until_reason(team, "task", "InvalidParameter")
    await teams.task(team, "ends")
    await teams.end_pod(team, "ends", code=20, message="zqxsecret")
    await teams.until_reason(team, "ends", "DataError")
    log = operator.log.read_text()
    assert "zqxsecret" not in log
    assert "zqxsecret" not in operator.probe("/metrics")[1]
    assert all(json.loads(line)["level"] for line in log.splitlines())
    assert reason(await teams.admin.get(f"{TASKS.format(team)}/ends")) == "DataError"
