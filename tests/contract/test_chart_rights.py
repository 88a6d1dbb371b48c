"""The rights that the chart gives, in every way it is rendered: no secrets, no wildcards, nothing bound at large."""

from collections.abc import Iterator
from typing import Any

import pytest

from chart_cases import CASES, NAMESPACE, case
from collabspace.api import names
from collabspace.cli import team_objects
from collabspace.local import installation

Object = dict[str, Any]


def of_kind(bodies: list[Object], *kinds: str) -> list[Object]:
    return [body for body in bodies if body["kind"] in kinds]


def rules(bodies: list[Object]) -> Iterator[tuple[str, Object]]:
    for role in of_kind(bodies, "Role", "ClusterRole"):
        assert "aggregationRule" not in role, "what it gathers is not seen here"
        for rule in role["rules"]:
            yield f"{role['kind']} {role['metadata']['name']}", rule


@pytest.mark.parametrize("name", CASES)
def test_no_role_gives_secrets_or_a_wildcard(name: str) -> None:
    found = list(rules(case(name)))
    assert len(found) > 10
    for role, rule in found:
        words = [word for key in ("apiGroups", "resources", "verbs", "nonResourceURLs") for word in rule.get(key, ())]
        assert not [word for word in words if "*" in word], role
        assert not [word for word in rule.get("resources", ()) if word.split("/")[0] == "secrets"], role
        # Each of these would be a way to more rights than the role itself says.
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), role


@pytest.mark.parametrize("name", CASES)
def test_rights_are_bound_to_our_own_accounts_alone(name: str) -> None:
    """People get theirs through the roles that Kubernetes ships and through `teams add`; nobody by being there."""
    for binding in of_kind(case(name), "RoleBinding", "ClusterRoleBinding"):
        for subject in binding["subjects"]:
            assert (subject["kind"], subject["namespace"]) == ("ServiceAccount", NAMESPACE), binding["metadata"]["name"]
            assert subject["name"] in (names.OPERATOR_ACCOUNT, names.BROKER_ACCOUNT)


@pytest.mark.parametrize("name", CASES)
def test_the_chart_gives_what_the_tests_of_rights_run_with(name: str) -> None:
    def given(bodies: list[Object]) -> list[Object]:
        roles = of_kind(bodies, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
        return sorted(roles, key=lambda body: (body["kind"], body["metadata"]["name"]))

    def rights(body: Object) -> Object:
        return {key: body.get(key) for key in ("kind", "rules", "roleRef", "subjects")}

    assert [rights(body) for body in given(case(name))] == [rights(body) for body in given(installation.manifests())]


@pytest.mark.parametrize("name", CASES)
def test_only_operator_and_broker_speak_to_the_api_server(name: str) -> None:
    for body in case(name):
        pod = body.get("spec", {}).get("template", {}).get("spec") if isinstance(body.get("spec"), dict) else None
        if pod is not None and pod.get("automountServiceAccountToken", True):
            assert pod["serviceAccountName"] in (names.OPERATOR_ACCOUNT, names.BROKER_ACCOUNT), body["metadata"]["name"]


def test_the_network_policy_of_trainers_leads_to_the_brokers_pods_of_the_chart() -> None:
    ((_, policy),) = [each for each in team_objects.contents("lab", {}) if each[1]["kind"] == "NetworkPolicy"]
    (destination,) = policy["spec"]["egress"][0]["to"]
    (broker,) = [
        body["spec"]["template"]
        for body in of_kind(case("default"), "Deployment")
        if body["metadata"]["name"] == names.BROKER_ACCOUNT
    ]
    wanted = destination["podSelector"]["matchLabels"]
    assert broker["metadata"]["labels"].items() >= wanted.items()
    ports = {port["containerPort"] for container in broker["spec"]["containers"] for port in container["ports"]}
    assert policy["spec"]["egress"][0]["ports"] == [{"protocol": "TCP", "port": names.BROKER_PORT}]
    assert names.BROKER_PORT in ports
    assert destination["namespaceSelector"]["matchLabels"] == {team_objects.NAMESPACE_LABEL: NAMESPACE}


def test_trainers_reach_the_store_only_where_readers_are_sent_on_to_it() -> None:
    for name, ports in (("default", [names.BROKER_PORT, 53, 53]), ("production", [names.BROKER_PORT, 53, 53, 443])):
        (address,) = [
            body["data"]
            for body in of_kind(case(name), "ConfigMap")
            if body["metadata"]["name"] == names.BROKER_CONFIG_MAP
        ]
        policy = team_objects.contents("lab", address)[-1][1]["spec"]
        assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == ports
        assert "ingress" not in policy and "Ingress" in policy["policyTypes"]
