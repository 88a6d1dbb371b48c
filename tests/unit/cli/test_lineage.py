"""What the ledger says of an attempt, as OpenLineage run events.

The published JSON schema is not part of this project, so the structure is checked against a hand-written list of what
its version 2-0-2 requires of a run event and of the facets that are used.
"""

import datetime as dt
import itertools
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest

from collabspace.cli.lineage import Lineage, run_id
from collabspace.client.protocol import Decision, LedgerRecord

TASK = "0b8f6a4e-3c77-4a53-9c0c-5d2b6a1f9e11"
DIGEST = "sha256:" + "a" * 64
KINDS = {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
numbers = itertools.count(1)


def record(event: str, **changes: Any) -> LedgerRecord:
    number = next(numbers)
    facts: dict[str, Any] = {
        "sequence": number,
        "time": f"2026-01-01T00:00:{number % 60:02}.000Z",
        "event": event,
        "chain": "c",
        "decision": Decision.ALLOWED,
        "reason": "Granted",
        "namespace": "lab",
        "account": "collabspace-trainer",
        "task": "lab/ner",
        "task_uid": TASK,
        "attempt": 1,
        "dataset": "hospital/notes",
        "dataset_uid": "d",
        "version": DIGEST,
        "hash": "h",
    }
    return LedgerRecord.model_validate({_alias(key): value for key, value in (facts | changes).items()})


def _alias(name: str) -> str:
    return LedgerRecord.model_fields[name].alias or name


def used(reason: str = "Completed", **changes: Any) -> LedgerRecord:
    return record("Used", reason=reason, dataset=None, dataset_uid=None, version=None, **changes)


def told(*records: LedgerRecord) -> list[dict[str, Any]]:
    lineage = Lineage()
    events = [event for event in map(lineage.event, records) if event is not None]
    for event in events:
        follows_the_specification(event)
    return events


def follows_the_specification(event: dict[str, Any]) -> None:
    """What OpenLineage 2-0-2 requires of a run event."""
    assert event["eventType"] in KINDS
    assert dt.datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
    assert event["job"]["namespace"] and event["job"]["name"]
    assert event["schemaURL"].endswith("/2-0-2/OpenLineage.json#/$defs/RunEvent")
    uris = [event["producer"], event["schemaURL"]]
    for side, facets_of_side in (("inputs", "inputFacets"), ("outputs", "outputFacets")):
        for dataset in event[side]:
            assert dataset["namespace"] and dataset["name"]
            for facet in [*dataset["facets"].values(), *dataset.get(facets_of_side, {}).values()]:
                uris += [facet["_producer"], facet["_schemaURL"]]
    assert all(urlsplit(uri).scheme == "https" and urlsplit(uri).netloc for uri in uris)


def test_an_attempt_starts_reads_stores_and_ends_as_one_run() -> None:
    records = [
        record("Opened"),
        record("Opened", dataset="clinic/letters"),
        record("Closed", bytes=123),
        record("Published", dataset=None, dataset_uid=None, version="sha256:" + "b" * 64),
        used(),
    ]
    events = told(*records)
    assert [event["eventType"] for event in events] == ["START", "RUNNING", "RUNNING", "RUNNING", "COMPLETE"]
    assert {event["run"]["runId"] for event in events} == {TASK}
    assert {(event["job"]["namespace"], event["job"]["name"]) for event in events} == {("lab", "ner")}
    assert [event["eventTime"] for event in events] == [each.time for each in records]
    assert events[0]["inputs"][0]["facets"]["version"]["datasetVersion"] == DIGEST
    assert (events[1]["inputs"][0]["namespace"], events[1]["inputs"][0]["name"]) == ("clinic", "letters")
    assert events[2]["inputs"][0]["inputFacets"]["inputStatistics"]["size"] == 123
    assert (events[3]["outputs"][0]["namespace"], events[3]["outputs"][0]["name"]) == ("lab", "ner")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Completed", "COMPLETE"),
        ("UserError", "FAIL"),
        ("Interrupted", "ABORT"),
        ("NodeLost", "ABORT"),
        ("New", "FAIL"),
    ],
)
def test_how_an_attempt_ended_decides_the_last_event(reason: str, kind: str) -> None:
    assert [event["eventType"] for event in told(used(reason))] == [kind]


def test_every_attempt_is_a_run_of_its_own_and_always_the_same_one() -> None:
    ids = [run_id(TASK, attempt) for attempt in (1, 2, 3)]
    assert ids[0] == TASK and len(set(ids)) == 3
    assert ids == [run_id(TASK, attempt) for attempt in (1, 2, 3)]
    assert uuid.UUID(run_id("no-uuid", 1)) != uuid.UUID(run_id("no-uuid", 2))


def test_a_correction_of_figures_is_no_second_end_and_one_of_the_outcome_is() -> None:
    events = told(used(), used(), used("NodeLost"))
    assert [event["eventType"] for event in events] == ["COMPLETE", "ABORT"]


def test_what_comes_after_the_end_is_told_as_other() -> None:
    events = told(record("Opened"), used(), record("Closed", bytes=1))
    assert [event["eventType"] for event in events] == ["START", "COMPLETE", "OTHER"]


def test_a_run_whose_beginning_is_not_in_the_period_gets_no_invented_start() -> None:
    assert [event["eventType"] for event in told(record("Closed", bytes=5), used())] == ["RUNNING", "COMPLETE"]


@pytest.mark.parametrize(
    "silent",
    [
        record("Denied", decision=Decision.DENIED, reason="GrantMissing"),
        record("Opened", task=None, task_uid=None, attempt=None),
        record("Opened", attempt=None, dataset=None),
        record("Published", task=None, task_uid=None, attempt=None),
        record("Closed", bytes=None, reason="BrokerRestarted"),
        record("Swept"),
    ],
    ids=lambda each: f"{each.event} {each.reason}",
)
def test_what_no_run_did_or_nobody_counted_is_left_out(silent: LedgerRecord) -> None:
    assert told(silent) == []
