"""What a member with the built-in role edit tries in a namespace that holds a grant, and what the API server says.

Each refusal names what is wrong and the way that is open. What the platform itself does is not refused.
"""

import json
from dataclasses import replace
from typing import Any

import pytest
from guards_harness import OPERATOR, TASK, Object, Team, job_body, pod_body, task_body

from collabspace.api import names
from collabspace.core.job import KIND

AUDIENCE = f"--audience={names.BROKER_AUDIENCE}"
LABELS = {names.TASK_LABEL: TASK, names.TASK_UID_LABEL: "u", names.ATTEMPT_LABEL: "2"}
OWNER = [{"apiVersion": names.API_VERSION, "kind": KIND, "name": TASK, "uid": "u", "controller": True}]
TRAINER_JOB = names.job_name(TASK, 1)


def as_account(team: Team, account: str) -> str:
    return f"--as=system:serviceaccount:{team.name}:{account}"


# Tokens


def test_nobody_but_a_kubelet_mints_the_trainers_token(team: Team, trainer: str) -> None:
    for caller in (team.ann, team.boss, team.admin):
        said = caller.refused("create", "token", names.TRAINER_ACCOUNT, AUDIENCE)
        assert "are made for kubelets alone" in said and "kubectl collab pull" in said
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={trainer}")
    assert "for kubelets alone" in team.ann.refused("create", "token", names.TRAINER_ACCOUNT, AUDIENCE, *bound)


def test_acting_as_the_trainers_account_opens_nothing(team: Team) -> None:
    """Role edit may impersonate every account of its namespace: Kubernetes has it so."""
    words = ("create", "token", names.TRAINER_ACCOUNT, AUDIENCE, as_account(team, names.TRAINER_ACCOUNT))
    assert "cannot create resource" in team.ann.refused(*words)
    account = f"--serviceaccount={team.name}:{names.TRAINER_ACCOUNT}"
    team.boss.did("create", "rolebinding", "loose", "--clusterrole=edit", account)
    try:
        assert "for kubelets alone" in team.ann.refused(*words)
        forged = ("create", "-f", "-", as_account(team, names.TRAINER_ACCOUNT))
        said = team.ann.refused(*forged, given=pod_body("own", names.TRAINER_ACCOUNT))
        assert "by the Job controller alone" in said
    finally:
        team.boss.did("delete", "rolebinding", "loose")
    assert "impersonate" in team.ann.refused("get", "pods", f"--as={OPERATOR}")


@pytest.mark.parametrize("account", [names.PUBLISHER_ACCOUNT, names.READER_ACCOUNT])
def test_people_mint_the_tokens_that_are_for_people(team: Team, account: str) -> None:
    assert team.ann.did("create", "token", account, AUDIENCE, "--duration=10m").count(".") == 2
    assert "at most 3600" in team.ann.refused("create", "token", account, AUDIENCE, "--duration=61m")


@pytest.mark.parametrize("account", [names.TRAINER_ACCOUNT, names.READER_ACCOUNT])
def test_no_secret_keeps_a_token_of_our_accounts(team: Team, account: str) -> None:
    key = "kubernetes.io/service-account.name"
    body: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": f"kept-{account}", "annotations": {key: account}},
    }
    assert "token of " + account in team.ann.cannot_make(body)
    body["metadata"]["annotations"][key] = "default"
    team.ann.made(body)
    words = ("annotate", "--overwrite", "secret", f"kept-{account}", f"{key}={account}")
    assert "never ends" in team.ann.refused(*words)


# Pods and Jobs


@pytest.mark.parametrize(
    "body",
    [
        pod_body("plain", names.TRAINER_ACCOUNT),
        pod_body(f"{TRAINER_JOB}-abcde", names.TRAINER_ACCOUNT, labels=LABELS, ownerReferences=OWNER),
    ],
    ids=["plain", "with all our marks"],
)
def test_a_pod_cannot_be_forged(team: Team, body: Object) -> None:
    for caller in (team.ann, team.admin):
        said = caller.cannot_make(body)
        assert "pods under account collabspace-trainer are made by the Job controller alone" in said
        assert "submit a CollabTask" in said


def test_the_old_name_of_the_account_field_is_no_way_around(team: Team) -> None:
    body = pod_body("old")
    body["spec"]["serviceAccount"] = names.TRAINER_ACCOUNT
    del body["spec"]["serviceAccountName"]
    assert "by the Job controller alone" in team.ann.cannot_make(body)


@pytest.mark.parametrize("key", sorted(LABELS))
def test_our_labels_are_on_no_other_pod(team: Team, key: str) -> None:
    said = team.ann.cannot_make(pod_body("labelled", labels={key: "1"}))
    assert "labels and annotations collabspace.io/* on pods are set by the operator alone" in said


def test_a_deployment_gets_no_pod_under_the_account_and_none_with_our_labels(team: Team) -> None:
    marks = {"labels": {"app": "deployed"} | LABELS}
    for name, pod in (("account", pod_body("x", names.TRAINER_ACCOUNT)), ("labels", pod_body("x", **marks))):
        spec = pod["spec"] | {"restartPolicy": "Always"}
        labels = {"app": "deployed", "which": name, **pod["metadata"].get("labels", {})}
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": {"which": name}},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
        team.ann.made(body)
        team.ann.did("wait", f"deployment/{name}", "--for=condition=ReplicaFailure", "--timeout=30s")
        conditions = team.ann.got("deployment", name)["status"]["conditions"]
        assert any("collabspace-pods" in each["message"] for each in conditions if each["type"] == "ReplicaFailure")
    assert team.ann.got("pods", "--selector=app=deployed")["items"] == []


def test_a_job_cannot_be_forged(team: Team) -> None:
    body = job_body(names.job_name(TASK, 2), pod_body("x", names.TRAINER_ACCOUNT), labels=LABELS, ownerReferences=OWNER)
    cron = "--as=system:serviceaccount:kube-system:cronjob-controller"
    for caller, words in ((team.ann, ()), (team.admin, ()), (team.admin, (cron,))):
        said = caller.refused("create", "-f", "-", *words, given=body)
        assert "Jobs under account collabspace-trainer are made by the operator alone" in said
        assert "submit a CollabTask" in said


@pytest.mark.parametrize(
    "body",
    [
        job_body("own", pod_body("x"), labels=LABELS),
        job_body("own", pod_body("x"), ownerReferences=OWNER),
        job_body("own", pod_body("x", labels=LABELS)),
    ],
    ids=["labels", "owner", "labels of its pods"],
)
def test_a_job_of_somebody_else_bears_none_of_our_marks(team: Team, body: Object) -> None:
    said = team.ann.cannot_make(body)
    assert "labels, annotations and owners of collabspace.io on Jobs are set by the operator alone: leave them" in said
    cron = "--as=system:serviceaccount:kube-system:cronjob-controller"
    assert "by the operator alone" in team.admin.refused("create", "-f", "-", cron, given=body)


def test_the_name_of_the_next_attempt_taken_early_gets_neither_account_nor_labels(team: Team) -> None:
    name = names.job_name(TASK, 7)
    team.ann.made(job_body(name, pod_body("x")))
    assert "by the operator" in team.ann.refused("label", "job", name, f"{names.TASK_LABEL}={TASK}")
    owner = json.dumps({"metadata": {"ownerReferences": OWNER}})
    assert "by the operator" in team.ann.refused("patch", "job", name, "--type=merge", f"--patch={owner}")
    account = json.dumps({"spec": {"template": {"spec": {"serviceAccountName": names.TRAINER_ACCOUNT}}}})
    # Kubernetes itself freezes the template; its word comes first.
    assert "immutable" in team.ann.refused("patch", "job", name, "--type=merge", f"--patch={account}")
    team.ann.did("delete", "job", name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec": {"suspend": True}}, "change the CollabTask"),
        ({"spec": {"parallelism": 3}}, "change the CollabTask"),
        ({"metadata": {"labels": {names.TASK_UID_LABEL: None}}}, "change the CollabTask"),
        ({"metadata": {"annotations": {"note": "mine"}}}, "change the CollabTask"),
        ({"metadata": {"ownerReferences": None}}, "change the CollabTask"),
        ({"spec": {"template": {"spec": {"containers": [{"name": "trainer", "image": "mine"}]}}}}, "immutable"),
        (
            {"spec": {"template": {"spec": {"containers": [{"name": "trainer", "env": [{"name": "X"}]}]}}}},
            "immutable",
        ),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_a_job_of_the_operator_cannot_be_changed(team: Team, trainer: str, change: Object, said: str) -> None:
    words = ("patch", "job", TRAINER_JOB, "--type=strategic", f"--patch={json.dumps(change)}")
    assert said in team.ann.refused(*words)


# Into the pod of a trainer


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("exec", "{pod}", "--", "sh"), "exec"),
        (("attach", "{pod}"), "attach"),
        (("port-forward", "{pod}", ":80"), "portforward"),
        (("get", "--raw", "/api/v1/namespaces/{namespace}/pods/{pod}/proxy/"), "proxy"),
        (("create", "--raw", "/api/v1/namespaces/{namespace}/pods/{pod}:80/proxy/", "-f", "-"), "proxy"),
    ],
    ids=["exec", "attach", "port-forward", "proxy", "proxy to a port"],
)
def test_nobody_connects_to_a_trainer(team: Team, trainer: str, words: tuple[str, ...], kind: str) -> None:
    filled = [word.format(pod=trainer, namespace=team.name) for word in words]
    for caller in (team.ann, team.admin):
        said = caller.refused(*filled)
        assert f"{kind} of pod {trainer}" in said
        assert "kubectl collab logs" in said


def test_nothing_is_added_to_the_pod_of_a_trainer(team: Team, trainer: str) -> None:
    debug = ("debug", trainer, "--image=mine", "--profile=restricted")
    assert "cannot patch resource" in team.ann.refused(*debug)
    assert "nothing may be added to a trainer pod" in team.admin.refused(*debug)
    said = team.ann.refused(*debug, "--copy-to=twin", "--same-node")
    assert "by the Job controller alone" in said


@pytest.mark.parametrize(
    "words",
    [
        ("set", "image", "pod/{pod}", "trainer=mine"),
        ("label", "pod", "{pod}", f"{names.TASK_LABEL}-"),
        ("annotate", "pod", "{pod}", "note=mine"),
        ("patch", "pod", "{pod}", '--patch={{"metadata":{{"ownerReferences":null}}}}'),
    ],
    ids=lambda words: words[0],
)
def test_the_pod_of_a_trainer_cannot_be_changed(team: Team, trainer: str, words: tuple[str, ...]) -> None:
    said = team.ann.refused(*(word.format(pod=trainer) for word in words))
    assert "are changed by nobody" in said and "change the CollabTask" in said


def test_other_pods_are_as_free_as_before(team: Team) -> None:
    for name in ("mine", "backup-29384756-abcde"):
        team.ann.made(pod_body(name))
        # No node has it: the API server gets as far as that.
        assert "does not have a host assigned" in team.ann.refused("exec", name, "--", "sh")
        team.ann.did("annotate", "pod", name, "note=mine")
        assert "by nobody" in team.ann.refused("label", "pod", name, f"{names.TASK_LABEL}={TASK}")
        team.ann.did("delete", "pod", name, "--grace-period=0", "--force")


# Our kinds, accounts and the broker's address


@pytest.mark.parametrize("kind", [names.SHARED_DATASETS, names.COLLAB_TASKS, names.MODEL_SELECTIONS])
def test_status_is_not_for_tenants(team: Team, kind: str) -> None:
    for caller in (team.ann, team.boss):
        for verb in ("update", "patch"):
            assert caller.may(verb, names.GROUP, kind)
            assert not caller.may(verb, names.GROUP, f"{kind}/status")


def test_a_tenant_edits_neither_the_status_of_a_task_nor_our_labels(team: Team) -> None:
    assert f"{names.GROUP}/x: labels and annotations" in team.ann.cannot_make(
        task_body("marked", annotations={f"{names.GROUP}/x": "1"})
    )
    team.ann.made(task_body("plain", labels={"own": "1"}, finalizers=["example.com/own"]))
    status = json.dumps({"status": {"reason": "Completed"}})
    words = ("patch", "collabtask", "plain", "--type=merge", f"--patch={status}")
    assert "forbidden" in team.ann.refused(*words, "--subresource=status")
    team.ann.did(*words)
    assert team.ann.got("collabtask", "plain").get("status", {}).get("reason") != "Completed"
    said = team.ann.refused("label", "collabtask", "plain", f"{names.TASK_LABEL}={TASK}")
    assert names.TASK_LABEL in said and "use a prefix of your own" in said
    team.ann.did("patch", "collabtask", "plain", "--type=merge", '--patch={"metadata":{"finalizers":null}}')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("patch", "configmap", names.BROKER_CONFIG_MAP, '--patch={"data":{"ca.crt":"mine"}}'), "configmaps"),
        (("delete", "configmap", names.BROKER_CONFIG_MAP), "configmaps"),
        (("delete", "serviceaccount", names.TRAINER_ACCOUNT), "serviceaccounts"),
        (("annotate", "serviceaccount", names.READER_ACCOUNT, "note=mine"), "serviceaccounts"),
        (("delete", "rolebinding", names.OPERATOR_TEAM_ROLE), "rolebindings"),
        (("delete", "networkpolicy", names.TRAINER_NETWORK_POLICY), "networkpolicies"),
    ],
)
def test_what_makes_a_namespace_a_team_is_the_admins(team: Team, words: tuple[str, ...], said: str) -> None:
    refusal = team.boss.refused(*words)
    assert said in refusal and "verb manage on teams.collabspace.io" in refusal
    assert f"kubectl collab teams add {team.name}" in refusal
    if said != "rolebindings":
        assert "verb manage" in team.ann.refused(*words)


def test_a_deletion_by_list_spares_the_brokers_address(team: Team) -> None:
    team.ann.did("create", "configmap", "own")
    assert "verb manage" in team.ann.refused(
        "delete", "--raw", f"/api/v1/namespaces/{team.name}/configmaps?labelSelector=", "--wait=false"
    )
    assert team.ann.got("configmap", names.BROKER_CONFIG_MAP)["data"]


# The operator


def test_the_operator_suspends_its_job_and_a_member_may_delete_it(team: Team) -> None:
    pod = team.trainer(attempt=3)
    name = names.job_name(TASK, 3)
    team.operator.did("patch", "job", name, '--patch={"spec":{"suspend":true}}')
    team.admin.did("wait", f"job/{name}", "--for=condition=Suspended", "--timeout=30s")
    team.ann.did("delete", "job", name, "--wait=false")
    team.admin.did("delete", "pod", pod, "--grace-period=0", "--force", "--ignore-not-found")
    # The Job controller has taken its finalizer off the pod, and the Job is gone with it.
    team.admin.did("wait", f"job/{name}", "--for=delete", "--timeout=30s")
    assert team.admin.got("pods", f"--selector=job-name={name}")["items"] == []


def broken(team: Team, change: dict[str, Any], container: dict[str, Any]) -> Object:
    body = team.job(attempt=9)
    pod = body["spec"]["template"]["spec"]
    pod["containers"][0].update(container)
    pod.update(change)
    return body


SECRET = {"name": "x", "secret": {"secretName": "s"}}
SECRET_VALUE = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}


@pytest.mark.parametrize(
    ("change", "container", "said"),
    [
        ({"serviceAccountName": "default"}, {}, "serviceAccountName collabspace-trainer"),
        ({"automountServiceAccountToken": True}, {}, "automountServiceAccountToken false"),
        ({"initContainers": [{"name": "first", "image": names.TRAINER_IMAGE}]}, {}, "no initContainers"),
        ({}, {"image": "mine"}, "image: mine is not among the images for trainers: collabspace/trainer"),
        ({}, {"command": ["python", "-c", "print()"]}, "runs collabspace-trainer"),
        ({}, {"command": None}, "runs collabspace-trainer"),
        ({}, {"lifecycle": {"postStart": {"exec": {"command": ["sh"]}}}}, "without lifecycle"),
        ({"volumes": [SECRET]}, {"volumeMounts": []}, "spec.template.spec.volumes"),
        ({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}, {"volumeMounts": []}, "spec.template.spec.volumes"),
        (
            {"volumes": [{"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            {"volumeMounts": []},
            "spec.template.spec.volumes",
        ),
        ({}, {"env": [SECRET_VALUE]}, "never from Secrets"),
        ({}, {"envFrom": [{"secretRef": {"name": "s"}}]}, "never from Secrets"),
    ],
)
def test_the_operator_can_start_trainers_and_nothing_else(
    team: Team, change: dict[str, Any], container: dict[str, Any], said: str
) -> None:
    assert said in team.operator.cannot_make(broken(team, change, container))


def test_the_operator_names_jobs_so_that_their_pods_are_known(team: Team) -> None:
    body = team.job()
    body["metadata"]["name"] = "unnumbered"
    assert "named by task and attempt" in team.operator.cannot_make(body)


@pytest.mark.parametrize("namespace", [names.SYSTEM_NAMESPACE, "default", "kube-system"])
def test_the_operator_makes_jobs_in_teams_alone(team: Team, namespace: str) -> None:
    elsewhere = replace(team.operator, namespace=namespace)
    for verb, group, resource in (
        ("create", "batch", "jobs"),
        ("patch", "batch", "jobs"),
        ("delete", "batch", "jobs"),
        ("delete", names.GROUP, names.COLLAB_TASKS),
    ):
        assert team.operator.may(verb, group, resource)
        assert not elsewhere.may(verb, group, resource)
