"""Commands that speak to the broker, with the broker running: push, pull, ledger, report."""

import hashlib
import json
import sqlite3
from pathlib import Path

import pytest
from cli_harness import CONLL, Person, dataset_body, make_task, set_state

from collabspace.api import names
from collabspace.api.manifest import Manifest
from collabspace.cli.cluster import path_of
from collabspace.kube.client import KubeClient
from collabspace.local.cluster import LocalCluster


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.conll"
    path.write_text(CONLL)
    return path


@pytest.fixture
def bad_notes(tmp_path: Path) -> Path:
    path = tmp_path / "bad.conll"
    path.write_text(CONLL.replace("flu3 B-Disease", "flu3 O", 1))
    return path


async def datasets_of(admin: KubeClient, namespace: str) -> list[str]:
    found = await admin.list(path_of(names.SHARED_DATASETS, namespace))
    return [item["metadata"]["name"] for item in found["items"]]


async def test_a_push_prints_counts_and_digest_and_the_same_again_changes_nothing(
    broker: LocalCluster, hospital: str, chief: Person, notes: Path
) -> None:
    first = await chief.did("push", "notes", str(notes), "-n", hospital)
    lines = first.stdout.splitlines()
    assert lines[0].split() == ["TRAIN", "VALIDATION", "TEST"]
    counts = [int(text) for text in lines[1].split()[1:]]
    assert lines[1].split()[0] == "records"
    assert sum(counts) == 120
    assert [line.split()[0] for line in lines[2:4]] == ["Disease", "Drug"]
    assert f"shareddataset.{names.GROUP}/notes pushed" in lines
    assert lines[-1].startswith("sha256:")
    second = (await chief.did("push", "notes", str(notes), "-n", hospital)).stdout.splitlines()
    assert f"shareddataset.{names.GROUP}/notes unchanged" in second
    assert second[-1] == lines[-1]


async def test_a_dry_run_checks_without_a_dataset_and_makes_none(
    hospital: str, chief: Person, admin: KubeClient, notes: Path
) -> None:
    words = ["push", "new", str(notes), "-n", hospital, "--create", "--format", "TokenClassification", "--dry-run"]
    result = await chief.did(*words)
    assert "120 records" in result.stdout
    assert "nothing was sent" in result.stderr
    assert await datasets_of(admin, hospital) == ["notes"]


async def test_a_push_can_make_the_dataset_of_a_table(
    broker: LocalCluster, hospital: str, chief: Person, admin: KubeClient, tmp_path: Path
) -> None:
    table = tmp_path / "cells.csv"
    table.write_text("size,kind\n" + "".join(f"{n}.5,{'ab'[n % 2]}\n" for n in range(200)))
    words = ["push", "cells", str(table), "-n", hospital, "--create", "--format", "tabular", "--target", "kind"]
    result = await chief.did(*words, "--on-revoke", "finish", "--deletion-policy", "delete")
    assert f"shareddataset.{names.GROUP}/cells created" in result.stdout
    spec = (await admin.get(path_of(names.SHARED_DATASETS, hospital, "cells")))["spec"]
    assert spec["contract"]["target"] == {"column": "kind", "kind": "Class"}
    assert (spec["onRevoke"], spec["deletionPolicy"]) == ("Finish", "Delete")


async def test_bad_data_is_refused_by_file_and_line_and_nothing_is_made_or_sent(
    hospital: str, chief: Person, admin: KubeClient, bad_notes: Path
) -> None:
    line = 1 + next(n for n, text in enumerate(CONLL.split("\n")) if text == "flu3 B-Disease")
    words = ["push", "new", str(bad_notes), "-n", hospital, "--create", "--format", "TokenClassification"]
    result = await chief.collab(*words)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"bad.conll:{line + 1}: ")
    assert result.stderr.splitlines()[-1].startswith(f"error: {bad_notes} was not published: 1 problem.")
    assert await datasets_of(admin, hospital) == ["notes"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone", "NOTES"], "Make it and push in one: kubectl collab push gone PATH"),
        (["notes", "NOTES", "--create", "--format", "Tabular", "--target", "x"], "a format cannot change".capitalize()),
        (["notes", "NOTES", "--create", "--format", "TokenClassification", "--on-revoke", "Finish"],
         """--type merge -p '{"spec": {"onRevoke": "Finish"}}'."""),
        (["notes", "/no/such/file"], "does not exist"),
    ],
)  # fmt: skip
async def test_a_push_that_cannot_be_meant_says_what_to_do(
    hospital: str, chief: Person, notes: Path, words: list[str], said: str
) -> None:
    meant = [str(notes) if word == "NOTES" else word for word in words]
    result = await chief.collab("push", *meant, "-n", hospital)
    assert result.exit_code == 1
    assert said in result.stderr


async def test_a_namespace_that_is_no_team_cannot_reach_the_broker(
    namespace: str, chief: Person, admin: KubeClient, notes: Path
) -> None:
    await admin.create(path_of(names.SHARED_DATASETS, namespace), dataset_body(namespace))
    result = await chief.collab("push", "notes", str(notes), "-n", namespace)
    assert result.exit_code == 1
    assert f"kubectl collab teams add {namespace}" in result.stderr


async def test_a_member_pulls_what_is_granted_for_download_and_a_stranger_gets_nothing(
    broker: LocalCluster, team, hospital: str, cluster: LocalCluster, chief: Person, notes: Path, tmp_path: Path
) -> None:
    await chief.did("push", "notes", str(notes), "-n", hospital)
    lab = await team("lab", "--member", "rita")
    rita = Person(cluster.user("rita", namespace=lab))
    refused = await rita.collab("pull", f"{hospital}/notes", str(tmp_path / "mine"))
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: the broker refused: ")
    assert (await rita.did("list", "datasets")).stderr == f"No resources found in {lab} namespace.\n"
    await chief.did("grants", "add", "notes", "-n", hospital, "--to", lab, "--use", "Download", "--purpose", "a look")
    listed = (await rita.did("list", "datasets")).stdout.splitlines()
    assert listed[1].split()[:2] == [hospital, "notes"] and listed[1].endswith("Download   -       a look")
    assert (await rita.did("list", "datasets", "-o", "name")).stdout == f"{hospital}/notes\n"
    assert "promote TASK --alias NAME" in (await rita.did("list", "aliases")).stderr
    await rita.did("pull", f"{hospital}/notes", str(tmp_path / "mine"))
    manifest = json.loads((tmp_path / "mine" / "manifest.json").read_text())
    for file in manifest["files"]:
        assert hashlib.sha256((tmp_path / "mine" / file["path"]).read_bytes()).hexdigest() == file["sha256"]


async def test_the_ledger_shows_who_did_what_and_can_be_filtered(
    broker: LocalCluster, team, hospital: str, cluster: LocalCluster, chief: Person, notes: Path, tmp_path: Path
) -> None:
    await chief.did("push", "notes", str(notes), "-n", hospital)
    lab = await team("lab", "--member", "rita")
    rita = Person(cluster.user("rita", namespace=lab))
    await chief.did("grants", "add", "notes", "-n", hospital, "--to", lab, "--use", "Train")
    await rita.collab("pull", f"{hospital}/notes", str(tmp_path / "mine"))
    records = json.loads((await chief.did("ledger", "list", "notes", "-n", hospital, "-o", "json")).stdout)
    assert [(each["decision"], each["namespace"], each["claimedBy"]) for each in records] == [
        ("Denied", lab, "rita"),
        ("Allowed", hospital, "collabspace-admin"),
    ]
    denied = (await chief.did("ledger", "list", "-n", hospital, "--denied")).stdout.splitlines()
    assert len(denied) == 2
    assert denied[1].split()[2:4] == ["Denied", "UseNotGranted"]
    assert (
        len(json.loads((await chief.did("ledger", "list", "-n", hospital, "--limit", "1", "-o", "json")).stdout)) == 1
    )
    assert (await chief.did("ledger", "list", "-n", hospital, "--task", "nobody")).stdout == ""
    whole = await chief.did("ledger", "list", f"{hospital}/notes", "-n", hospital, "-o", "json")
    assert json.loads(whole.stdout) == records
    acted = await rita.did("ledger", "list", f"{hospital}/notes", "-o", "json")
    assert [each["decision"] for each in json.loads(acted.stdout)] == ["Denied"]
    unknown = await chief.collab("ledger", "list", f"{hospital}/nots", "-n", hospital)
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert f"shareddataset nots not found in namespace {hospital}" in unknown.stderr


async def test_an_intact_ledger_is_confirmed_and_a_changed_record_is_named(
    broker: LocalCluster, hospital: str, chief: Person, notes: Path
) -> None:
    await chief.did("push", "notes", str(notes), "-n", hospital)
    await chief.did("pull", "notes", str(notes.parent / "copy"), "-n", hospital)
    fine = await chief.did("ledger", "verify", "notes", "-n", hospital)
    dataset, chain, records, verdict, _ = fine.stdout.splitlines()[1].split()
    assert (dataset, int(records) >= 3, verdict) == ("notes", True, "intact")
    with sqlite3.connect(broker.state / "broker" / "ledger.db") as ledger:
        changed = ledger.execute(
            "UPDATE access SET claimed_by = 'nobody' WHERE chain = ? AND position = 2", (chain,)
        ).rowcount
    ledger.close()
    assert changed == 1
    broken = await chief.collab("ledger", "verify", "notes", "-n", hospital)
    assert broken.exit_code == 1
    assert f"error: the ledger was changed: chain {chain}: " in broken.stderr
    assert "2" in broken.stderr.partition(chain)[2]
    elsewhere = await chief.collab("ledger", "verify", "other/notes", "-n", hospital)
    assert elsewhere.exit_code == 1 and "kubectl collab ledger verify notes -n other" in elsewhere.stderr


async def test_a_task_without_a_result_has_no_report_and_says_why(team, chief: Person, admin: KubeClient) -> None:
    lab = await team("lab")
    await make_task(admin, lab, "x")
    waiting = await chief.collab("report", "x", "-n", lab)
    assert (waiting.exit_code, waiting.stdout) == (1, "")
    assert f"Wait for it: kubectl collab wait x -n {lab}." in waiting.stderr
    await set_state(admin, lab, "x", "UserError", Succeeded="False")
    assert f"kubectl collab why x -n {lab}" in (await chief.collab("report", "x", "-n", lab)).stderr


async def test_a_broker_that_is_away_is_said_in_one_line(team, chief: Person, admin: KubeClient) -> None:
    lab = await team("lab")
    address = f"/api/v1/namespaces/{lab}/configmaps/{names.BROKER_CONFIG_MAP}"
    await admin.merge(address, {"data": {names.BROKER_URL_KEY: "https://127.0.0.1:9"}})
    result = await chief.collab("ledger", "list", "-n", lab)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "broker" in result.stderr
    assert result.stderr.count("\n") == 1


async def test_records_are_exported_as_they_are_oldest_first(
    broker: LocalCluster, hospital: str, chief: Person, notes: Path, tmp_path: Path
) -> None:
    await chief.did("push", "notes", str(notes), "-n", hospital)
    await chief.did("pull", "notes", str(tmp_path / "copy"), "-n", hospital)
    file = tmp_path / "records.jsonl"
    await chief.did("ledger", "export", "--format", "jsonl", "--output", str(file), "-n", hospital)
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [each["event"] for each in records][:2] == ["Published", "Opened"]
    assert records[0]["generation"] == 1 and records[0]["purpose"] is None
    assert [each["sequence"] for each in records] == sorted(each["sequence"] for each in records)
    assert (await chief.did("ledger", "export", "--since", "2099-01-01", "-n", hospital)).stdout == ""


async def test_an_admin_gives_a_dataset_that_was_made_again_its_versions_back(
    broker: LocalCluster, hospital: str, chief: Person, admin: KubeClient, notes: Path, tmp_path: Path
) -> None:
    digest = (await chief.did("push", "notes", str(notes), "-n", hospital)).stdout.splitlines()[-1]
    path = path_of(names.SHARED_DATASETS, hospital, "notes")
    lost = (await admin.get(path))["metadata"]["uid"]
    await admin.delete(path)
    await admin.create(path_of(names.SHARED_DATASETS, hospital), dataset_body(hospital))
    assert (await chief.collab("pull", "notes", str(tmp_path / "copy"), "-n", hospital)).exit_code == 1
    await chief.did("admin", "rebind", f"{hospital}/notes", "--from-uid", lost)
    await chief.did("pull", "notes", str(tmp_path / "copy"), "-n", hospital)
    assert Manifest.model_validate_json((tmp_path / "copy" / "manifest.json").read_bytes()).digest == digest
    again = await chief.collab("admin", "rebind", f"{hospital}/notes", "--from-uid", "nobody")
    assert (again.exit_code, "has versions of its own" in again.stderr) == (1, True)
