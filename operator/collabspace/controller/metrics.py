"""What the operator counts. Labels are teams and closed lists: never the name of a task. What there is: census.py."""

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from collabspace.api.conditions import Outcome, Reason

# Twice the series, for times that nothing asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

ADMISSION_WAIT = Histogram(
    "collabspace_admission_wait_seconds",
    "From the creation of a task to the creation of its Job.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200, 259200),
    registry=REGISTRY,
)
ADMISSION_DECISIONS = Counter(
    "collabspace_admission_decisions",
    "Verdicts of admission passes that differ from the one before.",
    ["reason"],
    registry=REGISTRY,
)
ADMISSION_PASS = Histogram(
    "collabspace_admission_pass_seconds",
    "How long one admission pass takes.",
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 1, 5),
    registry=REGISTRY,
)
ATTEMPTS = Counter("collabspace_attempts", "Attempts that ended, by how.", ["outcome"], registry=REGISTRY)
TRIALS = Counter("collabspace_selection_trials", "CollabTasks made for ModelSelections.", ["team"], registry=REGISTRY)
RECONCILE = Histogram(
    "collabspace_reconcile_duration_seconds",
    "One pass over one key.",
    ["kind", "result"],
    buckets=(0.0005, 0.002, 0.01, 0.05, 0.2, 1, 5),
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge("collabspace_queue_depth", "Keys that wait for a worker.", registry=REGISTRY)
API_REQUESTS = Counter(
    "collabspace_api_requests", "Requests to the API server; code 0: no answer.", ["verb", "code"], registry=REGISTRY
)
STATUS_REFUSED = Counter(
    "collabspace_status_refused",
    "Statuses that the API server refused for good; anything above 0 is a defect.",
    ["kind", "code"],
    registry=REGISTRY,
)
STALENESS = Gauge(
    "collabspace_watch_staleness_seconds", "Since the last sign of life of a watch.", ["watch"], registry=REGISTRY
)
LEADER = Gauge(
    "collabspace_leader", "1 while this process leads and may write, 0 while it stands by.", registry=REGISTRY
)
LOOP_LAG = Gauge("collabspace_loop_lag_seconds", "How late the event loop runs.", registry=REGISTRY)
BROKER_CONNECTED = Gauge("collabspace_broker_connected", "1 while the broker's feed is read.", registry=REGISTRY)
EVENTS_DROPPED = Counter("collabspace_events_dropped", "Events not posted: too many at once.", registry=REGISTRY)
BUILD = Gauge(
    "collabspace_build_info", "1, with component and release as labels.", ["component", "version"], registry=REGISTRY
)

STATES = {
    Outcome.ACTIVE: "Active",
    Outcome.WAITING: "Waiting",
    Outcome.RETRIED: "Waiting",
    Outcome.GOOD: "Succeeded",
    Outcome.TERMINAL: "Failed",
}
NOT_JUDGED = "Pending"
ALL_STATES = (NOT_JUDGED, *dict.fromkeys(STATES.values()))
ENDED = frozenset({STATES[Outcome.GOOD], STATES[Outcome.TERMINAL]})
REASONS = {reason.value: reason for reason in Reason}


def state_of(reason: str) -> str:
    """The state that a status reason counts as; a task not judged yet is Pending."""
    known = REASONS.get(reason)
    return STATES[known.outcome] if known is not None else NOT_JUDGED


def prepare() -> None:
    """Series that dashboards ask for exist from the start."""
    BUILD.labels("operator", version("collabspace")).set(1)
    for reason in (Reason.QUOTA_RESERVED, Reason.WAITING_FOR_QUOTA, Reason.EXCEEDS_QUOTA, Reason.EXCEEDS_CAPACITY):
        ADMISSION_DECISIONS.labels(reason.value)
    for reason in Reason:
        if reason.outcome in (Outcome.GOOD, Outcome.TERMINAL, Outcome.RETRIED):
            ATTEMPTS.labels(reason.value)


def observe_request(verb: str, code: int) -> None:
    """For kube.client.KubeClient."""
    API_REQUESTS.labels(verb, str(code)).inc()
