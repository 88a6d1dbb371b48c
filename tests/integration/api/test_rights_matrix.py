"""Who may do what, asked of the API server's own authorizer: one table, and for programs that there is nothing beside.

This is RBAC alone; what the admission policies refuse on top of it is in test_guards.py and test_team_settings.py.
"""

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import pytest
from guards_harness import TASK, Caller, Object, Team, task_body

import audited_calls
import check_rights
from collabspace.api import names
from collabspace.cli import team_objects
from collabspace.kube.client import KubeClient
from collabspace.local.cluster import LocalCluster

# `where`: everywhere, the platform's own namespace, ann's team, another team, a namespace that is no team.
ALL, SYSTEM, OWN, OTHER, PLAIN = "", "system", "own", "other", "plain"
OURS = f"{names.SHARED_DATASETS} {names.COLLAB_TASKS} {names.MODEL_SELECTIONS}"
STATUS = " ".join(f"{kind}/status" for kind in OURS.split())
WRITE = "create update patch delete deletecollection"
GROUPS = {names.GROUP: OURS, "batch": "jobs", "coordination.k8s.io": "leases", "events.k8s.io": "events"}
GROUPS |= {"rbac.authorization.k8s.io": "roles rolebindings clusterroles clusterrolebindings"}
GROUPS |= {"authentication.k8s.io": "tokenreviews", "authorization.k8s.io": "subjectaccessreviews"}
GROUPS |= {"admissionregistration.k8s.io": "validatingadmissionpolicies validatingadmissionpolicybindings"}
GROUP_OF = {resource: group for group, resources in GROUPS.items() for resource in resources.split()}
OPERATOR, BROKER, TRAINER = names.OPERATOR_ACCOUNT, names.BROKER_ACCOUNT, names.TRAINER_ACCOUNT
ACCOUNTS = (TRAINER, names.PUBLISHER_ACCOUNT, names.READER_ACCOUNT)


class Row(NamedTuple):
    who: str
    may: bool
    verbs: str
    what: str
    where: tuple[str, ...]


EVERYWHERE = (ALL, SYSTEM, OWN, OTHER, PLAIN)
TABLE = [
    # The operator sees, and writes status.
    Row(OPERATOR, True, "list watch", OURS, EVERYWHERE),
    Row(OPERATOR, True, "patch", STATUS, EVERYWHERE),
    Row(OPERATOR, False, "update", STATUS, EVERYWHERE),
    Row(OPERATOR, True, "list watch", "namespaces nodes pods jobs", EVERYWHERE),
    Row(OPERATOR, False, WRITE, "namespaces nodes pods pods/exec pods/ephemeralcontainers", EVERYWHERE),
    Row(OPERATOR, False, "create", "pods/log pods/exec pods/portforward", EVERYWHERE),
    # It starts work in teams, and nowhere else.
    Row(OPERATOR, True, "create patch delete", f"jobs {names.COLLAB_TASKS}", (OWN, OTHER)),
    Row(OPERATOR, False, WRITE, f"jobs {names.COLLAB_TASKS}", (ALL, SYSTEM, PLAIN)),
    Row(OPERATOR, False, "update deletecollection", f"jobs {names.COLLAB_TASKS}", EVERYWHERE),
    Row(OPERATOR, False, WRITE, f"{names.SHARED_DATASETS} {names.MODEL_SELECTIONS}", EVERYWHERE),
    Row(OPERATOR, True, "get", "serviceaccounts", (OWN, OTHER)),
    Row(OPERATOR, False, "get", "serviceaccounts", (ALL, SYSTEM, PLAIN)),
    # Its Lease and its token, by name.
    Row(OPERATOR, True, "get update", f"leases={OPERATOR}", (SYSTEM,)),
    Row(OPERATOR, False, "get update patch delete", "leases=another", (SYSTEM, OWN)),
    Row(OPERATOR, True, "create", f"serviceaccounts/token={OPERATOR}", (SYSTEM,)),
    Row(OPERATOR, False, "create", f"serviceaccounts/token={BROKER}", (SYSTEM,)),
    Row(OPERATOR, False, "create", f"serviceaccounts/token={names.ADMIN_ACCOUNT}", (SYSTEM,)),
    Row(OPERATOR, False, "create", f"serviceaccounts/token={TRAINER}", (OWN, OTHER)),
    Row(OPERATOR, False, "get list watch create update patch delete", "secrets configmaps", EVERYWHERE),
    # The broker looks up and asks; it writes nothing.
    Row(BROKER, True, "create", "tokenreviews", (ALL,)),
    Row(BROKER, False, "create", "subjectaccessreviews", (ALL,)),
    Row(BROKER, True, "get", "namespaces pods jobs", EVERYWHERE),
    Row(BROKER, True, "get list", f"{names.SHARED_DATASETS} {names.COLLAB_TASKS}", EVERYWHERE),
    Row(BROKER, False, "get list watch", names.MODEL_SELECTIONS, EVERYWHERE),
    Row(BROKER, False, WRITE, f"{OURS} {STATUS} namespaces pods jobs leases", EVERYWHERE),
    Row(BROKER, False, "list watch", "namespaces pods jobs nodes", EVERYWHERE),
    Row(BROKER, False, "get list watch create update patch delete", "secrets configmaps", EVERYWHERE),
    Row(BROKER, False, "create", f"serviceaccounts/token={TRAINER} serviceaccounts/token={BROKER}", (SYSTEM, OWN)),
    # Whoever holds a token of a team's accounts has nothing at the API server by it.
    *(
        Row(account, False, "get list watch", f"{OURS} secrets configmaps pods jobs", EVERYWHERE)
        for account in ACCOUNTS
    ),
    *(Row(account, False, "create", "pods jobs serviceaccounts/token", EVERYWHERE) for account in ACCOUNTS),
    # Members, by the roles that Kubernetes ships.
    *(Row(who, True, "get list watch", OURS, (OWN,)) for who in ("view", "edit", "admin")),
    *(Row(who, False, "get list watch", OURS, (ALL, SYSTEM, OTHER, PLAIN)) for who in ("view", "edit", "admin")),
    Row("view", False, WRITE, OURS, EVERYWHERE),
    Row("view", False, "create", "serviceaccounts/token jobs pods", EVERYWHERE),
    *(Row(who, True, WRITE, OURS, (OWN,)) for who in ("edit", "admin")),
    *(Row(who, False, "update patch", STATUS, EVERYWHERE) for who in ("view", "edit", "admin")),
    *(Row(who, False, WRITE, OURS, (ALL, SYSTEM, OTHER, PLAIN)) for who in ("edit", "admin")),
    *(
        Row(who, True, "create", f"serviceaccounts/token={name}", (OWN,))
        for who in ("edit", "admin")
        for name in ACCOUNTS[1:]
    ),
    *(
        Row(who, False, "create", f"serviceaccounts/token={name}", (OTHER, SYSTEM))
        for who in ("edit", "admin")
        for name in ACCOUNTS
    ),
    *(Row(who, False, "update patch delete create", "namespaces", EVERYWHERE) for who in ("view", "edit", "admin")),
    *(Row(who, False, "manage", "collabspace.io:teams", EVERYWHERE) for who in ("view", "edit", "admin")),
    Row("edit", False, WRITE, "roles rolebindings", EVERYWHERE),
    Row("admin", True, "create delete", "rolebindings", (OWN,)),
    Row("admin", False, WRITE, "clusterroles clusterrolebindings nodes", EVERYWHERE),
    Row("admin", False, WRITE, "validatingadmissionpolicies validatingadmissionpolicybindings", (ALL,)),
    # A data owner is a member of the team that has the data: in the other team ann is nobody.
    Row("owner", True, WRITE + " get list watch", OURS, (OTHER,)),
    Row("owner", False, "get list watch", f"{OURS} pods pods/log secrets", (OWN,)),
    # What a grant names is the uid of a namespace.
    Row("owner", True, "get list", "namespaces", (ALL,)),
    Row("owner", False, "update patch delete", "namespaces", EVERYWHERE),
]


class Asked(NamedTuple):
    """Where and who the names of the table stand for."""

    admin: KubeClient
    places: dict[str, str]
    people: dict[str, tuple[str, list[str]]]


@pytest.fixture(scope="module")
def other(cluster: LocalCluster) -> Iterator[Team]:
    team = Team.make(cluster, f"owner-{uuid.uuid4().hex[:6]}")
    yield team
    team.admin.did("delete", "namespace", team.name, "--wait=false")


@pytest.fixture(scope="module")
def viewer(team: Team) -> str:
    team.admin.did("create", "rolebinding", "watcher", "--clusterrole=view", f"--user=vic-{team.name}")
    return f"vic-{team.name}"


@pytest.fixture
def asked(admin: KubeClient, team: Team, other: Team, viewer: str) -> Asked:
    places = {ALL: "", SYSTEM: names.SYSTEM_NAMESPACE, OWN: team.name, OTHER: other.name, PLAIN: "default"}
    people = {account: _account(names.SYSTEM_NAMESPACE, account) for account in (OPERATOR, BROKER)}
    people |= {account: _account(team.name, account) for account in ACCOUNTS}
    named = {"view": viewer, "edit": f"ann-{team.name}", "admin": f"boss-{team.name}", "owner": f"ann-{other.name}"}
    people |= {role: (user, ["system:authenticated"]) for role, user in named.items()}
    return Asked(admin, places, people)


def _account(namespace: str, name: str) -> tuple[str, list[str]]:
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    return f"system:serviceaccount:{namespace}:{name}", groups


@pytest.mark.parametrize("who", sorted({row.who for row in TABLE}))
async def test_everybody_may_what_the_table_says(asked: Asked, who: str) -> None:
    cases = [
        (row, verb, what, where)
        for row in TABLE
        if row.who == who
        for verb, what, where in product(row.verbs.split(), row.what.split(), row.where)
    ]
    answers = await asyncio.gather(*(_may(asked, *each) for each in cases))
    wrong = [
        f"{who}: {verb} {what} in {where or 'all namespaces'} is {'allowed' if may else 'denied'}"
        for (row, verb, what, where), may in zip(cases, answers, strict=True)
        if may != row.may
    ]
    assert wrong == []


async def _may(asked: Asked, row: Row, verb: str, what: str, where: str) -> bool:
    user, groups = asked.people[row.who]
    what, _, name = what.partition("=")
    group, colon, resource = what.rpartition(":")
    resource, _, part = resource.partition("/")
    wanted = {
        "verb": verb,
        "group": group if colon else GROUP_OF.get(resource, ""),
        "resource": resource,
        "subresource": part,
        "namespace": asked.places[where],
        "name": name,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": wanted},
    }
    answer = await asked.admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(answer["status"]["allowed"])


def rules_of(cluster: LocalCluster, who: tuple[str, list[str]], namespace: str) -> set[tuple[str, str, str, str]]:
    """(verb, group, resource, name) of everything that RBAC gives in the namespace, as the API server lists it."""
    user, groups = who
    caller = Caller(cluster, cluster.user(user, tuple(groups)), namespace)
    body: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = caller.reviewed(body)
    return {
        (verb, group, resource, name)
        for rule in answer["status"]["resourceRules"]
        for verb, group, resource in product(rule["verbs"], rule["apiGroups"], rule["resources"])
        for name in rule.get("resourceNames") or [""]
    }


# Everybody may ask about themselves.
SELF = {
    ("create", "authorization.k8s.io", "selfsubjectaccessreviews", ""),
    ("create", "authorization.k8s.io", "selfsubjectrulesreviews", ""),
    ("create", "authentication.k8s.io", "selfsubjectreviews", ""),
}


@pytest.mark.parametrize("account", ACCOUNTS)
def test_an_account_of_a_team_has_no_right_at_all(cluster: LocalCluster, asked: Asked, account: str) -> None:
    for where in (OWN, SYSTEM, PLAIN):
        assert rules_of(cluster, asked.people[account], asked.places[where]) == SELF


@pytest.mark.parametrize(("account", "who"), [(OPERATOR, audited_calls.OPERATOR), (BROKER, audited_calls.BROKER)])
@pytest.mark.parametrize(
    ("where", "place"), [(PLAIN, "none"), (OWN, audited_calls.TEAM), (SYSTEM, audited_calls.SYSTEM)]
)
def test_a_program_has_what_our_roles_give_it_there_and_nothing_beside(
    cluster: LocalCluster, asked: Asked, account: str, who: str, where: str, place: str
) -> None:
    given = {
        (right.verb, right.group, right.resource, right.name)
        for right in check_rights.granted()
        if right.who == who and right.place in ("", place)
    }
    assert rules_of(cluster, asked.people[account], asked.places[where]) == given | SELF


@pytest.mark.parametrize("kind", OURS.split())
def test_a_member_does_all_that_edit_gives(team: Team, kind: str) -> None:
    """Each verb once for real, so that none is given that nobody can use."""
    path = f"/apis/{names.API_VERSION}/namespaces/{team.name}/{kind}"
    ann, name = team.ann, f"own-{kind}"
    ann.made(_body(kind, name))
    ann.did("annotate", kind, name, "note=mine")
    ann.did("replace", "-f", "-", given=ann.got(kind, name))
    assert [each["metadata"]["name"] for each in ann.got(kind, f"--field-selector=metadata.name={name}")["items"]] == [
        name
    ]
    assert name in ann.did("get", "--raw", f"{path}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3D{name}")
    ann.did("delete", kind, name)
    ann.made(_body(kind, name))
    ann.did("delete", "--raw", f"{path}?fieldSelector=metadata.name%3D{name}")
    assert ann.got(kind, f"--field-selector=metadata.name={name}")["items"] == []
    assert TASK in {each["metadata"]["name"] for each in ann.got(names.COLLAB_TASKS)["items"]}


def _body(kind: str, name: str) -> Object:
    task = task_body(name)
    if kind == names.COLLAB_TASKS:
        return task
    spec: Object = {"format": "Documents"}
    if kind == names.MODEL_SELECTIONS:
        candidates = [{"name": "one", "method": "LogisticRegression"}]
        shared = {key: task["spec"][key] for key in ("task", "datasets")}
        spec = shared | {"objective": {"metric": "accuracy"}, "candidates": candidates}
    kinds = {names.SHARED_DATASETS: "SharedDataset", names.MODEL_SELECTIONS: "ModelSelection"}
    return {"apiVersion": names.API_VERSION, "kind": kinds[kind], "metadata": {"name": name}, "spec": spec}


def test_a_member_looks_up_the_namespaces_that_grants_name(team: Team, other: Team) -> None:
    assert team.ann.got("namespace", other.name)["metadata"]["uid"]
    assert other.name in {each["metadata"]["name"] for each in team.ann.got("namespaces")["items"]}


def test_the_operator_cannot_give_itself_what_it_has_in_teams(team: Team) -> None:
    binding = team_objects.contents("default", {})[3][1]
    assert binding["kind"] == "RoleBinding"
    assert "forbidden" in replace(team.operator, namespace="default").cannot_make(binding)
