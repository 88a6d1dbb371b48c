"""What is told about a SharedDataset."""

from typing import Any

import pytest
from core_facts import NOW, OTHER, OWN, UIDS, at, grant, meta, observed_dataset, text, version

from collabspace.api.dataset import DatasetSpec, DatasetStatus, DatasetUsage, Version, VersionSource
from collabspace.core.dataset import decide_dataset, sources_of
from collabspace.core.observed import DatasetRecord, ObservedDataset, observe

RECORD = DatasetRecord((version("four"), version("three"), version("two"), version("one")), DatasetUsage(reads=3))


def read(status: DatasetStatus | None, kind: str) -> tuple[str, str]:
    assert status is not None
    found = next(each for each in status.conditions if each.type == kind)
    return found.status, found.reason


def test_the_newest_version_is_the_current_one_and_three_are_shown() -> None:
    status = decide_dataset(observed_dataset(), RECORD, UIDS, NOW).status
    assert status is not None
    assert status.current_version == version("four")
    assert status.versions == [version("four"), version("three"), version("two")]
    assert status.usage == DatasetUsage(reads=3)
    assert read(status, "Ready") == ("True", "VersionAvailable")
    assert read(status, "IntegrityVerified") == ("True", "Verified")


def test_without_a_version_it_is_not_ready_and_says_what_to_do() -> None:
    status = decide_dataset(observed_dataset(), DatasetRecord(), UIDS, NOW).status
    assert read(status, "Ready") == ("False", "NoVersion")
    assert read(status, "ContractSatisfied") == ("Unknown", "Pending")


def test_while_the_broker_was_never_heard_what_stood_stands() -> None:
    known = decide_dataset(observed_dataset(), RECORD, UIDS, NOW).status
    assert known is not None
    assert decide_dataset(observed_dataset(status=known), None, UIDS, at(99)).status is None
    assert read(decide_dataset(observed_dataset(), None, UIDS, NOW).status, "Ready") == ("Unknown", "Pending")


def test_each_grant_has_its_state_and_the_next_end_is_waited_for() -> None:
    grants = [grant(name="a"), grant("nowhere", name="b"), grant(OTHER, name="c", notAfter=text(at(30)))]
    plan = decide_dataset(observed_dataset(grants=grants), RECORD, UIDS, NOW)
    assert plan.status is not None
    assert [(each.name, each.state) for each in plan.status.grants] == [
        ("a", "Active"),
        ("b", "NamespaceMissing"),
        ("c", "Active"),
    ]
    assert plan.status.active_grants == 2
    assert plan.requeue_after == 30
    later = decide_dataset(observed_dataset(grants=grants, status=plan.status), RECORD, UIDS, at(30)).status
    assert later is not None
    assert later.grants[2].state == "Expired"
    assert later.active_grants == 1


@pytest.mark.parametrize("spec", [None, {"format": "Pictures"}, {"format": "Tabular", "grants": "all"}])
def test_a_spec_that_cannot_be_read_is_named(spec: object) -> None:
    broken = observe({"metadata": meta("d", OWN), "spec": spec}, DatasetSpec, DatasetStatus)
    status = decide_dataset(broken, RECORD, UIDS, NOW).status
    assert read(status, "Ready") == ("False", "InvalidSpec")
    again = observe({"metadata": meta("d", OWN), "spec": spec}, DatasetSpec, DatasetStatus)
    assert status is not None
    assert decide_dataset(type(again)(again.meta, None, again.problem, status), RECORD, UIDS, at(5)).status is None


def made_of(namespace: str = OTHER, uid: str = "uid-notes") -> Version:
    return version("four").model_copy(update={"sources": [VersionSource(namespace=namespace, name="notes", uid=uid)]})


def source(*uses: str, **changes: Any) -> ObservedDataset:
    """The dataset `notes` of the other team, with a grant to this one."""
    grants = [grant(OWN, uses=uses, **changes)] if uses else []
    raw = {"metadata": meta("notes", OTHER), "spec": {"format": "TokenClassification", "grants": grants}}
    raw["metadata"]["uid"] = "uid-notes"
    return observe(raw, DatasetSpec, DatasetStatus)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (source("Train", "Derive"), "VersionAvailable"),
        (source("Derive", notAfter=text(at(60))), "VersionAvailable"),
        (source("Train"), "Quarantined"),
        (source(), "Quarantined"),
        (source("Derive", notAfter=text(at(-1))), "Quarantined"),
        (None, "Quarantined"),
    ],
)
def test_a_model_is_quarantined_while_an_owner_of_its_data_does_not_grant_that(
    found: ObservedDataset | None, reason: str
) -> None:
    record = DatasetRecord((made_of(),), DatasetUsage())
    sources = sources_of(observed_dataset(), record, {(OTHER, "notes"): found}.get)
    plan = decide_dataset(observed_dataset(), record, UIDS, NOW, sources)
    assert plan.status is not None
    (ready,) = [each for each in plan.status.conditions if each.type == "Ready"]
    assert (ready.status, ready.reason) == ("True" if reason == "VersionAvailable" else "False", reason)
    assert plan.requeue_after == 15, "others' grants are looked at again"
    if reason == "Quarantined":
        assert f"grants add notes -n {OTHER} --to {OWN} --use Derive" in ready.message


def test_data_made_anew_under_the_name_are_others_and_ones_own_need_no_grant() -> None:
    for made, expected in ((made_of(uid="uid-before"), "Quarantined"), (made_of(OWN), "VersionAvailable")):
        record = DatasetRecord((made,), DatasetUsage())
        sources = sources_of(observed_dataset(), record, {(OTHER, "notes"): source("Derive")}.get)
        assert read(decide_dataset(observed_dataset(), record, UIDS, NOW, sources).status, "Ready")[1] == expected
