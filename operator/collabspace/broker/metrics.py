"""What the broker counts. Labels are closed lists: no name of a tenant's thing ever becomes a series."""

from prometheus_client import Counter, Gauge, Histogram

READS = Counter("collabspace_dataset_reads", "Access decisions about data.", ["decision"])
BYTES = Counter("collabspace_dataset_bytes", "Bytes of data moved.", ["direction"])
REVIEWS = Counter("collabspace_token_reviews", "Tokens judged, by who judged them and how.", ["outcome"])
RECORDS = Counter("collabspace_ledger_records", "Records written to the ledger.", ["event"])
REQUESTS = Counter("collabspace_broker_requests", "Requests answered.", ["route", "status"])
DECISION_SECONDS = Histogram(
    "collabspace_broker_decision_seconds",
    "From a request for a session to the decision on disk.",
    buckets=(0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12),
)
SESSIONS = Gauge("collabspace_broker_sessions", "Access sessions that are open.")
CUT = Counter("collabspace_broker_streams_cut", "Streams ended by the broker before their end.", ["reason"])
SWEEPS = Counter("collabspace_broker_sweeps", "Passes of the sweeper.", ["outcome"])
SWEPT = Counter("collabspace_broker_swept", "Things removed from the store.", ["reason"])
ENFORCEMENT = Gauge("collabspace_store_enforcement_proven", "What a store in S3 was seen to refuse.", ["check"])
SWEPT_BYTES = Counter("collabspace_broker_swept_bytes", "Bytes removed from the store.", ["reason"])

SENT, RECEIVED = "sent", "received"
for decision in ("Allowed", "Denied"):
    READS.labels(decision)
for direction in (SENT, RECEIVED):
    BYTES.labels(direction)
