"""What the broker counts. Labels are closed lists, but for datasets that exist and the teams that ask for them.

Names of these are for the people who run the platform: they are told on the listener for metrics alone, never where
teams ask for data.
"""

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from collabspace.broker.entries import (
    CLOSED,
    DENIED,
    DERIVED,
    OPENED,
    PROMOTED,
    PUBLISHED,
    REBOUND,
    REMOVED,
    SAVED,
    USED,
    Entry,
)
from collabspace.client.protocol import Decision

# Twice the series, for times that nothing asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
# Of dataset and team; whoever comes later counts under OTHER.
MAX_PAIRS = 1000
NONE, OTHER = "none", "other"
Pair = tuple[str, str]

READS = Counter(
    "collabspace_dataset_reads",
    "Access decisions about data. dataset is namespace/name, none (own results and checkpoints, or no such dataset), "
    f"or other, after the first {MAX_PAIRS} pairs of dataset and team.",
    ["dataset", "team", "decision"],
    registry=REGISTRY,
)
BYTES = Counter(
    "collabspace_dataset_bytes",
    "Bytes that the broker moved itself; dataset and team as in collabspace_dataset_reads_total.",
    ["dataset", "team", "direction"],
    registry=REGISTRY,
)
REVIEWS = Counter(
    "collabspace_token_reviews", "Tokens judged, by who judged them and how.", ["outcome"], registry=REGISTRY
)
RECORDS = Counter("collabspace_ledger_records", "Records written to the ledger.", ["event"], registry=REGISTRY)
WRITABLE = Gauge("collabspace_ledger_writable", "1 while the ledger takes records.", registry=REGISTRY)
REQUESTS = Counter("collabspace_broker_requests", "Requests answered.", ["route", "status"], registry=REGISTRY)
DECISION_SECONDS = Histogram(
    "collabspace_broker_decision_seconds",
    "From a request for a session to the decision on disk.",
    buckets=(0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12),
    registry=REGISTRY,
)
SESSIONS = Gauge("collabspace_broker_sessions", "Access sessions that are open.", registry=REGISTRY)
CUT = Counter(
    "collabspace_broker_streams_cut", "Streams ended by the broker before their end.", ["reason"], registry=REGISTRY
)
SWEEPS = Counter("collabspace_broker_sweeps", "Passes of the sweeper.", ["outcome"], registry=REGISTRY)
SWEPT = Counter("collabspace_broker_swept", "Things removed from the store.", ["reason"], registry=REGISTRY)
SWEPT_BYTES = Counter("collabspace_broker_swept_bytes", "Bytes removed from the store.", ["reason"], registry=REGISTRY)
ENFORCEMENT = Gauge(
    "collabspace_store_enforcement_proven",
    "1 for each thing that a store in S3 was seen to refuse; a store in a folder has none.",
    ["check"],
    registry=REGISTRY,
)
BUILD = Gauge(
    "collabspace_build_info", "1, with component and release as labels.", ["component", "version"], registry=REGISTRY
)

SENT, RECEIVED = "sent", "received"
DONE, POSTPONED, FAILED = "done", "postponed", "failed"
ACCEPTED, REFUSED, REFUSED_LOCALLY, UNDECIDED = "accepted", "refused", "refused-locally", "undecided"
EVENTS = (OPENED, DENIED, CLOSED, USED, PUBLISHED, SAVED, PROMOTED, DERIVED, REMOVED, REBOUND)
_pairs: set[Pair] = set()


def pair(entry: Entry) -> Pair:
    """Dataset and team of a record as labels. Only of a dataset that was found does a record hold the name."""
    dataset = f"{entry.owner}/{entry.dataset}" if entry.dataset else NONE
    found = dataset, entry.namespace or NONE
    if found not in _pairs:
        if len(_pairs) >= MAX_PAIRS:
            return OTHER, OTHER
        _pairs.add(found)
    return found


def prepare() -> None:
    """Series that dashboards and alerts ask for exist from the start."""
    BUILD.labels("broker", version("collabspace")).set(1)
    for decision in Decision:
        READS.labels(NONE, NONE, decision)
    for direction in (SENT, RECEIVED):
        BYTES.labels(NONE, NONE, direction)
    for event in EVENTS:
        RECORDS.labels(event)
    CUT.labels(CLOSED)
    for outcome in (DONE, POSTPONED, FAILED):
        SWEEPS.labels(outcome)
    for outcome in (ACCEPTED, REFUSED, REFUSED_LOCALLY, UNDECIDED):
        REVIEWS.labels(outcome)
    for status in ("200", "403", "500", "503"):
        REQUESTS.labels(NONE, status)
