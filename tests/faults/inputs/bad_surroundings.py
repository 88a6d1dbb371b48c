"""Bad Jobs, pods and namespaces: what the operator reads that is not of our kinds."""

from typing import Any

from bad_input import DROP, JOB, NAMESPACE, OK, POD, Case, Change

from collabspace.api import names
from collabspace.api.run import RUN_VARIABLE

CONTAINER = "spec/template/spec/containers/0"
DOCUMENT = f"{CONTAINER}/env/0"
OWNER = "metadata/ownerReferences/0"
CONFLICT = "NameConflict"
STARTED = (
    "Starting",
    "Training",
    "Confirming",
    "Stopping",
    "PodsPending",
    "RetryBackoff",
    "AccessRevoked",
    "UserError",
)


def _job(name: str, change: Change) -> Case:
    return Case(f"children.job-{name}", JOB, change, "", (CONFLICT, *STARTED), running=True)


def _pod(name: str, change: Change) -> Case:
    return Case(f"children.pod-{name}", POD, change, "", STARTED, running=True)


def _label(label: str) -> str:
    return "metadata/labels/" + label.replace("/", "~")


def _annotation(name: str) -> str:
    return "metadata/annotations/" + name.replace("/", "~")


JOBS = (
    _job("no-owner", {"metadata/ownerReferences": DROP}),
    _job("owner-other-uid", {f"{OWNER}/uid": "00000000-0000-0000-0000-000000000001"}),
    _job("owner-other-name", {f"{OWNER}/name": "other"}),
    _job("owner-other-kind", {f"{OWNER}/kind": "ModelSelection"}),
    _job("owner-no-controller", {f"{OWNER}/controller": False}),
    _job("no-labels", {"metadata/labels": DROP}),
    _job("label-uid-other", {_label(names.TASK_UID_LABEL): "x"}),
    _job("label-uid-gone", {_label(names.TASK_UID_LABEL): DROP}),
    _job("label-attempt-a-word", {_label(names.ATTEMPT_LABEL): "first"}),
    _job("label-task-other", {_label(names.TASK_LABEL): "other"}),
    _job("selector-other", {"spec/selector": {"matchLabels": {"a": "b"}}}),
    _job("template-labels-gone", {"spec/template/metadata/labels": DROP}),
    _job("document-gone", {DOCUMENT: {"name": RUN_VARIABLE}}),
    _job("document-no-json", {f"{DOCUMENT}/value": "{"}),
    _job("document-a-list", {f"{DOCUMENT}/value": "[]"}),
    _job("document-of-nothing", {f"{DOCUMENT}/value": "{}"}),
    _job("document-nested", {f"{DOCUMENT}/value": "[" * 5000}),
    _job("document-huge", {f"{DOCUMENT}/value": '{"a": "' + "x" * 500_000 + '"}'}),
    _job("no-environment", {f"{CONTAINER}/env": DROP}),
    _job("no-containers", {"spec/template/spec/containers": []}),
    _job("two-containers", {"spec/template/spec/containers/+": {"name": "b", "image": "b"}}),
    _job("init-container", {"spec/template/spec/initContainers": [{"name": "i", "image": "i"}]}),
    _job("no-limits", {f"{CONTAINER}/resources": DROP}),
    _job("limits-huge", {f"{CONTAINER}/resources/limits/cpu": "1000000000000E"}),
    _job("limits-odd", {f"{CONTAINER}/resources/limits/memory": "1n"}),
    _job("other-command", {f"{CONTAINER}/command": ["sh"]}),
    _job("other-account", {"spec/template/spec/serviceAccountName": "default"}),
    _job("suspended", {"spec/suspend": True}),
    _job("stop-forged", {_annotation(names.STOP_REASON): "Because", _annotation(names.STOP_MESSAGE): "\x1b[31m" * 99}),
    _job("stop-of-ours", {"spec/suspend": True, _annotation(names.STOP_REASON): "AccessRevoked"}),
    _job("created-never", {"metadata/creationTimestamp": None}),
    _job("finalizer", {"metadata/finalizers": ["example.com/never"]}),
    _job("conditions-odd", {"status/conditions": [{"type": "", "status": ""}, {"type": "Failed", "status": "Maybe"}]}),
    _job("failed-forged", {"status/conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": None}]}),
    _job("counts-odd", {"status/active": -5, "status/terminating": 2**31 - 1, "status/ready": -1}),
    _job("parallelism-50", {"spec/parallelism": 2, "spec/completions": 2}),
)


def _ended(**fields: Any) -> Change:
    state = {"terminated": {"exitCode": 0, "reason": "Completed"} | fields}
    status = {"name": names.TRAINER_CONTAINER, "image": "x", "imageID": "x", "ready": False, "restartCount": 0}
    return {"status/phase": "Succeeded", "status/containerStatuses": [status | {"state": state}]}


PODS = (
    _pod("no-labels", {"metadata/labels": DROP}),
    _pod("label-attempt-odd", {_label(names.ATTEMPT_LABEL): "zero"}),
    _pod("label-uid-other", {_label(names.TASK_UID_LABEL): "other"}),
    _pod("no-owner", {"metadata/ownerReferences": DROP}),
    _pod("owner-other-kind", {f"{OWNER}/kind": "ReplicaSet"}),
    _pod("ended-without-a-state", {"status/phase": "Succeeded"}),
    _pod("ended-without-statuses", {"status/phase": "Failed", "status/containerStatuses": []}),
    _pod("ended-with-no-json", _ended(message="{")),
    _pod("ended-with-nested-json", _ended(message="[" * 3000)),
    _pod("ended-with-escapes", _ended(exitCode=1, message='{"code": 1, "reason": "X", "message": "\\u001b[31m"}')),
    _pod("ended-with-a-huge-number", _ended(message='{"code": 0, "reason": "Done", "bytes": 1' + "0" * 500 + "}")),
    _pod("ended-with-infinite-metrics", _ended(exitCode=1, message='{"code": 1, "reason": "X", "step": Infinity}')),
    _pod("ended-by-code-minus-1", _ended(exitCode=-1)),
    _pod("ended-by-code-2-to-31", _ended(exitCode=2**31 - 1)),
    _pod("ended-in-the-year-9999", _ended(exitCode=51, finishedAt="9999-12-31T23:59:59Z")),
    _pod("ended-with-a-forged-result", _ended(message='{"code": 0, "reason": "Completed", "digest": "sha256:1"}')),
    _pod("phase-unknown", {"status/phase": "Unknown"}),
    _pod("phase-of-nothing", {"status/phase": "Dancing"}),
)


def _team(name: str, annotation: str, value: str, *ends: str, refused: str = "") -> Case:
    return Case(
        f"teams.{name}", NAMESPACE, {_annotation(annotation): value}, refused or annotation, ends or ("TeamNotReady",)
    )


TEAMS = (
    _team("gpus-many", names.GPU_QUOTA, "many"),
    _team("gpus-negative", names.GPU_QUOTA, "-1"),
    _team("gpus-fraction", names.GPU_QUOTA, "1.5"),
    _team("gpus-empty", names.GPU_QUOTA, ""),
    _team("gpus-7-digits", names.GPU_QUOTA, "1000000"),
    _team("gpus-newline", names.GPU_QUOTA, "4\n"),
    _team("gpus-arabic", names.GPU_QUOTA, "٤"),
    _team("gpus-200-kB", names.GPU_QUOTA, "9" * 200_000),
    _team("cpus-a-word", names.CPU_QUOTA, "all"),
    _team("cpus-exponent", names.CPU_QUOTA, "1e3"),
    _team("cpus-unit", names.CPU_QUOTA, "500m"),
    _team("unknown-setting", f"{names.GROUP}/gpus", "4", "Suspended", "TeamNotReady", OK),
    Case("teams.label-a-word", NAMESPACE, {_label(names.TEAM_LABEL): "yes"}, names.TEAM_LABEL, ("TeamNotReady",)),
)

SURROUNDINGS = (*JOBS, *PODS, *TEAMS)
