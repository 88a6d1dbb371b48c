"""What a team is told of a dataset is what the door would let it do, and nothing of anybody else's."""

import datetime as dt
from typing import Any

import pytest

from collabspace.api.dataset import SharedDataset
from collabspace.broker.access import Asker
from collabspace.broker.offers import offer
from collabspace.client.protocol import DatasetOffer, VersionSummary

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
LAB = Asker("lab", "uid-lab")
DIGEST = "sha256:" + "a" * 64
VERSION = VersionSummary(
    digest=DIGEST, created_time="2026-05-01T00:00:00Z", format="TokenClassification", records=7, bytes=1, files=1
)
MINE = {"name": "mine", "namespace": "lab", "namespaceUID": "uid-lab", "uses": ["Train"], "purpose": "joint model"}


def told(*grants: dict[str, Any], owner: str = "hospital", ready: dict[str, str] | None = None) -> DatasetOffer | None:
    dataset = {
        "metadata": {"name": "notes", "namespace": owner, "uid": "uid-notes"},
        "spec": {"format": "TokenClassification", "grants": list(grants)},
        "status": {"conditions": [{"type": "Ready", "lastTransitionTime": "2026-05-01T00:00:00Z", **ready}]}
        if ready
        else {},
    }
    return offer(LAB, SharedDataset.model_validate(dataset), VERSION, NOW)


def test_a_grant_is_told_with_its_uses_purpose_and_end_and_the_newest_version() -> None:
    found = told(MINE | {"notAfter": "2026-06-02T00:00:00Z"}, MINE | {"name": "theirs", "namespace": "other"})
    assert found is not None
    assert (found.version, found.records) == (DIGEST, 7)
    assert [(each.name, each.purpose, each.not_after, each.ended) for each in found.grants] == [
        ("mine", "joint model", "2026-06-02T00:00:00Z", False)
    ]


def test_of_a_grant_that_has_ended_the_end_is_told_but_no_version() -> None:
    found = told(MINE | {"notAfter": "2026-06-01T00:00:00Z"})
    assert found is not None
    assert (found.version, found.records, found.grants[0].ended) == (None, None, True)


@pytest.mark.parametrize(
    "grants",
    [
        (),
        (MINE | {"namespace": "other"},),
        (MINE | {"namespaceUID": "uid-of-a-lab-that-was-deleted"},),
        ({key: value for key, value in MINE.items() if key != "namespaceUID"},),
    ],
)
def test_without_a_grant_bound_to_this_very_team_nothing_is_told(grants: tuple[dict[str, Any], ...]) -> None:
    assert told(*grants) is None


def test_the_owner_needs_no_grant_and_is_told_of_none() -> None:
    found = told(MINE, owner="lab")
    assert found is not None
    assert (found.version, found.grants) == (DIGEST, [])


def test_a_version_that_no_task_can_use_is_said_to_be_so() -> None:
    found = told(MINE, ready={"status": "False", "reason": "Quarantined"})
    assert found is not None
    assert found.unready == "Quarantined"
