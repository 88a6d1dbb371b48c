"""Tasks handed in, listed, asked about and waited for, on a real API server with statuses written as the operator's."""

import asyncio
import json
import signal

import pytest
import yaml
from cli_harness import SECONDS, Person, make_task, reached, set_state, task_body

from collabspace.api import names
from collabspace.cli.cluster import path_of
from collabspace.kube.client import KubeClient, KubeError
from collabspace.local.cluster import LocalCluster

FLAGS = ["--task", "TokenClassification", "--method", "FullFineTuning", "--random-init", "--gpus", "1"]
MISSING = "datasets[notes]: hospital-a/notes is not granted to namespace {} for Train"


@pytest.fixture
async def lab(team) -> str:
    return await team("lab", "--gpu-quota", "2")


async def tasks_of(admin: KubeClient, namespace: str) -> list[str]:
    found = await admin.list(path_of(names.COLLAB_TASKS, namespace))
    return [item["metadata"]["name"] for item in found["items"]]


# Submit


async def test_a_dry_run_prints_what_can_be_submitted_and_creates_nothing(
    lab: str, chief: Person, admin: KubeClient
) -> None:
    words = ["submit", "joint", "-n", lab, *FLAGS, "--dataset", "hospital-a/notes", "--set", "learningRate=1e-4"]
    text = (await chief.did(*words, "--dry-run")).stdout
    assert await tasks_of(admin, lab) == []
    assert "learningRate: '1e-4'" in text
    result = await chief.did("submit", "-f", "-", stdin=text)
    assert result.stdout == "collabtask.collabspace.io/joint created\n"
    stored = await admin.get(path_of(names.COLLAB_TASKS, lab, "joint"))
    printed = yaml.safe_load(text)["spec"]
    assert {key: stored["spec"][key] for key in printed} == printed | {
        "resourcesPerNode": stored["spec"]["resourcesPerNode"]
    }


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["--set", "epoch=3"], "parameters.epoch: method FullFineTuning has no such parameter"),
        (["--set", "epochs=many"], "parameters.epochs: 'many' is not allowed"),
        (["--gate", "accuracy=0.5"], "gates"),
        (["--memory", "4Gib"], "spec.resourcesPerNode.memory"),
        (["--dataset", "hospital-b/notes:evaluate", "--dataset", "hospital-b/notes"], "hospital-b"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_created(
    lab: str, chief: Person, admin: KubeClient, words: list[str], field: str
) -> None:
    for more in (["--dry-run"], []):
        result = await chief.collab("submit", "x", "-n", lab, *FLAGS, "--dataset", "hospital-a/notes", *words, *more)
        assert result.exit_code == 1, result.output
        assert field in result.stderr
    assert await tasks_of(admin, lab) == []


async def test_an_unknown_field_in_a_file_is_refused_with_what_may_be_meant(
    lab: str, chief: Person, admin: KubeClient
) -> None:
    body = task_body(lab, "x", "hospital-a")
    body["spec"]["datasts"] = []
    result = await chief.collab("submit", "-f", "-", stdin=yaml.safe_dump(body))
    assert result.exit_code == 1
    assert "spec.datasts is no field (did you mean datasets?)" in result.stderr
    assert await tasks_of(admin, lab) == []


async def test_of_several_tasks_in_a_file_none_is_created_when_one_is_wrong(
    lab: str, chief: Person, admin: KubeClient
) -> None:
    good, bad = task_body(lab, "good", "hospital-a"), task_body(lab, "bad", "hospital-a")
    bad["spec"]["method"] = "Guessing"
    result = await chief.collab("submit", "-f", "-", stdin=yaml.safe_dump_all([good, bad]))
    assert result.exit_code == 1
    assert "task bad: method is 'Guessing'" in result.stderr
    assert await tasks_of(admin, lab) == []
    await chief.did(
        "submit", "-f", "-", stdin=yaml.safe_dump_all([good, good | {"metadata": {"name": "b", "namespace": lab}}])
    )
    assert await tasks_of(admin, lab) == ["b", "good"]


async def test_a_task_that_was_refused_is_corrected_and_an_accepted_one_is_not_touched(
    lab: str, chief: Person, admin: KubeClient
) -> None:
    words = ["submit", "x", "-n", lab, *FLAGS, "--dataset", "hospital-a/notes"]
    await chief.did(*words)
    assert (await chief.did(*words)).stdout.endswith("/x unchanged\n")
    await set_state(admin, lab, "x", "InvalidParameter", Accepted="False", Succeeded="False", Stalled="True")
    assert (await chief.did(*words, "--seed", "7")).stdout.endswith("/x configured\n")
    await set_state(admin, lab, "x", "GrantMissing", Accepted="True")
    result = await chief.collab(*words, "--seed", "8")
    assert result.exit_code == 1
    assert f"kubectl delete collabtask x -n {lab}" in result.stderr
    assert (await admin.get(path_of(names.COLLAB_TASKS, lab, "x")))["spec"]["seed"] == 7


async def test_what_get_prints_can_be_submitted_under_another_name_by_like(
    lab: str, chief: Person, admin: KubeClient
) -> None:
    await chief.did("submit", "first", "-n", lab, *FLAGS, "--dataset", "hospital-a/notes", "--set", "epochs=5")
    await chief.did("submit", "second", "-n", lab, "--like", "first", "--set", "dropout=0.2", "--memory", "4Gi")
    first, second = [(await admin.get(path_of(names.COLLAB_TASKS, lab, name)))["spec"] for name in ("first", "second")]
    assert second == first | {
        "parameters": {"epochs": 5, "dropout": "0.2"},
        "resourcesPerNode": first["resourcesPerNode"] | {"memory": "4Gi"},
    }
    text = (await chief.did("get", "first", "-n", lab, "-o", "yaml")).stdout
    assert (await chief.did("submit", "-f", "-", stdin=text)).stdout.endswith("/first unchanged\n")


async def test_a_file_and_the_command_must_mean_the_same_namespace(lab: str, chief: Person) -> None:
    result = await chief.collab("submit", "-f", "-", "-n", "other", stdin=yaml.safe_dump(task_body(lab, "x", "h")))
    assert result.exit_code == 1
    assert f"says namespace {lab}, the command says -n other" in result.stderr


# List and get


async def test_an_empty_list_says_so_on_stderr(lab: str, chief: Person) -> None:
    result = await chief.did("list", "-n", lab)
    assert (result.stdout, result.stderr) == ("", f"No resources found in {lab} namespace.\n")


async def test_tasks_are_listed_in_every_form(lab: str, chief: Person, admin: KubeClient) -> None:
    await make_task(admin, lab, "waits")
    await make_task(admin, lab, "runs")
    await set_state(admin, lab, "waits", "GrantMissing", MISSING.format(lab), Accepted="True")
    await set_state(admin, lab, "runs", "Training", Accepted="True", Admitted="True", Running="True")
    lines = [line.split() for line in (await chief.did("list", "-n", lab)).stdout.splitlines()]
    assert lines[0] == ["NAME", "TASK", "METHOD", "STATE", "REASON", "PROGRESS", "AGE"]
    assert [line[:5] for line in lines[1:]] == [
        ["runs", "TokenClassification", "FullFineTuning", "Running", "Training"],
        ["waits", "TokenClassification", "FullFineTuning", "Waiting", "GrantMissing"],
    ]
    wide = (await chief.did("list", "-A", "-o", "wide")).stdout
    assert MISSING.format(lab) in wide
    assert wide.startswith("NAMESPACE ")
    assert (await chief.did("list", "-n", lab, "-o", "name")).stdout.split() == [
        "collabtask.collabspace.io/runs",
        "collabtask.collabspace.io/waits",
    ]
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        document = read((await chief.did("list", "-n", lab, "-o", form)).stdout)
        assert document["kind"] == "List"
        assert [item["metadata"]["name"] for item in document["items"]] == ["runs", "waits"]
        assert {item["kind"] for item in document["items"]} == {"CollabTask"}


async def test_tasks_are_selected_by_reason_and_by_label(lab: str, chief: Person, admin: KubeClient) -> None:
    for name, reason in (("a", "GrantMissing"), ("b", "WaitingForQuota")):
        await make_task(admin, lab, name)
        await set_state(admin, lab, name, reason)
    await admin.merge(path_of(names.COLLAB_TASKS, lab, "b"), {"metadata": {"labels": {"team": "nlp"}}})
    assert (await chief.did("list", "-n", lab, "--reason", "grantmissing", "-o", "name")).stdout.endswith("/a\n")
    assert (await chief.did("list", "-n", lab, "-l", "team=nlp", "-o", "name")).stdout.endswith("/b\n")


async def test_one_task_is_shown_with_its_steps(lab: str, chief: Person, admin: KubeClient) -> None:
    await make_task(admin, lab, "joint", "hospital-a")
    await set_state(admin, lab, "joint", "GrantMissing", MISSING.format(lab), Accepted="True")
    text = (await chief.did("get", "joint", "-n", lab)).stdout
    assert text.startswith(f"Waiting: GrantMissing. {MISSING.format(lab)}\n")
    assert "✓ Accepted" in text
    assert "● DataAuthorized" in text
    assert f"kubectl collab why joint -n {lab}" in text
    assert json.loads((await chief.did("get", "joint", "-n", lab, "-o", "json")).stdout)["kind"] == "CollabTask"


async def test_a_task_that_is_not_there_is_named(lab: str, chief: Person) -> None:
    for words in (["get"], ["why"], ["logs"], ["wait"], ["report"]):
        result = await chief.collab(*words, "nobody", "-n", lab)
        assert result.exit_code == 1
        assert f"collabtask nobody not found in namespace {lab}" in result.stderr


async def test_a_task_without_a_pod_has_no_log_and_says_where_to_look(
    lab: str, chief: Person, admin: KubeClient
) -> None:
    await make_task(admin, lab, "x")
    await set_state(admin, lab, "x", "WaitingForQuota", Accepted="True")
    result = await chief.collab("logs", "x", "-n", lab)
    assert result.exit_code == 1
    assert "task x has no pod (Waiting, WaitingForQuota)" in result.stderr
    assert f"kubectl collab why x -n {lab}" in result.stderr
    assert "attempt 3 of task x has no pod" in (await chief.collab("logs", "x", "-n", lab, "--attempt", "3")).stderr


# Why


async def test_why_a_task_waits_for_a_grant_is_answered_with_the_owners_command(
    lab: str, chief: Person, admin: KubeClient
) -> None:
    made = await make_task(admin, lab, "joint", "hospital-a")
    await set_state(admin, lab, "joint", "GrantMissing", MISSING.format(lab), Accepted="True")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "joint.1", "namespace": lab},
        "involvedObject": {"kind": "CollabTask", "name": "joint", "namespace": lab, "uid": made["metadata"]["uid"]},
        "type": "Warning",
        "reason": "GrantMissing",
        "message": "asked in vain",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    await admin.create(f"/api/v1/namespaces/{lab}/events", event)
    text = (await chief.did("why", "joint", "-n", lab)).stdout
    assert text.startswith(f"{lab}/joint: Waiting, GrantMissing\n  {MISSING.format(lab)}\n")
    cure = f"kubectl collab grants add notes -n hospital-a --to {lab} --use Train"
    assert f"Next, by the data's owner (hospital-a):\n  {cure}\n" in text
    assert f"team {lab}: GPU quota 2, in use 0" in text
    assert "CollabTask/joint  GrantMissing: asked in vain" in text
    document = json.loads((await chief.did("why", "joint", "-n", lab, "-o", "json")).stdout)
    assert document["next"] == [cure]


async def test_why_a_task_waits_for_quota_names_who_holds_it(lab: str, chief: Person, admin: KubeClient) -> None:
    await make_task(admin, lab, "big", gpus=2)
    await make_task(admin, lab, "next")
    await set_state(admin, lab, "big", "Training", Accepted="True", Admitted="True", Running="True")
    await set_state(admin, lab, "next", "WaitingForQuota", "GPU: asked 1, quota 2, in use 2 by 1 task", Accepted="True")
    text = (await chief.did("why", "next", "-n", lab)).stdout
    assert "GPU: asked 1, quota 2, in use 2 by 1 task" in text
    assert f"team {lab}: GPU quota 2, in use 2 by big (2)" in text


async def test_a_member_gets_the_answer_with_a_members_rights(team, cluster: LocalCluster, admin: KubeClient) -> None:
    lab = await team("lab", "--member", "rita", "--gpu-quota", "1")
    rita = Person(cluster.user("rita", namespace=lab))
    await rita.did("submit", "mine", *FLAGS, "--dataset", "hospital-a/notes")
    await set_state(admin, lab, "mine", "GrantMissing", MISSING.format(lab), Accepted="True")
    assert "grants add notes -n hospital-a" in (await rita.did("why", "mine")).stdout
    everywhere = await rita.collab("list", "-A")
    assert everywhere.exit_code == 1
    assert "needs verb list on collabtasks.collabspace.io in the whole cluster" in everywhere.stderr
    assert "You are rita" in everywhere.stderr


# Wait and watch


@pytest.mark.parametrize(
    ("reason", "conditions", "words", "code", "said"),
    [
        ("Completed", {"Succeeded": "True"}, [], 0, "condition met: Succeeded (Completed)"),
        ("OutOfMemory", {"Succeeded": "False", "Stalled": "True"}, [], 1, "ended without Succeeded (OutOfMemory"),
        ("Training", {"Admitted": "True", "Running": "True"}, ["--for", "admitted"], 0, "condition met: Admitted"),
        ("Training", {"Admitted": "True", "Running": "True"}, ["--timeout", "1s"], 124, "is not Succeeded after 1 s"),
        ("ExceedsQuota", {"Succeeded": "False"}, ["--for", "Running"], 1, "ended without Running"),
    ],
)
async def test_waiting_ends_with_the_exit_code_of_what_happened(
    lab: str,
    chief: Person,
    admin: KubeClient,
    reason: str,
    conditions: dict[str, str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    await make_task(admin, lab, "x")
    await set_state(admin, lab, "x", reason, **conditions)
    async with chief.process("wait", "x", "-n", lab, *words) as process:
        out, errors = await process.communicate()
    assert process.returncode == code
    assert said in (out if code == 0 else errors).decode()


async def test_waiting_sees_a_change_that_comes_later(lab: str, chief: Person, admin: KubeClient) -> None:
    await make_task(admin, lab, "x")
    await set_state(admin, lab, "x", "Training", Running="True")
    async with chief.process("submit", "y", "-n", lab, "--like", "x", "--watch") as process:
        await reached(process, "Pending")
        await set_state(admin, lab, "y", "Training", Admitted="True", Running="True")
        await reached(process, "Training")
        await set_state(admin, lab, "y", "Completed", Succeeded="True")
        lines = await reached(process, "Completed")
        assert "y  Succeeded  Completed" in lines[-1]
        assert await process.wait() == 0


async def test_watching_a_task_that_ends_badly_has_exit_code_1(lab: str, chief: Person, admin: KubeClient) -> None:
    await make_task(admin, lab, "x")
    async with chief.process("submit", "y", "-n", lab, "--like", "x", "--watch") as process:
        await reached(process, "Pending")
        await set_state(admin, lab, "y", "Diverged", "loss is nan at step 3", Succeeded="False", Stalled="True")
        assert "loss is nan at step 3" in (await reached(process, "Diverged"))[-1]
        assert await process.wait() == 1


async def test_a_task_deleted_while_it_is_waited_for_is_an_error(lab: str, chief: Person, admin: KubeClient) -> None:
    await make_task(admin, lab, "x")
    async with chief.process("get", "x", "-n", lab, "-w") as process:
        await reached(process, "Pending")
        await admin.delete(path_of(names.COLLAB_TASKS, lab, "x"))
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert b"task x is not there (any more)" in errors


@pytest.mark.parametrize("words", [["get", "x", "-w"], ["list", "-w"]])
async def test_ctrl_c_leaves_at_once_and_says_that_the_task_goes_on(
    lab: str, chief: Person, admin: KubeClient, words: list[str]
) -> None:
    await make_task(admin, lab, "x")
    async with chief.process(*words, "-n", lab) as process:
        await reached(process, "Pending")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(SECONDS):
            _, errors = await process.communicate()
        assert process.returncode == 130
        text = errors.decode()
        assert "Stopped watching." in text
        assert "on in the cluster" in text
        assert "Traceback" not in text
        assert await tasks_of(admin, lab) == ["x"]


async def test_a_watch_outlives_a_restart_of_the_api_server(
    lab: str, chief: Person, admin: KubeClient, cluster: LocalCluster
) -> None:
    await make_task(admin, lab, "x")
    async with chief.process("get", "x", "-n", lab, "-w") as process:
        await reached(process, "Pending")
        await asyncio.to_thread(cluster.restart, "kube-apiserver")
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    await set_state(admin, lab, "x", "Completed", Succeeded="True")
                    break
                except KubeError as error:
                    assert error.transient or error.status == 403, error
        assert "Succeeded" in (await reached(process, "Completed"))[-1]
        assert await process.wait() == 0


# On a terminal


async def test_a_terminal_gets_colours_unless_no_color_is_set(lab: str, chief: Person, admin: KubeClient) -> None:
    await make_task(admin, lab, "x")
    await set_state(admin, lab, "x", "Completed", Succeeded="True")
    words = ["list", "-n", lab]
    assert "\x1b[32mSucceeded" in await asyncio.to_thread(chief.on_terminal, *words)
    plain = await asyncio.to_thread(lambda: chief.on_terminal(*words, NO_COLOR="1"))
    assert "\x1b[3" not in plain
    assert "Succeeded" in plain


async def test_a_live_watch_on_a_terminal_ends_with_the_final_row(lab: str, chief: Person, admin: KubeClient) -> None:
    await make_task(admin, lab, "x")
    await set_state(admin, lab, "x", "Completed", Succeeded="True")
    seen = await asyncio.to_thread(lambda: chief.on_terminal("get", "x", "-n", lab, "-w", columns=140))
    assert "100 %" in seen
    assert "Succeeded" in seen


async def test_names_are_completed_from_the_cluster(
    lab: str, chief: Person, admin: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collabspace.cli.completion import complete

    await make_task(admin, lab, "joint")
    await make_task(admin, lab, "other")
    words = ["get", "--kubeconfig", str(chief.kubeconfig), "-n", lab, "jo"]
    assert await asyncio.to_thread(complete, words) == ["joint", ":4"]
    spaces = await asyncio.to_thread(complete, ["get", "--kubeconfig", str(chief.kubeconfig), "-n", lab[:-2]])
    assert lab in spaces
