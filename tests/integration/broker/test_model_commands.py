"""`promote`, `pull model` and `publish-model` as people type them, against a broker that holds models."""

import asyncio
from pathlib import Path

import pytest
from admin_shell import Shell, shell_of
from broker_harness import DATASETS, TASKS, BrokerProcess, World
from large_model import model_files
from published_notes import Published
from stored_results import stored

from collabspace.api import names
from collabspace.kube.client import KubeError
from collabspace.local.cluster import LocalCluster

FILES = {f"model/{path}": content for path, content in model_files(2048).items()}
REST = {"DONE": b"{}", "metrics.json": b"{}", "counts/a.safetensors": b"c", "predictions/a.jsonl": b"{}\n"}


@pytest.fixture
async def shell(world: World, broker: BrokerProcess, published: Published, cluster: LocalCluster) -> Shell:
    return await shell_of(world, broker, published.owner, cluster)


async def ended(world: World, namespace: str, task: str, digest: str) -> None:
    """The task's status, as the operator writes it at a good end."""
    when = "2026-01-01T00:00:00Z"
    done = {"type": "Succeeded", "status": "True", "reason": "Completed", "message": "", "lastTransitionTime": when}
    status = {"reason": "Completed", "conditions": [done], "result": {"digest": digest, "bytes": 1}}
    await world.admin.merge(f"{TASKS.format(namespace)}/{task}/status", {"status": status})


async def test_a_person_promotes_sets_back_pulls_and_publishes(
    world: World, broker: BrokerProcess, published: Published, shell: Shell, tmp_path: Path
) -> None:
    team = published.owner
    held = {
        task: FILES | REST | {"model/tokenizer_config.json": f'{{"of": "{task}"}}'.encode()}
        for task in ("first", "second")
    }
    held["second"]["model/labels.json"] = b"[]"
    for task, files in held.items():
        _, result = await stored(world, broker, published, tmp_path, task, files=files, parents=[published.digest])
        await ended(world, team, task, result.digest)
    unnamed = await shell.collab("promote", "first")
    assert unnamed.exit_code == 1 and "promote first --alias NAME" in unnamed.stderr
    said = (await shell.did("promote", "first", "--alias", "production")).stdout
    assert said.startswith(f"alias production promoted: {team}/first")
    assert "unchanged" in (await shell.did("promote", "first", "--alias", "production")).stdout
    changed = await shell.did("promote", "second", "--alias", "production")
    assert f"promote --alias production --to-previous -n {team}" in changed.stderr
    await world.deleted(f"{TASKS.format(team)}/first")
    back = (await shell.did("promote", "--alias", "production", "--to-previous")).stdout
    assert back.startswith(f"alias production promoted: {team}/first")
    gone = await shell.collab("promote", "--alias", "never-set", "--to-previous")
    assert gone.exit_code == 1 and "never-set is not there" in gone.stderr
    for name, task in (("production", "first"), ("task/second", "second")):
        into = tmp_path / task
        await shell.did("pull", "model", name, str(into))
        assert (into / "model/tokenizer_config.json").read_bytes() == held[task]["model/tokenizer_config.json"]
        assert sorted(path.name for path in into.iterdir()) == ["DONE", "manifest.json", "metrics.json", "model"]
    into, other = tmp_path / "second", held["first"]["model/tokenizer_config.json"]
    await shell.did("pull", "model", "task/second", str(into))
    occupied = await shell.collab("pull", "model", "production", str(into))
    assert occupied.exit_code == 1 and "holds something else that was pulled" in occupied.stderr
    assert (into / "model/tokenizer_config.json").read_bytes() != other
    await shell.did("pull", "model", "production", str(into), "--force")
    assert (into / "model/tokenizer_config.json").read_bytes() == other
    assert not (into / "model/labels.json").exists()
    missing = await shell.collab("pull", "model", "nothing", str(tmp_path / "none"))
    assert missing.exit_code == 1 and "Aliases: production" in missing.stderr
    _, table = await stored(
        world,
        broker,
        published,
        tmp_path,
        "table",
        files=REST | {"model/model.json": b"{}"},
        spec={"method": "Majority"},
    )
    await ended(world, team, "table", table.digest)
    refused = await shell.collab("publish-model", "table", "--as", "table")
    assert refused.exit_code == 1 and "the model of table, made by method Majority, cannot be" in refused.stderr
    assert "only encoders can, whole weights with tokenizer" in refused.stderr
    with pytest.raises(KubeError, match="not found"):
        await world.admin.get(f"{DATASETS.format(team)}/table")
    shared = (await shell.did("publish-model", "production", "--as", "base")).stdout
    assert (
        f"shareddataset.{names.GROUP}/base created" in shared and f"shareddataset.{names.GROUP}/base pushed" in shared
    )
    made = await world.admin.get(f"{DATASETS.format(team)}/base")
    assert made["spec"]["format"] == "Model"
    again = (await shell.did("publish-model", "production", "--as", "base")).stdout
    assert f"shareddataset.{names.GROUP}/base unchanged" in again
    await shell.did("pull", "base", str(tmp_path / "base"))
    assert (tmp_path / "base/model.safetensors").read_bytes() == FILES["model/model.safetensors"]
    claimed = {row["claimed_by"] for row in broker.rows("event = 'Promoted' AND namespace = ?", team)}
    assert claimed == {"collabspace-admin"}


async def test_a_refused_model_leaves_no_dataset_that_was_made_for_it_and_keeps_one_that_was_there(
    world: World, broker: BrokerProcess, published: Published, cluster: LocalCluster, tmp_path: Path
) -> None:
    lab = await world.team()
    shell = await shell_of(world, broker, lab, cluster)
    await world.grant(published.owner, lab)
    pod, result = await stored(
        world, broker, published, tmp_path, namespace=lab, files=FILES | REST, parents=[published.digest]
    )
    with broker.client(await pod.token()) as client:
        await asyncio.to_thread(client.fetch_version, published.uid, published.digest, tmp_path / "read")
    await ended(world, lab, "ner", result.digest)
    refused = await shell.collab("publish-model", "ner", "--as", "base")
    assert refused.exit_code == 1 and f"--to {lab} --use Derive" in refused.stderr
    assert f"shareddataset.{names.GROUP}/base deleted" in refused.stdout
    with pytest.raises(KubeError, match="not found"):
        await world.admin.get(f"{DATASETS.format(lab)}/base")
    own = await world.dataset(lab, "base", format="Model")
    again = await shell.collab("publish-model", "ner", "--as", "base")
    assert again.exit_code == 1 and "deleted" not in again.stdout
    assert (await world.admin.get(f"{DATASETS.format(lab)}/base"))["metadata"]["uid"] == own
