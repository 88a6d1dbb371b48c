"""What one record of the ledger says, and how it stands in a row, in a chain and in an answer."""

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sqlalchemy import RowMapping, String

from collabspace.api.dataset import Use
from collabspace.broker.chain import Sealed
from collabspace.broker.tables import access
from collabspace.client.protocol import Decision, LedgerRecord

DECISIONS = "decisions"
OPENED, DENIED, CLOSED, USED = "Opened", "Denied", "Closed", "Used"
# A version of a dataset or a result that others see; a checkpoint that only its own task reads.
PUBLISHED, SAVED = "Published", "Saved"
PROMOTED, DERIVED = "Promoted", "Derived"
REMOVED, REBOUND = "Removed", "Rebound"
BROKER_RESTARTED = "BrokerRestarted"


@dataclass(frozen=True)
class Entry:
    """What is to be recorded. `dataset_uid` names the chain; without it the record goes to the chain of decisions."""

    event: str
    decision: Decision
    reason: str
    namespace: str = ""
    account: str = ""
    claimed_by: str | None = None
    pod: str | None = None
    pod_uid: str | None = None
    node: str | None = None
    token_id: str | None = None
    task: str | None = None
    task_uid: str | None = None
    attempt: int | None = None
    on_behalf_of: str | None = None
    owner: str | None = None
    dataset: str | None = None
    dataset_uid: str | None = None
    version: str | None = None
    use: str | None = None
    purpose: str | None = None
    profile: str | None = None
    grant: str | None = None
    generation: int | None = None
    bytes: int | None = None
    gpu_seconds: int | None = None
    cpu_seconds: int | None = None
    # Made with the entry and kept by `but`: it is how a record that closes knows the one that opened.
    session: str | None = field(default_factory=lambda: uuid.uuid4().hex)
    repeats: int = 1

    @property
    def chain(self) -> str:
        return self.dataset_uid or DECISIONS

    def but(self, **changes: Any) -> "Entry":
        """The same with some fields changed."""
        return replace(self, **changes)


WIDTHS = {
    column.name: column.type.length for column in access.c if isinstance(column.type, String) and column.type.length
}
SEALED_FIELDS = ("time", *(field.name for field in fields(Entry)))


def time_text(now: dt.datetime) -> str:
    """As the ledger writes times: RFC 3339, UTC, milliseconds."""
    return now.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def values_of(entry: Entry, now: dt.datetime) -> dict[str, str | int | None]:
    """The columns that the seal covers. Only records about a session carry its id."""
    values: dict[str, str | int | None] = {"time": time_text(now)}
    values |= {field.name: _storable(field.name, getattr(entry, field.name)) for field in fields(Entry)}
    values["decision"] = entry.decision.value
    if entry.event not in (OPENED, CLOSED):
        values["session"] = None
    return values


def _storable(name: str, value: str | int | None) -> str | int | None:
    """The value as every database keeps it: one caller's odd words must not keep others' records from being written."""
    if not isinstance(value, str):
        return value
    return value.encode(errors="replace").decode().replace("\0", "\ufffd")[: WIDTHS[name]]


def text_of_uses(uses: Iterable[Use]) -> str:
    """All uses that a reading is for, as one field: `Train+Evaluate`."""
    return "+".join(use.value for use in sorted(uses, key=list(Use).index))


def is_for(use: Use, text: str | None) -> bool:
    """Whether a record's field says that the reading was for this use, alone or with others."""
    return text is not None and use.value in text.split("+")


def entry_of_row(row: RowMapping) -> Entry:
    values = {field.name: row[field.name] for field in fields(Entry)}
    return Entry(**values | {"decision": Decision(row["decision"])})


def sealed_of_row(row: RowMapping) -> Sealed:
    return Sealed(row["position"], {name: row[name] for name in SEALED_FIELDS}, row["previous"], row["hash"])


def record_of_row(row: RowMapping) -> LedgerRecord:
    names = LedgerRecord.model_fields.keys() - {"dataset", "task"}
    dataset = f"{row['owner']}/{row['dataset']}" if row["dataset"] else None
    task = f"{row['namespace']}/{row['task']}" if row["task"] else None
    return LedgerRecord(dataset=dataset, task=task, **{name: row[name] for name in names})
