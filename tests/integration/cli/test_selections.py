"""Selections handed in, watched, listed and explained, on a real API server with statuses written as the operator's."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_harness import SINCE, Person, make_task, reached, set_state

from collabspace.api import names
from collabspace.api.conditions import SELECTION_CONDITIONS
from collabspace.cli.cluster import path_of
from collabspace.kube.client import KubeClient, Object
from collabspace.local.cluster import LocalCluster

DIGEST = "sha256:" + "a" * 64


def body(namespace: str, **spec: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelSelection",
        "metadata": {"name": "sentiment", "namespace": namespace},
        "spec": {
            "task": "TextClassification",
            "datasets": [{"name": "s", "datasetRef": {"namespace": namespace, "name": "snippets"}, "role": "Train"}],
            "objective": {"metric": "accuracy", "tolerance": "0.02"},
            "candidates": [
                {"name": "linear", "method": "LogisticRegression"},
                {"name": "forest", "method": "RandomForest"},
            ],
            "promotion": {"alias": "production", "mode": "Manual"},
        }
        | spec,
    }


async def put_status(admin: KubeClient, namespace: str, reason: str, succeeded: str, **parts: Any) -> None:
    status = {"Accepted": "True", "Succeeded": succeeded, "Stalled": "False"}
    conditions = [
        {
            "type": kind,
            "status": status.get(kind, "False"),
            "reason": reason,
            "message": "",
            "lastTransitionTime": SINCE,
        }
        for kind in SELECTION_CONDITIONS
    ]
    path = path_of(names.MODEL_SELECTIONS, namespace, "sentiment") + "/status"
    await admin.merge(path, {"status": {"observedGeneration": 9, "reason": reason, "conditions": conditions, **parts}})


def entry(candidate: str, state: str, **more: Any) -> dict[str, Any]:
    return {"candidate": candidate, "taskName": f"sentiment-{candidate}", "state": state} | more


ENDED: dict[str, Any] = {
    "leaderboard": [
        entry("linear", "Ranked", rank=1, validationValue="0.75", runs=1, cost={"cpuSeconds": 3}),
        entry("forest", "Excluded", reason="OutOfMemory", message="needs 4Gi", cost={"cpuSeconds": 9}),
    ],
    "winner": {"candidate": "linear", "taskName": "sentiment-linear", "taskUid": "u-1", "resultDigest": DIGEST,
               "metricValue": "0.75", "message": "the only one with a figure"},
    "comparison": [{"rival": "Winner", "candidate": "linear", "testValue": "0.74", "runs": 1}],
    "promotion": {"state": "Awaiting", "alias": "production"},
    "cost": {"cpuSeconds": 12},
}  # fmt: skip


@pytest.fixture
async def lab(team) -> str:
    return await team("lab")


@pytest.fixture
def file(lab: str, tmp_path: Path) -> Path:
    return written(tmp_path / "selection.yaml", body(lab))


def written(path: Path, document: Object) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


async def selections_of(admin: KubeClient, namespace: str) -> list[str]:
    found = await admin.list(path_of(names.MODEL_SELECTIONS, namespace))
    return [item["metadata"]["name"] for item in found["items"]]


async def test_a_selection_is_checked_made_once_and_frozen_when_accepted(
    lab: str, chief: Person, admin: KubeClient, file: Path, tmp_path: Path
) -> None:
    dry = await chief.did("select", "-f", str(file), "-n", lab, "--dry-run")
    assert yaml.safe_load(dry.stdout)["spec"]["objective"]["tolerance"] == "0.02"
    assert await selections_of(admin, lab) == []
    first = await chief.did("select", "-f", str(file), "-n", lab)
    assert first.stdout.strip() == f"modelselection.{names.GROUP}/sentiment created"
    assert f"get selection/sentiment -n {lab} -w" in first.stderr
    assert "unchanged" in (await chief.did("select", "-f", str(file), "-n", lab)).stdout
    corrected = written(tmp_path / "corrected.yaml", body(lab, parallelism=2))
    assert "configured" in (await chief.did("select", "-f", str(corrected), "-n", lab)).stdout
    await put_status(admin, lab, "Training", "Unknown")
    frozen = await chief.collab("select", "-f", str(file), "-n", lab)
    assert frozen.exit_code == 1 and "its spec is frozen" in frozen.stderr
    written(corrected, body(lab, parallelism=2, suspend=True))
    assert "configured" in (await chief.did("select", "-f", str(corrected), "-n", lab)).stdout


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"objective": {"metric": "accuracy", "tolerance": 0.02}}, 'Put it in quotes: "0.02"'),
        ({"objective": {"metric": "entity_micro_f1"}}, "task TextClassification reports no such metric"),
        ({"candidates": [{"name": "a", "method": "LogisticRegresion"}]}, "candidates[a].method"),
        ({"promotion": {"alias": "other/production"}}, "spec.promotion.alias"),
    ],
)
async def test_a_selection_that_could_never_run_is_not_sent(
    lab: str, chief: Person, admin: KubeClient, file: Path, spec: dict[str, Any], said: str
) -> None:
    written(file, body(lab, **spec))
    refused = await chief.collab("select", "-f", str(file), "-n", lab)
    assert refused.exit_code == 1 and said in refused.stderr, refused.stderr
    assert await selections_of(admin, lab) == []


async def test_watching_tells_each_candidates_turn_and_ends_with_the_winner(
    lab: str, chief: Person, admin: KubeClient, file: Path
) -> None:
    async with chief.process("select", "-f", str(file), "-n", lab, "--watch") as process:
        await reached(process, "Waiting, Pending")
        running = [entry("linear", "Running"), entry("forest", "Waiting", taskName="")]
        await put_status(admin, lab, "Training", "Unknown", leaderboard=running)
        await reached(process, "sentiment/linear  Running")
        await put_status(admin, lab, "Completed", "True", **ENDED)
        lines = await reached(process, "Alias production: Awaiting")
        assert await process.wait() == 0
    assert any("sentiment/forest  Excluded  OutOfMemory  9 CPU-s  needs 4Gi" in line for line in lines)
    assert "  Winner: linear, 0.75: the only one with a figure" in lines


async def test_without_a_winner_waiting_for_one_fails(lab: str, chief: Person, admin: KubeClient, file: Path) -> None:
    await chief.did("select", "-f", str(file), "-n", lab)
    await put_status(admin, lab, "NoWinner", "False")
    ended = await chief.collab("select", "-f", str(file), "-n", lab, "--wait")
    assert ended.exit_code == 1 and "Failed, NoWinner" in ended.stdout


async def test_list_get_why_and_compare_know_selections(
    lab: str, chief: Person, admin: KubeClient, file: Path, broker: LocalCluster
) -> None:
    await chief.did("select", "-f", str(file), "-n", lab)
    await put_status(admin, lab, "Completed", "True", **ENDED)
    listed = (await chief.did("list", "selections", "-n", lab)).stdout.splitlines()
    assert listed[1].split()[:9] == [
        "sentiment", "TextClassification", "accuracy", "Succeeded", "Completed", "2", "of", "2", "linear",
    ]  # fmt: skip
    assert (await chief.did("list", "selections", "-n", lab, "-o", "name")).stdout.strip() == (
        f"modelselection.{names.GROUP}/sentiment"
    )
    shown = (await chief.did("get", "sentiment", "-n", lab)).stdout
    assert f"{lab}/sentiment: Succeeded, Completed" in shown and "OutOfMemory" in shown
    why = (await chief.did("why", "sentiment", "-n", lab)).stdout
    assert f"kubectl collab why sentiment-forest -n {lab}" in why and f"promote sentiment -n {lab}" in why
    told = await chief.did("compare", "sentiment", "-n", lab)
    compared = told.stdout
    assert "note: the winner's own figures cannot be shown: " in told.stderr
    for said in ("Leaderboard: accuracy on validation", "Comparison: accuracy on test", "1 run each", "12 CPU-s"):
        assert said in compared
    document = json.loads((await chief.did("compare", "sentiment", "-n", lab, "-o", "json")).stdout)
    assert document["winner"]["resultDigest"] == DIGEST and document["leaderboard"][0]["rank"] == 1
    drawn = chief.on_terminal("compare", "sentiment", "-n", lab, columns=160)
    assert "███████" in drawn
    live = chief.on_terminal("get", "selection/sentiment", "-n", lab, "-w", columns=160)
    assert "OutOfMemory" in live and "Winner: linear" in live


async def test_where_a_task_has_the_name_too_the_task_is_meant_unless_said(
    lab: str, chief: Person, admin: KubeClient, file: Path
) -> None:
    await chief.did("select", "-f", str(file), "-n", lab)
    await make_task(admin, lab, "sentiment")
    await set_state(admin, lab, "sentiment", "GrantMissing", Accepted="True")
    assert "GrantMissing" in (await chief.did("get", "sentiment", "-n", lab)).stdout
    assert "2 candidates" in (await chief.did("get", "selection/sentiment", "-n", lab)).stdout
    missing = await chief.collab("get", "nothing", "-n", lab)
    assert missing.exit_code == 1 and "nor a modelselection of that name" in missing.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["promote", "sentiment"], "has no winner to promote"),
        (["promote", "--to-previous"], "--to-previous needs --alias"),
        (["promote"], "give a selection or a task, or --to-previous"),
        (["promote", "nothing"], "modelselection nothing not found"),
        (["pull", "model", "hospital-a/notes", "x"], "names no model of this namespace"),
    ],
)
async def test_what_cannot_be_meant_is_refused_with_what_to_do(
    lab: str, chief: Person, file: Path, words: list[str], said: str
) -> None:
    await chief.did("select", "-f", str(file), "-n", lab)
    refused = await chief.collab(*words, "-n", lab)
    assert refused.exit_code in (1, 2) and said in refused.stderr, refused.stderr
