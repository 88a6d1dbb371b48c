"""The observer sees each invariant broken, and is silent where all hold."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import observer_cases as cases
import pytest
from observer import CHECKS, differences
from observer_breaks import BREAKS, second_job
from observer_cases import NOW, TEAM_UID, UID, World, good, space
from observer_evidence import as_made, is_orphan, task_of, without_orphans
from observer_ledger import Chains
from observer_remains import files_below, nothing_is_left
from observer_sources import AuditLog, Journal


def found(world: World) -> list[str]:
    evidence = world.evidence()
    return [line for check in CHECKS for line in check(evidence)]


def test_a_world_in_which_all_holds_is_called_right(tmp_path: Path) -> None:
    assert found(good(tmp_path)) == []


@pytest.mark.parametrize(
    ("invariant", "harm"),
    [(name, each) for name, harms in BREAKS.items() for each in harms],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_a_broken_invariant_is_seen(tmp_path: Path, invariant: str, harm: Callable[[World], None]) -> None:
    world = good(tmp_path)
    harm(world)
    assert any(line.startswith(f"{invariant} ") for line in found(world)), found(world)


def test_a_quota_that_was_lowered_just_now_is_no_violation(tmp_path: Path) -> None:
    world = good(tmp_path)
    world.tell("spaces", space("team", TEAM_UID, "0"), 12)
    second_job(world)
    assert [line for line in found(world) if line.startswith("I7")] == []


def test_a_quota_that_was_lowered_long_ago_is_one(tmp_path: Path) -> None:
    world = good(tmp_path)
    world.tell("spaces", space("team", TEAM_UID, "0"), 12)
    second_job(world, second=112)
    assert [line for line in found(world) if line.startswith("I7")] != []


def test_a_ledger_that_only_grew_is_right_and_any_other_change_is_seen(tmp_path: Path) -> None:
    world = good(tmp_path)

    def faults(rows: list[dict[str, object]]) -> list[str]:
        """Of a second look that finds these, after a first that found two records."""
        chains, early = Chains(), World(tmp_path, access=world.access[:2])
        assert list(chains.faults(early.access, early.access, early.chains())) == []
        return list(chains.faults(rows[2:], rows, world.chains()))

    rows = world.access
    assert faults(rows) == []
    assert faults(rows[:1] + rows[2:]) != []
    assert faults(rows[:-1]) != []
    assert faults([*rows[:-1], rows[-1] | {"gpu_seconds": 1}]) != []
    assert faults([rows[0], rows[1] | {"hash": "0" * 64}, *rows[2:]]) != []


def test_labels_that_somebody_edits_make_a_job_nobody_elses(tmp_path: Path) -> None:
    world = good(tmp_path)
    world.change("jobs", "task-1", lambda item: item["metadata"]["labels"].clear())
    assert [task_of(change.object) for change in as_made(world.changes["jobs"])] == [UID] * 3


def test_a_pod_that_somebody_took_from_its_job_is_theirs(tmp_path: Path) -> None:
    world = good(tmp_path)
    one = world.processes[0]
    assert not is_orphan(world.evidence(), one)
    world.change("pods", one.pod, lambda item: item["metadata"].pop("ownerReferences"))
    assert is_orphan(world.evidence(), one)
    assert [change.gone for change in without_orphans(world.changes["pods"])] == [False, False, True]


def test_a_job_that_somebody_took_from_its_task_is_theirs_with_its_pod_when_the_task_is_gone(tmp_path: Path) -> None:
    world = good(tmp_path)
    world.gone("tasks", "task")
    left = [line for line in nothing_is_left(world.evidence()) if "belongs to task" in line]
    assert [line.split()[1] for line in left] == ["Job", "pod"]
    world.change("jobs", "task-1", lambda item: item["metadata"].pop("ownerReferences"))
    assert [line for line in nothing_is_left(world.evidence()) if "belongs to task" in line] == []


def test_ends_are_compared_without_the_order_of_names() -> None:
    assert differences({"a": "1", "b": "2"}, {"b": "2", "a": "1"}) == []
    assert len(differences({"a": "1", "b": "2"}, {"a": "3", "c": "2"})) == 3


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    line = {"event": "start", "at": cases.at(1), "namespace": "team", "pod": "p", "uid": "u", "container": "trainer"}
    text = json.dumps(line | {"run": "u", "taskUid": UID, "attempt": 1})
    end = json.dumps(line | {"run": "u", "taskUid": UID, "attempt": 1, "event": "end", "exitCode": 3})
    journal = Journal(path)
    counts = []
    for content in (text[:9], text + "\n" + end[:5], text + "\n" + end + "\n"):
        path.write_text(content)
        counts.append([one.exit_code for one in journal.processes()])
    assert counts == [[], [None], [3]]


def test_of_the_audit_log_the_operators_calls_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    numbers = itertools.count()
    event = {
        "stage": "ResponseComplete",
        "requestURI": "/apis/x",
        "verb": "create",
        "userAgent": "collabspace-operator/1 (host_7)",
        "user": {"username": "operator"},
        "objectRef": {"resource": "jobs", "namespace": "team", "name": "a"},
        "responseStatus": {"code": 201},
        "requestReceivedTimestamp": cases.at(next(numbers)),
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }
    lines = [event, event | {"user": {"username": "other"}}, event | {"stage": "Panic"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = AuditLog(path, ["operator"])
    log.read()
    log.read()
    assert [(call.agent, call.status, call.at) for call in log.calls["team"]] == [("host_7", 201, NOW)]


def test_files_that_are_swept_away_while_they_are_looked_for_are_just_not_there(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    for name in ("first", "blobs/second"):
        (tmp_path / name).write_bytes(b"")
    found = files_below(tmp_path)
    assert next(found) == tmp_path / "first"
    shutil.rmtree(tmp_path)
    assert list(found) == []
