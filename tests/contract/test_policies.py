"""The admission policies as they are written: the names in them are those of the code, and none can be left unbound."""

import re
from typing import Any

import pytest
import yaml

from collabspace.api import names
from collabspace.cli import team_objects
from collabspace.core import job
from collabspace.local import installation

PREFIX = f"{names.GROUP}/"
LITERAL = re.compile(r"'([^']*collabspace[^']*)'")


def of_kind(kind: str) -> dict[str, Any]:
    return {item["metadata"]["name"]: item["spec"] for item in installation.manifests() if item["kind"] == kind}


POLICIES = of_kind("ValidatingAdmissionPolicy")


def expressions(policy: dict[str, Any]) -> list[str]:
    """What is evaluated; messages apart."""
    parts = [*policy.get("matchConditions", []), *policy.get("variables", []), *policy["validations"]]
    return [str(part["expression"]) for part in parts]


def test_every_policy_is_bound_refuses_and_fails_closed() -> None:
    bindings = of_kind("ValidatingAdmissionPolicyBinding")
    assert set(bindings) == set(POLICIES)
    for name, binding in bindings.items():
        assert binding == {"policyName": name, "validationActions": ["Deny"]}
        assert POLICIES[name]["failurePolicy"] == "Fail"


def test_the_policy_that_the_installation_waits_for_is_the_last() -> None:
    assert list(POLICIES)[-1] == list(of_kind("ValidatingAdmissionPolicyBinding"))[-1] == names.JOBS_POLICY


@pytest.mark.parametrize("name", list(POLICIES))
def test_names_are_spelled_as_in_the_code(name: str) -> None:
    known = {value for value in vars(names).values() if isinstance(value, str)} | {PREFIX, job.COMMAND[0]}
    known |= {f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{names.OPERATOR_ACCOUNT}"}
    found = {word for text in expressions(POLICIES[name]) for word in LITERAL.findall(text)}
    assert found <= known


def test_selectors_name_the_label_of_teams() -> None:
    selectors = [policy["matchConstraints"].get("namespaceSelector") for policy in POLICIES.values()]
    assert [each for each in selectors if each] == [{"matchLabels": {names.TEAM_LABEL: "true"}}] * 2


def test_settings_and_accounts_are_all_that_a_team_has() -> None:
    teams = yaml.safe_dump(POLICIES["collabspace-teams"], width=100_000)
    (listed,) = re.findall(r"!\(k in \[(.*?)\]\)", teams)
    assert {word.strip(" '\"") for word in listed.replace("''", "'").split(",")} == set(team_objects.SETTINGS)
    message = next(
        rule["messageExpression"]
        for rule in POLICIES["collabspace-teams"]["validations"]
        if "unknown" in rule["expression"]
    )
    assert all(key.removeprefix(PREFIX) in message for key in team_objects.SETTINGS)
    made = {item["metadata"]["name"] for _, item in team_objects.contents("x", {})}
    guarded = set(LITERAL.findall(POLICIES["collabspace-team-objects"]["matchConditions"][0]["expression"]))
    assert guarded == made
    for name in ("collabspace-tokens", "collabspace-account-secrets"):
        accounts = set(LITERAL.findall(POLICIES[name]["matchConditions"][0]["expression"]))
        assert accounts == set(team_objects.ACCOUNTS)


def test_the_image_that_the_operator_starts_by_itself_is_on_the_list() -> None:
    images = next(part for part in POLICIES[names.JOBS_POLICY]["variables"] if part["name"] == "images")
    assert images["expression"] == f"['{names.TRAINER_IMAGE}']"


def test_the_names_of_trainer_pods_are_the_same_to_their_guard_and_to_their_maker() -> None:
    patterns = {
        text
        for policy in POLICIES.values()
        for part in expressions(policy)
        for text in re.findall(r"matches\('(-\[1-9\].*?)'\)", part)
    }
    base = "-[1-9][0-9]{0,5}"
    pod = f"{base}(-[0-9]+)?-[a-z0-9]{{5}}"
    assert patterns == {f"{base}$", f"{pod}$", f"{pod}(:|$)"}
    assert re.search(f"{base}$", names.job_name("task", 1))
