"""The check of rights finds what it is there to find, in an audit log of a few lines."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import audited_calls
import check_rights
from collabspace.api import names

ACCOUNT = audited_calls.ACCOUNT + names.OPERATOR_ACCOUNT
AGENT = "collabspace-operator/1 (x)"
OURS = f'RBAC: allowed by ClusterRoleBinding "{ACCOUNT}" of ClusterRole "collabspace-operator" to ServiceAccount "x"'
TARGET = {"resource": "pods", "apiVersion": "v1"}


def event(second: int = 0, **changes: Any) -> dict[str, Any]:
    at = f"2026-01-01T00:00:{second:02d}.000000Z"
    known = {
        "auditID": f"id-{second}",
        "verb": "list",
        "user": {"username": ACCOUNT, "groups": []},
        "userAgent": AGENT,
        "objectRef": TARGET,
        "requestURI": "/api/v1/pods",
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": at,
        "stageTimestamp": at,
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": OURS},
    }
    return known | changes


FORBIDDEN = {"annotations": {"authorization.k8s.io/decision": "forbid"}, "responseStatus": {"code": 403}}
ADMIN = {"user": {"username": "chief", "groups": ["system:masters"]}, "userAgent": "kubectl/1"}
IN_TEAM = {"objectRef": TARGET | {"namespace": "lab"}}


def bound(second: int) -> dict[str, Any]:
    binding = {"resource": "rolebindings", "name": names.OPERATOR_TEAM_ROLE, "namespace": "lab"}
    return event(second, verb="patch", objectRef=binding, **ADMIN)


def deleted(second: int) -> dict[str, Any]:
    return event(second, verb="delete", objectRef={"resource": "namespaces", "name": "lab"}, **ADMIN)


@pytest.mark.parametrize(
    ("events", "faults"),
    [
        ([event()], 0),
        ([event(**FORBIDDEN)], 1),
        ([event(**FORBIDDEN), event(**FORBIDDEN)], 1),
        ([event(**FORBIDDEN, **(ADMIN | {"user": {"username": ACCOUNT}}))], 0),
        ([event(user={"username": "chief", "groups": ["system:masters"]})], 1),
        ([event(1, **FORBIDDEN, **IN_TEAM), bound(2)], 0),
        ([bound(1), event(2, **FORBIDDEN, **IN_TEAM)], 1),
        ([bound(1), deleted(2), event(3, **FORBIDDEN, **IN_TEAM)], 0),
        (
            [
                event(1, **FORBIDDEN),
                event(
                    2,
                    objectRef={"resource": "clusterrolebindings"},
                    user={"username": "system:apiserver"},
                    userAgent="kube-apiserver",
                ),
            ],
            0,
        ),
    ],
    ids=[
        "allowed",
        "refused",
        "both stages of one refusal",
        "a test in its name",
        "under an admin's account",
        "before it is a team",
        "in a team",
        "in a team that goes",
        "an API server that starts",
    ],
)
def test_a_refusal_is_found_unless_it_is_nobodys_fault(
    events: list[dict[str, Any]], faults: int, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text("".join(json.dumps(each, separators=(",", ":")) + "\n" for each in events) + '{"half')
    assert len(audited_calls.found(log)[1]) == faults


def test_a_right_that_is_not_used_and_a_call_by_another_role_are_found(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text(json.dumps(event(), separators=(",", ":")) + "\n")
    calls, _ = audited_calls.found(log)
    rights = check_rights.granted()
    unused, foreign = check_rights.compared(rights, calls)
    assert (len(rights) - len(unused), foreign) == (1, [])
    (call,) = calls
    by_admin = Counter({call.__class__(**vars(call) | {"role": "ClusterRole cluster-admin"}): 1})
    assert check_rights.compared(rights, by_admin)[1] == list(by_admin)


def test_after_a_part_of_the_suite_the_check_says_what_is_missing() -> None:
    absent = check_rights.missing({"tests/e2e/test_chaos.py"})
    assert "tests/e2e/test_chaos.py" not in absent
    assert "tests/integration/api/test_rights_matrix.py" in absent
