"""The Job of one attempt, built and read back. Its run document is the record of what was admitted."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collabspace.api import names
from collabspace.api.conditions import Reason
from collabspace.api.run import (
    BROKER_CA_VARIABLE,
    BROKER_URL_VARIABLE,
    MAX_RUN_BYTES,
    RUN_VARIABLE,
    TERMINATION_LOG,
    TERMINATION_LOG_VARIABLE,
    TOKEN_FILE_VARIABLE,
    Budget,
    Execution,
    Gate,
    RunDocument,
    Scalar,
    TaskReference,
    Training,
)
from collabspace.api.task import Resources, TaskSpec
from collabspace.core import quantity
from collabspace.core.grants import Authorization
from collabspace.core.observed import MODEL, JobFacts, ObservedTask
from collabspace.core.plan import Stop

WORK = "/work"
TOKEN_FOLDER = "/var/run/secrets/collabspace.io/broker"
TOKEN_SECONDS = 600
GRACE_SECONDS = 60
# How long a pod outlives the silence of its node.
NODE_SECONDS = 30
AWAY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
# Why a Job may be suspended; an annotation that says anything else is nobody's.
STOPS = frozenset(
    {Reason.SUSPENDED, Reason.DEADLINE_EXCEEDED, Reason.ACCESS_REVOKED, Reason.NO_PROGRESS, Reason.BUDGET_SPENT}
)
KIND = "CollabTask"
COMMAND = ["collabspace-trainer", "train"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where pods of one kind run, in the fields of a pod's spec; empty: as the cluster has it."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    runtime_class_name: str = ""
    priority_class_name: str = ""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the admin decides about trainer pods: with and without GPUs they may run on other nodes."""

    image: str
    broker_url: str
    pull_secrets: tuple[str, ...] = ()
    with_gpu: Placement = Placement()
    without_gpu: Placement = Placement()


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms one attempt runs: its data with pinned versions, its size, and what is left of time and budget."""

    granted: Authorization
    parameters: Mapping[str, Scalar]
    random_init: bool = False
    attempt: int = 1
    memory: str | None = None
    micro_batch: int | None = None
    deadline: str | None = None
    budget: Budget = field(default_factory=Budget)


class DocumentTooLargeError(Exception):
    """The run document is larger than an environment variable may be."""


def run_document(task: ObservedTask, spec: TaskSpec, terms: Terms) -> RunDocument:
    """All that the trainer is told. Raises DocumentTooLargeError."""
    amount = ask(spec.resources_per_node)
    document = RunDocument(
        task=TaskReference(namespace=task.meta.namespace, name=task.meta.name, uid=task.meta.uid),
        training=Training(
            task=spec.task,
            method=spec.method,
            seed=spec.seed,
            parameters=dict(terms.parameters),
            datasets=list(terms.granted.datasets),
            initial_model=terms.granted.initial_model,
            results=list(terms.granted.results),
            random_init=terms.random_init,
        ),
        execution=Execution(
            attempt=terms.attempt,
            threads=min(512, max(1, amount.cpu_millis // 1000)),
            gpus=amount.gpus,
            micro_batch_size=terms.micro_batch,
            deadline=terms.deadline,
            budget=terms.budget,
            gates=[Gate(metric=gate.metric, minimum=gate.minimum) for gate in spec.gates],
        ),
    )
    size = len(document.to_environment().encode())
    if size > MAX_RUN_BYTES:
        raise DocumentTooLargeError(
            f"spec: the run document would have {size} bytes, {MAX_RUN_BYTES} fit; use fewer datasets or parameters"
        )
    return document


def ask(resources: Resources) -> quantity.Amount:
    """What the pod of a task needs. Raises ValueError for a quantity that is none."""
    return quantity.amount(cpu=resources.cpu, memory=resources.memory, gpu=resources.gpu)


def resources(spec: TaskSpec, terms: Terms) -> Resources:
    """What the pod of this attempt gets."""
    asked = spec.resources_per_node
    return asked.model_copy(update={"memory": terms.memory or asked.memory})


def build(run: RunDocument, resources: Resources, settings: JobSettings) -> dict[str, Any]:
    """The Job: one pod, started once, under the trainer's account, without rights or secrets."""
    task, attempt = run.task, run.execution.attempt
    labels = {names.TASK_LABEL: task.name, names.TASK_UID_LABEL: task.uid, names.ATTEMPT_LABEL: str(attempt)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.job_name(task.name, attempt),
            "namespace": task.namespace,
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": KIND,
                    "name": task.name,
                    "uid": task.uid,
                    "controller": True,
                }
            ],
        },
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "template": {"metadata": {"labels": labels}, "spec": _pod(run, resources, settings)},
        },
    }


def _pod(run: RunDocument, resources: Resources, settings: JobSettings) -> dict[str, Any]:
    placement = settings.with_gpu if run.execution.gpus else settings.without_gpu
    placed = {
        "nodeSelector": dict(placement.node_selector),
        "runtimeClassName": placement.runtime_class_name,
        "priorityClassName": placement.priority_class_name,
        "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
    }
    return {key: value for key, value in placed.items() if value} | {
        "restartPolicy": "Never",
        "serviceAccountName": names.TRAINER_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "tolerations": [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_SECONDS} for key in AWAY
        ]
        + [dict(each) for each in placement.tolerations],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(run, resources, settings)],
        "volumes": [
            {"name": "work", "emptyDir": {}},
            {
                "name": "broker-token",
                "projected": {
                    "sources": [
                        {
                            "serviceAccountToken": {
                                "audience": names.BROKER_AUDIENCE,
                                "expirationSeconds": TOKEN_SECONDS,
                                "path": "token",
                            }
                        }
                    ]
                },
            },
        ],
    }


def _container(run: RunDocument, resources: Resources, settings: JobSettings) -> dict[str, Any]:
    amounts = {"cpu": resources.cpu, "memory": resources.memory}
    if run.execution.gpus:
        amounts[names.GPU_RESOURCE] = resources.gpu
    authority = {"configMapKeyRef": {"name": names.BROKER_CONFIG_MAP, "key": names.BROKER_CA_KEY}}
    return {
        "name": names.TRAINER_CONTAINER,
        "image": settings.image,
        "command": COMMAND,
        "env": [
            {"name": RUN_VARIABLE, "value": run.to_environment()},
            {"name": BROKER_URL_VARIABLE, "value": settings.broker_url},
            {"name": BROKER_CA_VARIABLE, "valueFrom": authority},
            {"name": TOKEN_FILE_VARIABLE, "value": f"{TOKEN_FOLDER}/token"},
            {"name": TERMINATION_LOG_VARIABLE, "value": TERMINATION_LOG},
            {"name": "HOME", "value": WORK},
            {"name": "TMPDIR", "value": WORK},
            {"name": "HF_HOME", "value": f"{WORK}/huggingface"},
        ],
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "work", "mountPath": WORK},
            {"name": "broker-token", "mountPath": TOKEN_FOLDER, "readOnly": True},
        ],
    }


def halt(stop: Stop) -> dict[str, Any]:
    """The merge patch by which a Job stops its pod and keeps why. It fits no other Job of the same name."""
    notes = {names.STOP_REASON: stop.reason.value, names.STOP_MESSAGE: stop.message}
    return {"metadata": {"uid": stop.job.uid, "annotations": notes}, "spec": {"suspend": True}}


def read(raw: Mapping[str, Any]) -> JobFacts | None:
    """The facts of a Job that is ours by all signs: owner, name, run document and program. None: it is not ours."""
    try:
        meta = raw["metadata"]
        owner = next(each for each in meta.get("ownerReferences") or () if each.get("controller"))
        pod = raw["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        run = document(raw)
        limits = container["resources"]["limits"]
        amount = quantity.amount(cpu=limits["cpu"], memory=limits["memory"], gpu=limits.get(names.GPU_RESOURCE, "0"))
        agreed = (
            owner["kind"] == KIND
            and owner["apiVersion"] == names.API_VERSION
            and (owner["uid"], owner["name"]) == (run.task.uid, run.task.name)
            and meta["namespace"] == run.task.namespace
            and meta["name"] == names.job_name(run.task.name, run.execution.attempt)
            and container["command"] == COMMAND
            and pod["serviceAccountName"] == names.TRAINER_ACCOUNT
            and not pod.get("initContainers")
        )
        return _facts(raw, run, amount, limits["memory"]) if agreed else None
    except (KeyError, IndexError, TypeError, StopIteration, ValueError, AttributeError):
        return None


def document(raw: Mapping[str, Any]) -> RunDocument:
    """The run document of a Job. Raises KeyError, TypeError, StopIteration or ValueError when it has none."""
    (container,) = raw["spec"]["template"]["spec"]["containers"]
    text = next(each["value"] for each in container["env"] if each["name"] == RUN_VARIABLE)
    return _parsed(text)


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> RunDocument:
    """A Job is told of half a dozen times in its life, and always with the same document."""
    return RunDocument.model_validate_json(text)


def _facts(raw: Mapping[str, Any], run: RunDocument, amount: quantity.Amount, memory: str) -> JobFacts:
    meta, status = raw["metadata"], raw.get("status") or {}
    held = {each["type"]: each for each in status.get("conditions") or () if each.get("status") == "True"}
    end = held.get("Complete") or held.get("Failed")
    pinned = [(each.name, each.uid, each.digest) for each in run.training.datasets]
    if run.training.initial_model is not None:
        pinned.append((MODEL, run.training.initial_model.uid, run.training.initial_model.digest))
    stopping = int(status.get("terminating") or 0)
    return JobFacts(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        task=run.task.name,
        task_uid=run.task.uid,
        attempt=run.execution.attempt,
        pinned=tuple(pinned),
        amount=amount,
        memory=memory,
        micro_batch=run.execution.micro_batch_size,
        created=meta["creationTimestamp"],
        ready=bool(status.get("ready")),
        finished=end is not None,
        finished_time=end.get("lastTransitionTime") if end is not None else None,
        failure=str(end.get("message") or "")[:512] if end is not None and end["type"] == "Failed" else "",
        suspended=raw["spec"].get("suspend") is True,
        halted="Suspended" in held and not stopping and not status.get("active"),
        stopping=stopping,
        stop=_stop(meta.get("annotations") or {}),
    )


def _stop(annotations: Mapping[str, Any]) -> tuple[Reason, str] | None:
    known = next((each for each in STOPS if each.value == annotations.get(names.STOP_REASON)), None)
    return (known, str(annotations.get(names.STOP_MESSAGE) or "")[:512]) if known is not None else None
