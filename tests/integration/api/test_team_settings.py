"""A team's settings are its namespace's: who may change them, and which values are refused at once."""

import json
import uuid
from collections.abc import Iterator

import pytest
from guards_harness import Caller, Team, job_body, pod_body

from collabspace.api import names
from collabspace.cli import team_objects
from collabspace.local.cluster import LocalCluster

LEVEL = "pod-security.kubernetes.io/enforce"


@pytest.fixture(scope="module")
def keeper(team: Team) -> Iterator[Caller]:
    """Somebody who may patch namespaces, as some clusters let the leads of teams do, and has no right of ours."""
    caller = Caller(team.admin.cluster, team.admin.cluster.user("keeper"), team.name)
    words = ("--verb=get,create,patch,update", "--resource=namespaces")
    team.admin.did("create", "clusterrole", "keeper", *words)
    team.admin.did("create", "clusterrolebinding", "keeper", "--clusterrole=keeper", "--user=keeper")
    yield caller
    team.admin.did("delete", "clusterrole,clusterrolebinding", "keeper")


def patch(team: Team, kind: str, key: str, value: str | None) -> tuple[str, ...]:
    change = {"metadata": {kind: {key: value}}}
    return ("patch", "namespace", team.name, "--type=merge", f"--patch={json.dumps(change)}")


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("annotations", names.GPU_QUOTA, "999"),
        ("annotations", names.GPU_QUOTA, None),
        ("annotations", names.SKILLS, "nlp"),
        ("labels", names.TEAM_LABEL, None),
        ("labels", LEVEL, "privileged"),
        ("labels", LEVEL, None),
    ],
)
def test_settings_need_a_right_of_their_own(team: Team, keeper: Caller, kind: str, key: str, value: str | None) -> None:
    said = keeper.refused(*patch(team, kind, key, value))
    assert f"{key}: keeper may not change settings" in said
    assert (
        f"verb manage on teams.collabspace.io: ask an admin of the cluster (kubectl collab teams add {team.name})"
        in said
    )


def test_what_is_not_ours_in_a_namespace_is_free(team: Team, keeper: Caller) -> None:
    keeper.did(*patch(team, "labels", "cost-centre", "7"))
    keeper.did(*patch(team, "annotations", "example.com/owner", "ann"))


def test_a_namespace_cannot_be_made_a_team_without_that_right(team: Team, keeper: Caller) -> None:
    name = f"own-{uuid.uuid4().hex[:6]}"
    said = keeper.cannot_make(team_objects.namespace(name, {}, labelled=True))
    assert "keeper may not change settings of a team" in said


def test_the_right_can_be_given_to_others(team: Team, keeper: Caller) -> None:
    said = keeper.refused(*patch(team, "annotations", names.CPU_QUOTA, "3"))
    assert "needs verb manage" in said
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "chief"}}
    team.admin.made(role | {"rules": [{"apiGroups": [names.GROUP], "resources": ["teams"], "verbs": ["manage"]}]})
    team.admin.did("create", "clusterrolebinding", "chief", "--clusterrole=chief", "--user=keeper")
    try:
        keeper.did(*patch(team, "annotations", names.CPU_QUOTA, "3"))
    finally:
        team.admin.did("delete", "clusterrole,clusterrolebinding", "chief")


@pytest.mark.parametrize(
    ("kind", "key", "value", "said"),
    [
        ("annotations", names.GPU_QUOTA, "many", f"{names.GPU_QUOTA} is 'many'; it must be a whole number from 0 to"),
        ("annotations", names.GPU_QUOTA, "-1", "is '-1'"),
        ("annotations", names.GPU_QUOTA, "1000000", "is '1000000'"),
        ("annotations", names.CPU_QUOTA, "", "is ''"),
        ("annotations", names.CPU_QUOTA, "x" * 500, f"is '{'x' * 40}'"),
        ("annotations", f"{names.GROUP}/gpu-quotas", "1", "is no setting of a team"),
        ("labels", names.GPU_QUOTA, "1", "is no setting of a team"),
        ("labels", names.TEAM_LABEL, "yes", "it must be 'true'"),
    ],
)
def test_a_wrong_setting_is_refused_at_once_even_to_an_admin(
    team: Team, kind: str, key: str, value: str, said: str
) -> None:
    refusal = team.admin.refused(*patch(team, kind, key, value))
    assert said in refusal and len(refusal) < 600


@pytest.mark.parametrize("name", [names.SYSTEM_NAMESPACE, "default", "kube-system"])
def test_namespaces_of_the_cluster_cannot_be_teams(team: Team, name: str) -> None:
    said = team.admin.refused("label", "namespace", name, f"{names.TEAM_LABEL}=true")
    assert f"namespace {name} belongs to the cluster" in said


def test_a_job_of_the_operator_is_fit_for_the_strictest_pod_security_and_others_are_told(team: Team) -> None:
    """Pods that the Job controller makes of it are let in: see `trainer`, in the same kind of namespace."""
    words = ("create", "--dry-run=server", "--warnings-as-errors", "-f", "-")
    team.operator.did(*words, given=team.job(attempt=5))
    loose = job_body("own", pod_body("x"))
    del loose["spec"]["template"]["spec"]["securityContext"]
    assert "warning" in team.ann.refused(*words, given=loose)
    loose["kind"], loose["apiVersion"], loose["spec"] = "Pod", "v1", loose["spec"]["template"]["spec"]
    assert 'violates PodSecurity "restricted:latest"' in team.ann.refused(*words, given=loose)


def test_a_team_goes_away_with_all_that_is_in_it(cluster: LocalCluster) -> None:
    team = Team.make(cluster, f"short-{uuid.uuid4().hex[:6]}")
    team.admin.did("delete", "namespace", team.name, "--timeout=60s")
