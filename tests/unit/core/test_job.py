"""The Job: its whole shape, and that it is read back as it was meant."""

import json
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
from core_facts import NOW, OWN, SETTINGS, digest, job_body, job_facts, reference, task, world

from collabspace.api import names
from collabspace.api.conditions import Reason
from collabspace.api.run import RUN_VARIABLE, RunDocument
from collabspace.api.task import Resources
from collabspace.core import job
from collabspace.core.admission import ADMITTED
from collabspace.core.plan import Stop
from collabspace.core.quantity import Amount
from collabspace.core.task import decide_task


def container(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(body: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(body)["env"]}


def document(body: dict[str, Any]) -> RunDocument:
    return RunDocument.model_validate_json(environment(body)[RUN_VARIABLE])


def test_the_job_is_valid_kubernetes() -> None:
    kubernetes_validate.validate(job_body(), "1.36", strict=True)


def test_one_pod_is_started_once_and_owned_by_the_task() -> None:
    body = job_body()
    assert body["metadata"]["name"] == "task-1"
    assert (
        body["metadata"]["labels"]
        == body["spec"]["template"]["metadata"]["labels"]
        == {
            names.TASK_LABEL: "task",
            names.TASK_UID_LABEL: "uid-task",
            names.ATTEMPT_LABEL: "1",
        }
    )
    owner = body["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("CollabTask", "uid-task", True)
    spec = body["spec"]
    assert (spec["backoffLimit"], spec["completions"], spec["podReplacementPolicy"]) == (0, 1, "Failed")
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert "podFailurePolicy" not in spec


def test_a_pod_with_gpus_runs_where_the_admin_says_and_others_where_they_may() -> None:
    special = job.Placement({"gpu": "H100"}, ({"key": "gpu", "operator": "Exists"},), "nvidia", "training")
    settings = replace(SETTINGS, with_gpu=special, pull_secrets=("registry",))
    run = document(job_body())
    for gpus, placed in ((1, True), (0, False)):
        asked = run.model_copy(update={"execution": run.execution.model_copy(update={"gpus": gpus})})
        body = job.build(asked, Resources(cpu="1", memory="1Gi", gpu=gpus), settings)
        kubernetes_validate.validate(body, "1.36", strict=True)
        pod = body["spec"]["template"]["spec"]
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert (pod.get("nodeSelector"), pod.get("runtimeClassName"), pod.get("priorityClassName")) == (
            ({"gpu": "H100"}, "nvidia", "training") if placed else (None, None, None)
        )
        assert ({"key": "gpu", "operator": "Exists"} in pod["tolerations"]) == placed
        assert len(pod["tolerations"]) == 2 + placed


def test_the_pod_has_no_rights_no_secret_and_only_a_short_token_for_the_broker() -> None:
    pod = job_body()["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == names.TRAINER_ACCOUNT
    assert pod["securityContext"]["runAsNonRoot"] is True
    inner = pod["containers"][0]["securityContext"]
    assert inner == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    sources = [source for volume in pod["volumes"] for source in volume.get("projected", {}).get("sources", [])]
    token = {"audience": names.BROKER_AUDIENCE, "expirationSeconds": 600, "path": "token"}
    assert sources == [{"serviceAccountToken": token}]
    assert "secret" not in json.dumps(pod).lower().replace("/var/run/secrets", "")


def test_requests_equal_limits_and_a_gpu_is_only_named_when_asked_for() -> None:
    asked = {"cpu": "2", "memory": "4Gi", names.GPU_RESOURCE: "1"}
    assert container(job_body())["resources"] == {"requests": asked, "limits": asked}
    none = container(job_body(resourcesPerNode={"cpu": "500m", "memory": "1Gi"}))["resources"]
    assert names.GPU_RESOURCE not in none["limits"]


@pytest.mark.parametrize(("cpu", "threads"), [("500m", 1), ("1", 1), ("3900m", 3), ("8", 8), ("600", 512)])
def test_threads_are_the_whole_cpus_asked_for(cpu: str, threads: int) -> None:
    body = job_body(resourcesPerNode={"cpu": cpu, "memory": "1Gi"})
    assert document(body).execution.threads == threads


def test_the_document_says_what_is_learned_from_which_version() -> None:
    run = document(job_body(seed=7, gates=[{"metric": "accuracy", "minimum": "0.8"}], budget={"cpuSeconds": 60}))
    assert run.training.parameters == {"C": "1"}
    assert [(each.owner, each.digest) for each in run.training.datasets] == [(f"{OWN}/table", digest("one"))]
    assert (run.training.seed, run.execution.gpus, run.execution.budget.cpu_seconds) == (7, 1, 60)
    assert [(gate.metric, gate.minimum) for gate in run.execution.gates] == [("accuracy", "0.8")]


def test_dollar_signs_do_not_reach_the_kubelets_expansion() -> None:
    body = job_body(parameters={"C": "1"})
    assert "$" not in environment(body)[RUN_VARIABLE]


def test_what_was_built_is_read_back_whole() -> None:
    facts = job_facts()
    assert (facts.task, facts.attempt, facts.amount) == ("task", 1, Amount(1, 2000, 4 * 2**30))
    assert not (facts.ready or facts.finished)
    assert facts.pinned == (("train", "uid-table", digest("one")),)
    assert job.document(job_body()) == document(job_body())


@pytest.mark.parametrize(
    ("status", "ready", "finished"),
    [
        ({"active": 1, "ready": 1}, True, False),
        ({"active": 1, "ready": 0}, False, False),
        ({"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "x"}]}, False, True),
        ({"conditions": [{"type": "Failed", "status": "True", "message": "m"}]}, False, True),
        ({"conditions": [{"type": "FailureTarget", "status": "True"}]}, False, False),
    ],
)
def test_the_state_of_a_job(status: dict[str, Any], ready: bool, finished: bool) -> None:
    facts = job_facts(status)
    assert (facts.ready, facts.finished) == (ready, finished)


def spoil_owner(body: dict[str, Any]) -> None:
    body["metadata"]["ownerReferences"][0]["uid"] = "other"


def spoil_controller(body: dict[str, Any]) -> None:
    body["metadata"]["ownerReferences"][0]["controller"] = False


def spoil_name(body: dict[str, Any]) -> None:
    body["metadata"]["name"] = "task-2"


def spoil_kind(body: dict[str, Any]) -> None:
    body["metadata"]["ownerReferences"][0]["kind"] = "SharedDataset"


def spoil_namespace(body: dict[str, Any]) -> None:
    body["metadata"]["namespace"] = "elsewhere"


def spoil_document(body: dict[str, Any]) -> None:
    container(body)["env"][0]["value"] = "{}"


def spoil_command(body: dict[str, Any]) -> None:
    container(body)["command"] = ["sh", "-c", "mine"]


def spoil_account(body: dict[str, Any]) -> None:
    body["spec"]["template"]["spec"]["serviceAccountName"] = "default"


def spoil_sidecar(body: dict[str, Any]) -> None:
    body["spec"]["template"]["spec"]["initContainers"] = [{"name": "x", "image": "y"}]


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_owner,
        spoil_controller,
        spoil_name,
        spoil_kind,
        spoil_namespace,
        spoil_document,
        spoil_command,
        spoil_account,
        spoil_sidecar,
    ],
)
def test_a_job_that_only_looks_like_ours_is_not_ours(spoil: Any) -> None:
    body = job_body()
    spoil(body)
    assert job.read(body) is None


def test_a_job_that_the_api_server_has_filled_with_defaults_is_still_ours() -> None:
    body = job_body()
    body["spec"]["template"]["spec"] |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    container(body)["imagePullPolicy"] = "IfNotPresent"
    assert job.read(body) is not None


def test_a_document_that_does_not_fit_is_refused_by_size() -> None:
    many = [reference(name=f"{'t' * 60}-{number}") | {"name": f"{'n' * 60}-{number}"} for number in range(16)]
    observed = task(datasets=[*many])
    plan = decide_task(observed, world(verdict=ADMITTED), NOW)
    assert plan.create is None
    assert observed.spec is not None
    big = observed.spec.model_copy(update={"gates": [], "datasets": []})
    granted = decide_task(task(), world(verdict=ADMITTED), NOW).create
    assert granted is not None
    from collabspace.api.conditions import Reason
    from collabspace.core.grants import Authorization

    pins = tuple(granted.run.training.datasets)
    with pytest.raises(job.DocumentTooLargeError, match="32768 fit"):
        job.run_document(task(), big, job.Terms(Authorization(Reason.GRANTED, "", datasets=pins), {"x": "y" * 40_000}))
    assert SETTINGS.image in json.dumps(granted.job)


def test_a_stop_is_one_patch_that_keeps_why_and_is_read_back() -> None:
    facts = job_facts()
    patch = job.halt(Stop(facts, Reason.NO_PROGRESS, "nothing moved"))
    assert patch["metadata"]["uid"] == facts.uid
    body = job_body()
    body["metadata"]["annotations"] = patch["metadata"]["annotations"]
    body["spec"] |= patch["spec"]
    stopped = job.read(body | {"status": {"conditions": [{"type": "Suspended", "status": "True"}], "terminating": 1}})
    assert stopped is not None
    assert (stopped.suspended, stopped.halted, stopped.stopping) == (True, False, 1)
    assert stopped.stop == (Reason.NO_PROGRESS, "nothing moved")
    halted = job.read(body | {"status": {"conditions": [{"type": "Suspended", "status": "True"}]}})
    assert halted is not None
    assert halted.halted


@pytest.mark.parametrize(
    "annotations",
    [None, {}, {names.STOP_REASON: "Completed"}, {names.STOP_REASON: "\u001b[31m"}, {names.STOP_REASON: "x" * 200_000}],
)
def test_annotations_that_are_not_ours_say_nothing(annotations: dict[str, str] | None) -> None:
    body = job_body()
    body["metadata"]["annotations"] = annotations
    facts = job.read(body)
    assert facts is not None
    assert facts.stop is None


def test_pods_leave_a_silent_node_after_half_a_minute() -> None:
    tolerations = job_body()["spec"]["template"]["spec"]["tolerations"]
    assert [(each["key"], each["tolerationSeconds"]) for each in tolerations] == [
        ("node.kubernetes.io/not-ready", 30),
        ("node.kubernetes.io/unreachable", 30),
    ]
