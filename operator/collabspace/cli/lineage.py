"""The ledger told as OpenLineage run events: nothing but what a record says, and nothing about what no run did.

A run is one attempt of a task. What opens data for it begins it, what the operator reports of its use ends it; a
record without a task and an attempt (a person's download, a push, a refusal) belongs to no run and is left out.
"""

import uuid
from typing import Any, Final

from collabspace.api import names
from collabspace.api.conditions import Reason
from collabspace.client.protocol import LedgerRecord

Event = dict[str, Any]
PRODUCER: Final = f"https://{names.GROUP}/ledger"
SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACETS: Final = "https://openlineage.io/spec/facets"
VERSION_FACET: Final = f"{FACETS}/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
STATISTICS_FACET: Final = (
    f"{FACETS}/1-0-0/InputStatisticsInputDatasetFacet.json#/$defs/InputStatisticsInputDatasetFacet"
)
# Ended from outside; every other end that is not good is the run's own.
ABORTED: Final = frozenset({Reason.INTERRUPTED, Reason.NODE_LOST, Reason.SUSPENDED, Reason.ACCESS_REVOKED})


class Lineage:
    """Turns records, oldest first, into events; remembers of each run only how far it has come."""

    def __init__(self) -> None:
        self._state: dict[str, str] = {}

    def event(self, record: LedgerRecord) -> Event | None:
        """The event that a record is; None when it says nothing about a run."""
        if record.task is None or record.task_uid is None or record.attempt is None:
            return None
        run = run_id(record.task_uid, record.attempt)
        if record.event == "Used":
            return self._ended(run, record)
        sides = _sides(record)
        if sides is None:
            return None
        known = self._state.setdefault(run, "START" if record.event == "Opened" else "RUNNING")
        if known == "START":
            self._state[run] = "RUNNING"
        ended = known not in ("START", "RUNNING")
        return _event("OTHER" if ended else known, run, record, **sides)

    def _ended(self, run: str, record: LedgerRecord) -> Event | None:
        kind = _end(record.reason)
        if self._state.get(run) == kind:
            return None  # a correction of figures, which these events do not carry
        self._state[run] = kind
        return _event(kind, run, record)


def run_id(task_uid: str, attempt: int) -> str:
    """The same UUID for the same attempt, whoever exports it: the task's own uid for the first attempt."""
    try:
        task = uuid.UUID(task_uid)
    except ValueError:
        task = uuid.uuid5(uuid.NAMESPACE_OID, task_uid)
    return str(task if attempt == 1 else uuid.uuid5(task, str(attempt)))


def _end(reason: str) -> str:
    if reason == Reason.COMPLETED:
        return "COMPLETE"
    return "ABORT" if reason in ABORTED else "FAIL"


def _sides(record: LedgerRecord) -> dict[str, list[Event]] | None:
    """What went in or came out, as the record names it."""
    if record.event == "Published" and record.dataset is None:
        return {"outputs": [_dataset(record.task or "", record.version)]}
    if record.event not in ("Opened", "Closed") or record.dataset is None:
        return None
    dataset = _dataset(record.dataset, record.version)
    if record.event == "Closed":
        if record.bytes is None:
            return None  # nobody counted
        dataset["inputFacets"] = {"inputStatistics": {**_facet(STATISTICS_FACET), "size": record.bytes}}
    return {"inputs": [dataset]}


def _dataset(reference: str, version: str | None) -> Event:
    namespace, _, name = reference.partition("/")
    facets = {"version": {**_facet(VERSION_FACET), "datasetVersion": version}} if version else {}
    return {"namespace": namespace, "name": name, "facets": facets}


def _facet(schema: str) -> Event:
    return {"_producer": PRODUCER, "_schemaURL": schema}


def _event(kind: str, run: str, record: LedgerRecord, **sides: list[Event]) -> Event:
    namespace, _, name = (record.task or "").partition("/")
    return {
        "eventType": kind,
        "eventTime": record.time,
        "run": {"runId": run},
        "job": {"namespace": namespace, "name": name},
        "inputs": sides.get("inputs", []),
        "outputs": sides.get("outputs", []),
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
    }
