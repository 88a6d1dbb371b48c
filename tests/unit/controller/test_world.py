"""Who is woken by which change, and who holds what."""

from typing import Any

import pytest

from collabspace.api import names
from collabspace.api.conditions import Reason
from collabspace.api.run import Role, RunDataset
from collabspace.api.task import TaskSpec, TaskStatus
from collabspace.controller.early import REMEMBERED_TASKS, EarlyNews
from collabspace.controller.queue import WorkKey
from collabspace.controller.world import ADMISSION_KEY, DATASET, DRAIN, SELECTION, TASK, World
from collabspace.core import job
from collabspace.core.grants import Authorization
from collabspace.core.observed import AliasRecord, AttemptRecord, DatasetRecord, observe

A, B = "team-a", "team-b"
DIGEST = "sha256:" + "0" * 64


class Heard:
    """A world, and the keys it woke since they were last asked for."""

    def __init__(self) -> None:
        self._keys: list[WorkKey] = []
        self.world = World(self._keys.append)

    def keys(self) -> set[tuple[str, str, str]]:
        found = {tuple(key) for key in self._keys}
        self._keys.clear()
        return found  # type: ignore[return-value]


@pytest.fixture
async def heard() -> Heard:
    return Heard()


def meta(name: str, namespace: str, version: int = 1) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }


def task(name: str, namespace: str, owner: str, version: int = 1, dataset: str = "d") -> dict[str, Any]:
    reference = {"name": "x", "datasetRef": {"namespace": owner, "name": dataset}}
    spec = {"task": "Tabular", "method": "M", "datasets": [reference]}
    return {"metadata": meta(name, namespace, version), "spec": spec}


def dataset(name: str, namespace: str, grantee: str | None = None, version: int = 1) -> dict[str, Any]:
    grants = [{"name": "g", "namespace": grantee, "uses": ["Train"]}] if grantee else []
    return {"metadata": meta(name, namespace, version), "spec": {"format": "Tabular", "grants": grants}}


def namespace(name: str, version: int = 1, **annotations: str) -> dict[str, Any]:
    found = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": found | {"labels": {names.TEAM_LABEL: "true"}, "annotations": annotations}}


def job_of(raw: dict[str, Any], version: int = 5, attempt: int = 1, **status: Any) -> dict[str, Any]:
    observed = observe(raw, TaskSpec, TaskStatus)
    assert observed.spec is not None
    pinned = RunDataset(name="x", owner="o/d", uid="u", digest=DIGEST, role=Role.TRAIN)
    granted = Authorization(Reason.GRANTED, "", datasets=(pinned,))
    run = job.run_document(observed, observed.spec, job.Terms(granted, {}, attempt=attempt))
    body = job.build(run, observed.spec.resources_per_node, job.JobSettings("image", "https://b"))
    more = {"uid": "uid-job", "resourceVersion": str(version), "creationTimestamp": "2026-01-01T00:00:00Z"}
    return body | {"metadata": body["metadata"] | more, "status": status}


def pod_of(phase: str = "Succeeded") -> dict[str, Any]:
    owner = {"kind": "Job", "uid": "uid-job", "controller": True}
    return {"metadata": meta("pod", A) | {"ownerReferences": [owner]}, "spec": {}, "status": {"phase": phase}}


def test_a_dataset_wakes_exactly_the_tasks_that_name_it(heard: Heard) -> None:
    for each in (task("one", A, B), task("two", A, B, dataset="other"), task("three", B, A)):
        heard.world.tasks.apply("ADDED", each)
    heard.keys()
    heard.world.datasets.apply("ADDED", dataset("d", B))
    assert heard.keys() == {(DATASET, B, "d"), (TASK, A, "one")}
    heard.world.datasets.apply("MODIFIED", dataset("d", B, A, 2))
    assert heard.keys() == {(DATASET, B, "d"), (TASK, A, "one")}
    heard.world.datasets.apply("DELETED", dataset("d", B, A, 3))
    assert heard.keys() == {(TASK, A, "one")}


def test_a_task_that_names_another_dataset_now_is_woken_by_that_one_only(heard: Heard) -> None:
    heard.world.tasks.apply("ADDED", task("one", A, B))
    heard.world.tasks.apply("MODIFIED", task("one", A, B, 2, "other"))
    heard.keys()
    heard.world.datasets.apply("ADDED", dataset("d", B))
    assert heard.keys() == {(DATASET, B, "d")}


def test_a_namespace_wakes_its_tasks_and_the_datasets_granted_to_it(heard: Heard) -> None:
    heard.world.tasks.apply("ADDED", task("one", A, B))
    heard.world.tasks.apply("ADDED", task("two", B, B))
    heard.world.datasets.apply("ADDED", dataset("d", B, A))
    heard.keys()
    heard.world.namespaces.apply("ADDED", namespace(A))
    assert {(TASK, A, "one"), (DATASET, B, "d"), tuple(ADMISSION_KEY)} <= heard.keys()
    heard.world.namespaces.apply("MODIFIED", namespace(A, 2))
    assert heard.keys() == set()


def test_a_version_at_the_broker_wakes_dataset_and_tasks_and_a_read_only_the_dataset(heard: Heard) -> None:
    heard.world.tasks.apply("ADDED", task("one", A, B))
    heard.world.datasets.apply("ADDED", dataset("d", B))
    heard.keys()
    heard.world.tell("uid-d", DatasetRecord())
    assert heard.keys() == {(DATASET, B, "d"), (TASK, A, "one")}
    read = DatasetRecord(usage=DatasetRecord().usage.model_copy(update={"reads": 1}))
    heard.world.tell("uid-d", read)
    assert heard.keys() == {(DATASET, B, "d")}
    heard.world.tell("uid-d", read)
    assert heard.keys() == set()


def with_model(raw: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    return raw | {"spec": raw["spec"] | {"modelFrom": {"kind": kind, "namespace": A, "name": name}}}


def ended(raw: dict[str, Any], version: int) -> dict[str, Any]:
    meta = raw["metadata"] | {"resourceVersion": str(version)}
    return raw | {"metadata": meta, "status": {"reason": "Completed", "result": {"digest": DIGEST, "bytes": 1}}}


def test_a_stored_result_wakes_who_waits_for_it_even_when_we_wrote_it_ourselves(heard: Heard) -> None:
    heard.world.tasks.apply("ADDED", task("source", A, B))
    heard.world.tasks.apply("ADDED", with_model(task("waits", A, B), "CollabTask", "source"))
    heard.keys()
    with heard.world.quietly():
        heard.world.tasks.apply("MODIFIED", ended(task("source", A, B), 2))
    assert heard.keys() == {(TASK, A, "waits")}
    heard.world.tasks.apply("DELETED", ended(task("source", A, B), 3))
    assert heard.keys() == {(TASK, A, "source"), (TASK, A, "waits")}


def test_an_alias_wakes_who_starts_from_it_and_the_selection_that_may_set_it(heard: Heard) -> None:
    heard.world.namespaces.apply("ADDED", namespace(A))
    heard.world.tasks.apply("ADDED", with_model(task("waits", A, B), "Alias", "best"))
    heard.world.selections.apply("ADDED", selection("sel", A, "best"))
    heard.keys()
    record = AliasRecord(f"uid-{A}", "uid", "task", DIGEST)
    heard.world.tell_alias((A, "best"), record)
    assert heard.keys() == {(TASK, A, "waits"), (SELECTION, A, "sel")}
    heard.world.tell_alias((A, "best"), record)
    assert heard.keys() == set()
    assert heard.world.alias((A, "best")) == record
    heard.world.tell_alias((A, "best"), AliasRecord("uid-of-the-past", "uid", "task", DIGEST))
    assert heard.world.alias((A, "best")) is None


def selection(name: str, namespace: str, alias: str) -> dict[str, Any]:
    spec = task(name, namespace, B)["spec"]
    del spec["method"]
    more = {"objective": {"metric": "accuracy"}, "candidates": [{"name": "c", "method": "M"}]}
    return {"metadata": meta(name, namespace), "spec": spec | more | {"promotion": {"alias": alias}}}


def test_a_child_wakes_its_selection_by_whatever_happens_to_it(heard: Heard) -> None:
    owner = {"apiVersion": names.API_VERSION, "kind": "ModelSelection", "name": "sel", "uid": "u", "controller": True}
    child = task("child", A, B)
    child["metadata"]["ownerReferences"] = [owner]
    heard.world.tasks.apply("ADDED", child)
    assert heard.keys() == {(TASK, A, "child"), (SELECTION, A, "sel")}
    with heard.world.quietly():
        heard.world.tasks.apply("MODIFIED", ended(child, 2))
    assert heard.keys() == {(SELECTION, A, "sel")}
    heard.world.tasks.apply("DELETED", ended(child, 3))
    assert heard.keys() == {(TASK, A, "child"), (SELECTION, A, "sel")}


def test_an_attempt_wakes_its_task(heard: Heard) -> None:
    heard.world.tasks.apply("ADDED", task("one", A, B))
    heard.keys()
    heard.world.tell_attempt("uid-one", 1, AttemptRecord(result_digest=DIGEST), 0)
    assert heard.keys() == {(TASK, A, "one")}
    heard.world.tell_attempt("uid-stranger", 1, AttemptRecord(), 0)
    assert heard.keys() == set()


def test_what_the_broker_tells_of_a_task_before_the_api_server_does_is_not_lost(heard: Heard) -> None:
    heard.world.tell_attempt("uid-one", 1, AttemptRecord(), 0)
    heard.world.tell_attempt("uid-one", 1, AttemptRecord(result_digest=DIGEST), 0)
    heard.world.tasks.apply("ADDED", task("one", A, B))
    assert heard.keys() == {(TASK, A, "one")}
    assert heard.world.attempt_of("uid-one", 1) == AttemptRecord(result_digest=DIGEST)


def test_early_news_of_many_tasks_crowds_out_the_oldest_alone() -> None:
    news = EarlyNews()
    for number in range(REMEMBERED_TASKS + 1):
        news.keep(f"uid-{number}", 1, AttemptRecord())
    assert news.take("uid-0") == {}
    assert news.take(f"uid-{REMEMBERED_TASKS}") == {1: AttemptRecord()}


def test_our_own_write_is_known_at_once_and_wakes_nobody(heard: Heard) -> None:
    heard.world.tasks.apply("ADDED", task("one", A, B))
    heard.keys()
    with heard.world.quietly():
        heard.world.tasks.apply("MODIFIED", task("one", A, B, 2) | {"status": {"reason": "Training"}})
    heard.world.tasks.apply("MODIFIED", task("one", A, B, 2) | {"status": {"reason": "Training"}})
    assert heard.keys() == set()
    known = heard.world.task((A, "one"))
    assert known is not None
    assert known.status.reason == "Training"


def test_a_job_holds_until_its_pod_has_ended(heard: Heard) -> None:
    raw = task("one", A, B)
    heard.world.tasks.apply("ADDED", raw)
    heard.world.jobs.apply("ADDED", job_of(raw))
    assert heard.world.holdings.attempt("uid-one")
    heard.keys()
    heard.world.pods.apply("ADDED", pod_of())
    assert not heard.world.holdings.attempt("uid-one")
    assert heard.keys() == {tuple(ADMISSION_KEY), (TASK, A, "one")}
    heard.world.jobs.apply("MODIFIED", job_of(raw, 6, active=1))
    assert not heard.world.holdings.attempt("uid-one")


def test_a_pod_that_is_seen_before_its_job_counts_too(heard: Heard) -> None:
    raw = task("one", A, B)
    heard.world.pods.apply("ADDED", pod_of())
    heard.world.jobs.apply("ADDED", job_of(raw))
    assert not heard.world.holdings.attempt("uid-one")


def test_a_finished_job_holds_nothing(heard: Heard) -> None:
    raw = task("one", A, B)
    heard.world.jobs.apply("ADDED", job_of(raw, conditions=[{"type": "Failed", "status": "True"}]))
    assert not heard.world.holdings.attempt("uid-one")


def test_a_deleted_job_holds_until_its_pod_is_known_to_be_gone(heard: Heard) -> None:
    raw = task("one", A, B)
    heard.world.tasks.apply("ADDED", raw)
    heard.world.jobs.apply("ADDED", job_of(raw))
    heard.keys()
    heard.world.jobs.apply("DELETED", job_of(raw, 6))
    assert heard.keys() == {(DRAIN, A, "uid-one.1"), (TASK, A, "one")}
    assert heard.world.holdings.attempt("uid-one")
    assert heard.world.job_of("uid-one") is not None


def test_a_deleted_task_is_forgotten_whole(heard: Heard) -> None:
    raw = task("one", A, B)
    heard.world.tasks.apply("ADDED", raw)
    heard.world.jobs.apply("ADDED", job_of(raw))
    heard.world.pods.apply("ADDED", pod_of())
    heard.world.tell_attempt("uid-one", 1, AttemptRecord(), 0)
    heard.world.tasks.apply("DELETED", raw)
    heard.world.jobs.apply("DELETED", job_of(raw, 6))
    world = heard.world
    assert world.job_of("uid-one") is None
    assert not (world.attempts or world._jobs_by_task or world._pods_by_job or world._task_of_job)
    assert not (world._users._members or world._members._members or world.tasks_by_uid)


def test_a_reservation_without_a_job_goes_with_its_task(heard: Heard) -> None:
    raw = task("one", A, B)
    heard.world.tasks.apply("ADDED", raw)
    heard.world.holdings.hold("uid-one", 1, A, job.ask(observe(raw, TaskSpec, TaskStatus).spec.resources_per_node))  # type: ignore[union-attr]
    heard.world.tasks.apply("DELETED", raw)
    assert not heard.world.holdings.attempt("uid-one")


def test_before_the_broker_was_heard_the_status_says_the_versions_and_afterwards_the_broker_alone(heard: Heard) -> None:
    version = {"digest": DIGEST, "createdTime": "2026-01-01T00:00:00Z", "records": 1, "bytes": 1, "files": 1}
    body = dataset("d", B) | {"status": {"versions": [version]}}
    heard.world.datasets.apply("ADDED", body)
    known = heard.world.dataset((B, "d"))
    assert known is not None
    assert [each.digest for each in known.versions] == [DIGEST]
    heard.world.broker_read = True
    told = heard.world.dataset((B, "d"))
    assert told is not None
    assert told.versions == ()


@pytest.mark.parametrize(
    "body",
    [
        {"status": {}},
        {"status": {"allocatable": {"cpu": "many"}}},
        {"status": {"allocatable": {"cpu": "1", "memory": "1Gi"}, "conditions": "no"}},
    ],
)
def test_a_node_that_cannot_be_read_offers_nothing(heard: Heard, body: dict[str, Any]) -> None:
    heard.world.nodes.apply("ADDED", {"metadata": meta("node", "")} | body)
    assert list(heard.world.nodes.values()) == []


def test_what_nodes_offer_follows_them(heard: Heard) -> None:
    def node(name: str, cpus: int, version: int) -> dict[str, Any]:
        return {
            "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)},
            "status": {"allocatable": {"cpu": str(cpus), "memory": "1Gi"}, "conditions": []},
        }

    def offered() -> list[int]:
        return sorted(each.cpu_millis for each in heard.world.offers)

    nodes, seen = heard.world.nodes, []
    for kind, raw in (
        ("ADDED", node("a", 1, 1)),
        ("ADDED", node("b", 2, 2)),
        ("ADDED", node("c", 2, 3)),
        ("MODIFIED", node("a", 4, 4)),
        ("DELETED", node("b", 2, 5)),
        ("DELETED", node("c", 2, 6)),
    ):
        nodes.apply(kind, raw)
        seen.append(offered())
    assert seen == [[1000], [1000, 2000], [1000, 2000], [2000, 4000], [2000, 4000], [4000]]
