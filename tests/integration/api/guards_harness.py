"""A team with a trainer at work, and the people around it: each acts through kubectl with a credential of their own."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from collabspace.api import names
from collabspace.api.run import Execution, Role, RunDataset, RunDocument, TaskReference, Training
from collabspace.api.task import Resources
from collabspace.cli import team_objects
from collabspace.core import job
from collabspace.local import installation
from collabspace.local.cluster import LocalCluster
from collabspace.local.errors import LocalClusterError

Object = dict[str, Any]
OPERATOR = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{names.OPERATOR_ACCOUNT}"
OPERATOR_GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{names.SYSTEM_NAMESPACE}", "system:authenticated")
TASK = "ner"


@dataclass(frozen=True)
class Caller:
    """Somebody with a kubeconfig, and the namespace they work in."""

    cluster: LocalCluster
    kubeconfig: Path
    namespace: str

    def did(self, *words: str, given: Object | None = None) -> str:
        """What kubectl printed; fails when it was refused."""
        arguments = [f"--namespace={self.namespace}", *words]
        return installation.run(self.cluster.kubectl, self.kubeconfig, arguments, [given] if given else [])

    def got(self, *words: str) -> Any:
        return json.loads(self.did("get", *words, "--output=json"))

    def refused(self, *words: str, given: Object | None = None) -> str:
        """What kubectl said when it was refused; fails when it was not."""
        with pytest.raises(LocalClusterError) as refusal:
            self.did(*words, given=given)
        return str(refusal.value)

    def may(self, verb: str, group: str, resource: str) -> bool:
        """What RBAC says; policies have no part in it."""
        resource, _, part = resource.partition("/")
        asked = {"namespace": self.namespace, "verb": verb, "group": group, "resource": resource, "subresource": part}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        return bool(self.reviewed(body)["status"]["allowed"])

    def reviewed(self, body: Object) -> Any:
        """A review of the caller, answered."""
        return json.loads(self.did("create", "-f", "-", "--validate=false", "--output=json", given=body))

    def made(self, body: Object) -> None:
        self.did("create", "-f", "-", given=body)

    def cannot_make(self, body: Object) -> str:
        return self.refused("create", "-f", "-", given=body)


@dataclass(frozen=True)
class Team:
    """`ann` has the built-in role edit in it, `boss` the built-in role admin."""

    name: str
    admin: Caller
    ann: Caller
    boss: Caller
    operator: Caller

    @classmethod
    def make(cls, cluster: LocalCluster, name: str) -> "Team":
        team = cls(
            name,
            admin=Caller(cluster, cluster.kubeconfig, name),
            ann=Caller(cluster, cluster.user(f"ann-{name}", namespace=name), name),
            boss=Caller(cluster, cluster.user(f"boss-{name}", namespace=name), name),
            operator=Caller(cluster, cluster.user(OPERATOR, OPERATOR_GROUPS), name),
        )
        broker = {names.BROKER_URL_KEY: "https://broker", names.BROKER_CA_KEY: "-"}
        team.admin.made(team_objects.namespace(name, {names.GPU_QUOTA: "1"}, labelled=True))
        for _, item in [*team_objects.contents(name, broker), *team_objects.members(name, [f"ann-{name}"])]:
            team.admin.made(item)
        team.admin.did("create", "rolebinding", "boss", "--clusterrole=admin", f"--user=boss-{name}")
        # Kubernetes removes what an owner that is not there left behind.
        team.ann.made(task_body(TASK))
        return team

    def trainer(self, attempt: int = 1) -> str:
        """The operator starts an attempt; the name of the pod that the Job controller made, said to run."""
        self.operator.made(self.job(attempt))
        name = names.job_name(TASK, attempt)
        self.admin.did("wait", f"job/{name}", "--for=jsonpath={.status.active}=1", "--timeout=30s")
        (pod,) = self.admin.got("pods", f"--selector=job-name={name}")["items"]
        running = json.dumps({"status": {"phase": "Running"}})
        self.admin.did("patch", "pod", pod["metadata"]["name"], "--subresource=status", f"--patch={running}")
        return str(pod["metadata"]["name"])

    def job(self, attempt: int = 1) -> Object:
        """As the operator builds it."""
        uid = self.ann.got("collabtask", TASK)["metadata"]["uid"]
        dataset = RunDataset(name="train", owner="other/table", uid="d", digest="sha256:" + "0" * 64, role=Role.TRAIN)
        run = RunDocument(
            task=TaskReference(namespace=self.name, name=TASK, uid=uid),
            training=Training(task="Tabular", method="LogisticRegression", seed=0, parameters={}, datasets=[dataset]),
            execution=Execution(attempt=attempt),
        )
        return job.build(run, Resources(), job.JobSettings(names.TRAINER_IMAGE, "https://broker"))


def pod_body(name: str, account: str = "default", **metadata: Any) -> Object:
    """Fit for the strictest Pod Security level, so that nothing else refuses it."""
    container = {
        "name": names.TRAINER_CONTAINER,
        "image": "mine",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **metadata},
        "spec": {
            "serviceAccountName": account,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }


def job_body(name: str, pod: Object, **metadata: Any) -> Object:
    """A Job, not started, that would run this pod."""
    template = {"metadata": {"labels": pod["metadata"].get("labels", {})}, "spec": pod["spec"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, **metadata},
        "spec": {"suspend": True, "template": template},
    }


def task_body(name: str, **metadata: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "CollabTask",
        "metadata": {"name": name, **metadata},
        "spec": {
            "task": "Tabular",
            "method": "LogisticRegression",
            "datasets": [{"name": "train", "datasetRef": {"namespace": "other", "name": "table"}}],
        },
    }
