"""The Job of one attempt, built and read back. Its run document is the record of what was admitted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from collabspace.api import names
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
from collabspace.core.observed import JobFacts, ObservedTask

WORK = "/work"
TOKEN_FOLDER = "/var/run/secrets/collabspace.io/broker"
TOKEN_SECONDS = 600
GRACE_SECONDS = 60
KIND = "CollabTask"
# Under this name the version of the weights stands among the pinned ones; no dataset can have it.
MODEL = "modelFrom"
COMMAND = ["collabspace-trainer", "train"]


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the admin decides about trainer pods."""

    image: str
    broker_url: str


class DocumentTooLargeError(Exception):
    """The run document is larger than an environment variable may be."""


def run_document(
    task: ObservedTask,
    spec: TaskSpec,
    granted: Authorization,
    parameters: Mapping[str, Scalar],
    random_init: bool,
    attempt: int = 1,
) -> RunDocument:
    """All that the trainer is told, with the versions that `granted` pins. Raises DocumentTooLargeError."""
    amount = ask(spec.resources_per_node)
    document = RunDocument(
        task=TaskReference(namespace=task.meta.namespace, name=task.meta.name, uid=task.meta.uid),
        training=Training(
            task=spec.task,
            method=spec.method,
            seed=spec.seed,
            parameters=dict(parameters),
            datasets=list(granted.datasets),
            initial_model=granted.initial_model,
            random_init=random_init,
        ),
        execution=Execution(
            attempt=attempt,
            threads=min(512, max(1, amount.cpu_millis // 1000)),
            gpus=amount.gpus,
            budget=Budget(
                cpu_seconds=spec.budget.cpu_seconds if spec.budget else None,
                gpu_seconds=spec.budget.gpu_seconds if spec.budget else None,
            ),
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
    return {
        "restartPolicy": "Never",
        "serviceAccountName": names.TRAINER_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
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
        return _facts(meta, raw.get("status") or {}, run, amount) if agreed else None
    except (KeyError, IndexError, TypeError, StopIteration, ValueError, AttributeError):
        return None


def document(raw: Mapping[str, Any]) -> RunDocument:
    """The run document of a Job. Raises KeyError, TypeError, StopIteration or ValueError when it has none."""
    (container,) = raw["spec"]["template"]["spec"]["containers"]
    text = next(each["value"] for each in container["env"] if each["name"] == RUN_VARIABLE)
    return RunDocument.model_validate_json(text)


def _facts(meta: Mapping[str, Any], status: Mapping[str, Any], run: RunDocument, amount: quantity.Amount) -> JobFacts:
    ended = {each["type"]: each for each in status.get("conditions") or () if each.get("status") == "True"}
    end = ended.get("Complete") or ended.get("Failed")
    pinned = [(each.name, each.digest) for each in run.training.datasets]
    if run.training.initial_model is not None:
        pinned.append((MODEL, run.training.initial_model.digest))
    return JobFacts(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        task=run.task.name,
        task_uid=run.task.uid,
        attempt=run.execution.attempt,
        pinned=tuple(pinned),
        amount=amount,
        created=meta["creationTimestamp"],
        ready=bool(status.get("ready")),
        finished=end is not None,
        finished_time=end.get("lastTransitionTime") if end is not None else None,
        failure=str(end.get("message") or "")[:512] if end is not None and end["type"] == "Failed" else "",
    )
