"""Who may use what, and what is told to whom."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from core_facts import NOW, OTHER, OWN, UIDS, at, dataset, digest, grant, reference, spec, text
from hypothesis import given
from hypothesis import strategies as st

from collabspace.api.conditions import Condition
from collabspace.api.dataset import DatasetStatus, Grant
from collabspace.api.manifest import DatasetFormat
from collabspace.api.run import Role
from collabspace.core.grants import Authorization, authorize, misfits, next_end, state
from collabspace.core.observed import Dataset


def judge(*datasets: Dataset, now: dt.datetime = NOW, **changes: Any) -> Authorization:
    changes = {"datasets": [reference(OTHER)]} | changes
    return authorize(spec(**changes), OWN, {each.object.key: each for each in datasets}, UIDS, now)


def test_a_granted_version_is_pinned_with_its_owner_and_role() -> None:
    granted = judge(dataset(OTHER, grants=[grant()]))
    assert granted.reason == "Granted"
    pinned = granted.datasets[0]
    assert (pinned.owner, pinned.uid, pinned.digest, pinned.role) == (
        f"{OTHER}/table",
        "uid-table",
        digest("one"),
        Role.TRAIN,
    )


def test_the_own_namespace_needs_no_grant() -> None:
    assert judge(dataset(OWN), datasets=[reference(OWN)]).reason == "Granted"


def test_what_does_not_exist_and_what_is_not_granted_read_the_same() -> None:
    there, absent = judge(dataset(OTHER)), judge()
    assert there.reason == absent.reason == "GrantMissing"
    assert there.message == absent.message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"to": "hospital-c"}, "GrantMissing"),
        ({"namespaceUID": "uid-of-the-past"}, "GrantMissing"),
        ({"namespaceUID": None}, "GrantMissing"),
        ({"uses": ("Evaluate", "Download")}, "UseNotGranted"),
        ({"notAfter": text(at(-1))}, "GrantExpired"),
        ({"notAfter": text(NOW)}, "GrantExpired"),
        ({"notAfter": text(at(1))}, "Granted"),
        ({"notAfter": "2999-01-01"}, "GrantExpired"),
        ({"notAfter": "for ever"}, "GrantExpired"),
    ],
    ids=[
        "for another namespace",
        "for a namespace of the past",
        "not bound to the namespace's uid",
        "for other uses",
        "ended a second ago",
        "ends now",
        "ends in a second",
        "end without time zone closes",
        "end that is none closes",
    ],
)
def test_a_grant_counts_only_for_this_namespace_this_use_and_this_moment(changes: dict[str, Any], reason: str) -> None:
    assert judge(dataset(OTHER, grants=[grant(**changes)])).reason == reason


@pytest.mark.parametrize(
    ("role", "use", "reason"),
    [
        ("Train", "Train", "Granted"),
        ("Train", "Evaluate", "UseNotGranted"),
        ("Evaluate", "Evaluate", "Granted"),
        ("Evaluate", "Train", "UseNotGranted"),
    ],
)
def test_the_role_decides_the_use_that_the_grant_must_hold(role: str, use: str, reason: str) -> None:
    own = reference(OWN) | {"name": "own"}
    found = judge(
        dataset(OWN), dataset(OTHER, grants=[grant(uses=(use,))]), datasets=[own, reference(OTHER, role=role)]
    )
    assert found.reason == reason


def test_weights_need_the_use_train() -> None:
    changes = {"datasets": [reference(OWN)], "modelFrom": {"namespace": OTHER, "name": "base"}}
    base = dataset(OTHER, "base", grants=[grant(uses=("Evaluate",))], data_format="Model")
    assert judge(dataset(OWN), base, **changes).reason == "UseNotGranted"
    granted = judge(dataset(OWN), dataset(OTHER, "base", grants=[grant()], data_format="Model"), **changes)
    assert granted.initial_model is not None
    assert (granted.initial_model.uid, granted.initial_model.digest) == ("uid-base", digest("one"))


def test_of_two_grants_the_one_that_covers_the_use_counts() -> None:
    grants = [grant(name="a", uses=("Evaluate",)), grant(name="b", notAfter=text(at(60)))]
    found = judge(dataset(OTHER, grants=grants))
    assert (found.reason, found.expires) == ("Granted", at(60))


def test_of_two_covering_grants_the_longer_one_says_when_to_look_again() -> None:
    grants = [grant(name="a", notAfter=text(at(60))), grant(name="b", notAfter=text(at(90)))]
    assert judge(dataset(OTHER, grants=grants)).expires == at(90)
    assert judge(dataset(OTHER, grants=[*grants, grant(name="c")])).expires is None


@pytest.mark.parametrize(
    ("versions", "wanted", "reason", "pinned"),
    [
        (("two", "one"), None, "Granted", "two"),
        (("two", "one"), "one", "Granted", "one"),
        (("two", "one"), "nine", "DatasetNotReady", None),
        ((), None, "DatasetNotReady", None),
    ],
    ids=["the newest", "the one asked for", "one that is not there", "none is there"],
)
def test_the_version_is_chosen_at_admission(
    versions: tuple[str, ...], wanted: str | None, reason: str, pinned: str | None
) -> None:
    more = {"version": digest(wanted)} if wanted else {}
    found = judge(dataset(OWN, versions=versions), datasets=[reference(OWN, **more)])
    assert found.reason == reason
    assert [each.digest for each in found.datasets] == ([digest(pinned)] if pinned else [])


def test_every_missing_grant_is_named_in_one_message() -> None:
    both = [reference(OTHER, "a") | {"name": "a"}, reference(OTHER, "b") | {"name": "b"}]
    message = judge(datasets=both).message
    assert f"{OTHER}/a" in message
    assert f"{OTHER}/b" in message


def test_formats_are_compared_with_what_the_task_reads() -> None:
    tokens = {(OWN, "table"): dataset(data_format="TokenClassification")}
    assert misfits(spec(), DatasetFormat.TABULAR, {(OWN, "table"): dataset()}) == ()
    assert "TokenClassification" in misfits(spec(), DatasetFormat.TABULAR, tokens)[0]
    base = {(OWN, "base"): dataset(name="base")}
    changed = spec(modelFrom={"namespace": OWN, "name": "base"})
    assert "format Model" in misfits(changed, DatasetFormat.TABULAR, base)[0]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "Active"),
        ({"notAfter": text(at(-5))}, "Expired"),
        ({"to": "nowhere"}, "NamespaceMissing"),
        ({"namespaceUID": "old"}, "NamespaceReplaced"),
        ({"namespaceUID": None}, "NotBound"),
    ],
)
def test_the_state_of_a_grant(changes: dict[str, Any], wanted: str) -> None:
    assert state(Grant.model_validate(grant(**changes)), UIDS, NOW) == wanted


def test_the_next_end_is_the_earliest_that_is_still_to_come() -> None:
    ends = [at(-10), at(30), at(20)]
    grants = [Grant.model_validate(grant(notAfter=text(end))) for end in ends]
    assert next_end([*grants, Grant.model_validate(grant())], NOW) == at(20)
    assert next_end([], NOW) is None


@given(
    seconds=st.integers(-100, 100),
    uses=st.sets(st.sampled_from(["Train", "Evaluate", "Download", "Serve"]), min_size=1),
    to=st.sampled_from([OWN, OTHER, "hospital-c"]),
    uid=st.sampled_from(["uid-a", "uid-b", "old", None]),
)
def test_access_never_outlives_or_exceeds_the_grant(seconds: int, uses: set[str], to: str, uid: str | None) -> None:
    given_grant = grant(to, tuple(uses), notAfter=text(at(seconds)), namespaceUID=uid)
    allowed = judge(dataset("hospital-d", grants=[given_grant]), datasets=[reference("hospital-d")])
    assert (allowed.reason == "Granted") == (seconds > 0 and "Train" in uses and to == OWN and uid == "uid-a")


def test_a_quarantined_version_is_waited_for_and_its_sources_are_not_told() -> None:
    verdict = Condition(
        type="Ready", status="False", reason="Quarantined", message="made of x/y", last_transition_time=text(NOW)
    )
    found = dataset(OTHER, grants=[grant()])
    held = replace(found, object=replace(found.object, status=DatasetStatus(conditions=[verdict])))
    waiting = judge(held)
    assert waiting.reason == "DatasetNotReady" and "quarantined" in waiting.message and "x/y" not in waiting.message
