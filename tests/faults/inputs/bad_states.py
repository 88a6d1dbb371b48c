"""Statuses and metadata that nobody who may write them writes: only storage can hold them. As create and as update
the API server drops the status, or sets right the metadata."""

from typing import Any

from bad_input import ALARM, DATASET, DROP, GONE, MAYBE, OK, SELECTION, TASK, UNTOUCHED, Case, Change, digest_of

LAST, FIRST = "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"
DONE = {"type": "Succeeded", "status": "True", "reason": "Completed", "message": "", "lastTransitionTime": FIRST}
ATTEMPT = {"number": 1, "startTime": FIRST, "endTime": FIRST, "outcome": "Interrupted", "reason": "Interrupted"}


def _case(name: str, kind: str, change: Change, *ends: str) -> Case:
    return Case(name, kind, change, MAYBE if name.startswith("metadata") else "", ends or (OK,), running=True)


def _task(name: str, *ends: str, **fields: Any) -> Case:
    return _case(f"status.task-{name}", TASK, {f"status/{key}": value for key, value in fields.items()}, *ends)


def _dataset(name: str, *ends: str, **fields: Any) -> Case:
    return _case(f"status.dataset-{name}", DATASET, {f"status/{key}": value for key, value in fields.items()}, *ends)


def _selection(name: str, *ends: str, **fields: Any) -> Case:
    change = {f"status/{key}": value for key, value in fields.items()}
    return _case(f"status.selection-{name}", SELECTION, change, *ends)


ENTRY = {"candidate": "linear", "state": "Ranked", "rank": 1, "validationValue": "0.9"}
WINNER = {
    "candidate": "linear",
    "taskName": "nobody",
    "taskUid": "x",
    "resultDigest": digest_of("1"),
    "metricValue": "0.9",
}
STATUSES = (
    _case("status.task-null", TASK, {"status": None}),
    _case("status.task-a-list", TASK, {"status": [1]}, OK, ALARM),
    _case("status.task-a-text", TASK, {"status": "fine"}, OK, ALARM),
    _task("conditions-a-text", conditions="what"),
    _task("conditions-empty", conditions=[{}]),
    _task("conditions-of-null", conditions=[None]),
    _task("condition-time-a-word", conditions=[{**DONE, "status": "False", "lastTransitionTime": "noon"}]),
    _task("condition-of-no-type", conditions=[{**DONE, "type": "x" * 999}]),
    _task("conditions-twice", conditions=[{**DONE, "status": "False"}, {**DONE, "status": "False"}]),
    _task("attempts-a-number", attempts=7),
    _task("attempt-negative", attempts=[{"number": -1}]),
    _task("attempt-beyond-64-bits", UNTOUCHED, OK, attempts=[{"number": 10**30}]),
    _task(
        "attempt-a-million", UNTOUCHED, OK, "RetryBackoff", "NotAllowed", attempts=[{**ATTEMPT, "number": 1_000_000}]
    ),
    _task("attempt-of-no-time", UNTOUCHED, OK, attempts=[{**ATTEMPT, "startTime": "yesterday", "endTime": "today"}]),
    _task(
        "attempt-at-the-end-of-time",
        UNTOUCHED,
        OK,
        "RetryBackoff",
        attempts=[{**ATTEMPT, "startTime": LAST, "endTime": LAST}],
    ),
    _task("attempt-before-time", UNTOUCHED, OK, attempts=[{**ATTEMPT, "endTime": "0001-01-01T00:00:00+14:00"}]),
    _task("attempt-of-no-memory", UNTOUCHED, OK, attempts=[{**ATTEMPT, "reason": "OutOfMemory", "memory": "lots"}]),
    _task("attempt-of-no-outcome", UNTOUCHED, OK, attempts=[{"number": 1, "outcome": "Magic"}]),
    _task("progress-of-no-time", progress={"percent": 1, "step": 1, "totalSteps": 9, "lastUpdateTime": "noon"}),
    _task("progress-beyond-all", progress={"percent": 900, "step": -1, "totalSteps": 1, "lastUpdateTime": LAST}),
    _task("usage-negative", usage={"cpuSeconds": -5, "gpuSeconds": -5, "activeSeconds": -5}),
    _task("usage-huge", OK, "BudgetSpent", "DeadlineExceeded", usage={"cpuSeconds": 2**62, "activeSeconds": 2**62}),
    _task("failures-huge", failedAttempts=2**62),
    _task("pins-of-nothing", datasets=[{"name": "train", "uid": "x", "digest": "latest"}]),
    _task("pins-of-others", datasets=[{"name": "train", "uid": "x", "digest": digest_of("2")}]),
    _task("start-a-word", startTime="noon"),
    _task("reason-unknown", reason="Because"),
    _task("result-forged", result={"digest": digest_of("3"), "bytes": 1}),
    _task("result-of-no-digest", result={"digest": "../../x", "bytes": -1}),
    _task("metrics-10000", metrics=[{"name": "m", "value": "1"}] * 10_000),
    _task("generation-ahead", observedGeneration=2**60),
    _task("generation-a-text", observedGeneration="new"),
    _task("unknown-fields", phase="Done", podIP="1.2.3.4"),
    _task("success-forged", UNTOUCHED, OK, GONE, completionTime=FIRST, conditions=[DONE], reason="Completed"),
    _task("success-at-the-end-of-time", UNTOUCHED, OK, completionTime=LAST, conditions=[DONE], reason="Completed"),
    _task("success-at-no-time", UNTOUCHED, OK, completionTime="noon", conditions=[DONE], reason="Completed"),
    _dataset("conditions-a-text", conditions="x"),
    _dataset("versions-a-text", versions="all"),
    _dataset("versions-of-nothing", versions=[{}]),
    _dataset("version-negative", currentVersion={"digest": "x", "createdTime": "y", "records": -1}),
    _dataset("grants-unknown", grants=[{"name": "g", "namespace": "x", "state": "Perhaps"}]),
    _dataset("grants-negative", activeGrants=-3),
    _dataset("usage-negative", usage={"reads": -1, "bytes": 10**30}),
    _selection("conditions-a-text", conditions="x"),
    _selection("leaderboard-a-text", leaderboard="first"),
    _selection("leaderboard-forged", leaderboard=[ENTRY, {**ENTRY, "candidate": "nobody"}]),
    _selection("leaderboard-of-no-number", leaderboard=[{**ENTRY, "validationValue": "NaN"}]),
    _selection(
        "pins-of-others", OK, "NameConflict", datasets=[{"name": "other", "uid": "x", "digest": digest_of("4")}]
    ),
    _selection("pins-of-nothing", datasets=[{"name": "train", "digest": "latest"}]),
    _selection("winner-forged", winner=WINNER),
    _selection("winner-of-nothing", winner={"candidate": "x"}),
    _selection("champion-forged", champion={"taskName": "../x", "resultDigest": digest_of("5")}),
    _selection("comparison-forged", comparison=[{"rival": "Champion", "candidate": "x", "verdict": "Better"}]),
    _selection("promotion-forged", promotion={"state": "Promoted", "alias": "best"}),
    _selection("cost-huge", cost={"cpuSeconds": 2**62, "gpuSeconds": 2**62}),
    _selection("start-a-word", startTime="noon"),
    _selection("success-forged", UNTOUCHED, OK, completionTime=FIRST, conditions=[DONE], reason="Completed"),
    _selection("success-at-no-time", UNTOUCHED, OK, completionTime="noon", conditions=[DONE], reason="Completed"),
)

OWNER = {"apiVersion": "collabspace.io/v1alpha1", "kind": "ModelSelection", "name": "sel", "uid": "gone"}
METADATA = (
    _case("metadata.created-never", TASK, {"metadata/creationTimestamp": None}, OK, UNTOUCHED),
    _case("metadata.created-at-the-end-of-time", TASK, {"metadata/creationTimestamp": LAST}, OK, UNTOUCHED),
    _case("metadata.generation-negative", TASK, {"metadata/generation": -4}, OK, UNTOUCHED),
    _case("metadata.labels-many", TASK, {"metadata/labels": {f"l{n}": "v" * 63 for n in range(500)}}, OK, UNTOUCHED),
    _case("metadata.labels-of-a-job", TASK, {"metadata/labels": {"collabspace.io/task-uid": "x"}}, OK, UNTOUCHED),
    _case("metadata.annotation-200-kB", TASK, {"metadata/annotations": {"a": "x" * 200_000}}, OK, UNTOUCHED),
    _case(
        "metadata.annotation-of-kopf",
        TASK,
        {"metadata/annotations": {"kopf.dev/last-handled-configuration": "{"}},
        OK,
        UNTOUCHED,
    ),
    _case("metadata.annotation-null", TASK, {"metadata/annotations": {"a": None}}, OK, UNTOUCHED),
    _case("metadata.finalizers", TASK, {"metadata/finalizers": ["a.b/c"] * 3}, OK, UNTOUCHED),
    _case(
        "metadata.owner-of-no-uid",
        TASK,
        {"metadata/ownerReferences": [OWNER | {"controller": True}]},
        OK,
        UNTOUCHED,
        GONE,
    ),
    _case("metadata.owners-nobody", TASK, {"metadata/ownerReferences": [{}]}, OK, UNTOUCHED, GONE, ALARM),
    _case(
        "metadata.other-uid",
        TASK,
        {"metadata/uid": "00000000-1111-2222-3333-444444444444"},
        OK,
        UNTOUCHED,
        "NameConflict",
    ),
    _case("metadata.dataset-created-never", DATASET, {"metadata/creationTimestamp": None}, OK, UNTOUCHED),
    _case("metadata.dataset-other-uid", DATASET, {"metadata/uid": "x"}, OK, UNTOUCHED, "NoVersion"),
    _case("metadata.selection-created-never", SELECTION, {"metadata/creationTimestamp": DROP}, OK, UNTOUCHED),
    _case(
        "metadata.selection-owner", SELECTION, {"metadata/ownerReferences": [OWNER | {"uid": "y"}]}, OK, UNTOUCHED, GONE
    ),
)

STATES = (*STATUSES, *METADATA)
