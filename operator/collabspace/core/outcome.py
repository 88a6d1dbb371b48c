"""How an attempt ended: from what the cluster saw of the pod, what the trainer claims and what the broker holds.

The trainer's words are claims: bounded, and a success counts only when the broker holds the very result claimed.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from collabspace.api import names, timestamp
from collabspace.api.conditions import Reason
from collabspace.api.run import MAX_TERMINATION_BYTES, EndRecord, ExitCode
from collabspace.core.observed import AttemptRecord, JobFacts, PodFacts

# How long after an end the pod's last event or the broker's record may still be on their way.
SETTLE = dt.timedelta(seconds=15)
# How often a pod without a Job is looked for until it is gone.
DRAIN = dt.timedelta(seconds=2)

# Phases of a pod that has ended.
ENDED = frozenset({"Succeeded", "Failed"})

# Reasons of the condition DisruptionTarget that mean: the node went away.
NODE_AWAY = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})

# How the trainer's messages about parameters begin: messages name the field first.
PARAMETERS = "training.parameters"

REASONS: Mapping[int, Reason] = {
    ExitCode.CONFIG: Reason.INVALID_SPEC,
    126: Reason.USER_ERROR,
    127: Reason.USER_ERROR,
    ExitCode.DATA: Reason.DATA_ERROR,
    ExitCode.ACCESS_REFUSED: Reason.ACCESS_REVOKED,
    ExitCode.OUT_OF_MEMORY: Reason.OUT_OF_MEMORY,
    ExitCode.TRANSIENT: Reason.BROKER_UNAVAILABLE,
    ExitCode.PREEMPTED: Reason.INTERRUPTED,
    ExitCode.PREEMPTED_UNSAVED: Reason.INTERRUPTED,
    137: Reason.INTERRUPTED,
    143: Reason.INTERRUPTED,
    ExitCode.GATE_NOT_MET: Reason.GATE_NOT_MET,
    ExitCode.DIVERGED: Reason.DIVERGED,
    ExitCode.BUDGET_SPENT: Reason.BUDGET_SPENT,
}
# Ends that the trainer came to by itself, though it was told to stop at the same moment.
OWN_VERDICTS = frozenset(
    {ExitCode.CONFIG, ExitCode.DATA, ExitCode.GATE_NOT_MET, ExitCode.DIVERGED, ExitCode.BUDGET_SPENT, 126, 127}
)


@dataclass(frozen=True, slots=True)
class Result:
    digest: str
    bytes: int


@dataclass(frozen=True, slots=True)
class End:
    """An attempt that is over. `claims` is the trainer's end record, None when it left none that can be read."""

    reason: Reason
    message: str
    exit_code: int | None
    node: str
    started: str | None
    ended: str | None
    result: Result | None
    claims: EndRecord | None

    @property
    def signature(self) -> str:
        """Tells one crash from another, by the trainer's own mark or else by its exit code."""
        if self.reason is not Reason.USER_ERROR:
            return ""
        own = self.claims.signature if self.claims is not None and self.claims.code == self.exit_code else None
        return printable(own)[:64] if own else f"exit code {self.exit_code}"


@dataclass(frozen=True, slots=True)
class Unsettled:
    """The attempt is over, but what it came to is not known yet. `message` is for people; look again at `until`."""

    message: str
    until: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Remains:
    """What live reads found of an attempt whose end nobody saw: that its Job was deleted, that no pod of it is left, or
    on which dead node one is stuck."""

    job_gone: bool = False
    none_left: bool = False
    stuck_on: str = ""


NOTHING = Remains()


def judge(
    job: JobFacts | None,
    pod: PodFacts | None,
    record: AttemptRecord | None,
    broker_known: bool,
    now: dt.datetime,
    remains: Remains = NOTHING,
) -> End | Unsettled | None:
    """None while the attempt goes on. `job` is None when nobody knows it; `broker_known`: the feed is current.

    An attempt is over only when its pod is: ended, gone, or on a node that is gone.
    """
    if pod is None and remains.stuck_on:
        lost = (Reason.NODE_LOST, f"node {remains.stuck_on} does not answer")
        reason, message = (job.stop if job is not None else None) or lost
        return _end(reason, message, None, pod, None, None, None)
    if pod is None and not remains.none_left:
        if job is None or remains.job_gone:
            return Unsettled("its Job was deleted; waiting for its pod to stop", now + DRAIN)
        if not job.finished:
            return None
    claims = claims_of(pod, record)
    ended = pod.ended if pod is not None else (job.finished_time if job is not None else None)
    settle = _moment(ended, now) + SETTLE
    if pod is None and claims is None and job is not None and job.finished and now < settle:
        return Unsettled("waiting for the pod's last words", settle)
    code = pod.exit_code if pod is not None else (claims.code if claims is not None else None)
    if code == ExitCode.OK:
        return _success(pod, record, claims, broker_known, (ended, settle, now))
    reason, message = _failure(code, pod, job, claims)
    if job is not None and job.stop is not None and code not in OWN_VERDICTS:
        reason, message = job.stop
    result = _held(record) if reason in (Reason.GATE_NOT_MET, Reason.BUDGET_SPENT) else None
    return _end(reason, message, code, pod, ended, result, claims)


def _success(
    pod: PodFacts | None,
    record: AttemptRecord | None,
    claims: EndRecord | None,
    broker_known: bool,
    times: tuple[str | None, dt.datetime, dt.datetime],
) -> End | Unsettled:
    ended, settle, now = times
    held = _held(record)
    if claims is None or claims.digest is None:
        if claims is None and (now < settle or not broker_known):
            return Unsettled(
                "the trainer left no end record; waiting for the broker's", settle if now < settle else None
            )
        return _end(Reason.USER_ERROR, "ended with code 0 but names no result", 0, pod, ended, None, claims)
    if held is None:
        return Unsettled(f"waiting for the broker to confirm result {claims.digest}", settle if now < settle else None)
    if held.digest != claims.digest:
        message = f"the trainer claims result {claims.digest}, the broker holds {held.digest}"
        return _end(Reason.USER_ERROR, message, 0, pod, ended, None, claims)
    return _end(Reason.COMPLETED, "", 0, pod, ended, held, claims)


def _failure(
    code: int | None, pod: PodFacts | None, job: JobFacts | None, claims: EndRecord | None
) -> tuple[Reason, str]:
    words = printable(claims.message) if claims is not None and claims.code == code else ""
    if pod is not None and pod.out_of_memory:
        return Reason.OUT_OF_MEMORY, words or "the container was killed at its memory limit"
    if code is None:
        if pod is not None and pod.lost:
            return Reason.NODE_LOST, f"node {pod.node} went away: {pod.words}"
        said = pod.words if pod is not None else (job.failure if job is not None else "") or "its Job was deleted"
        return Reason.INTERRUPTED, f"the pod ended without an exit code: {said}" if said else ""
    if pod is not None and pod.lost and code in (137, 143):
        return Reason.NODE_LOST, f"node {pod.node} went away: {pod.words}"
    reason = REASONS.get(code, Reason.USER_ERROR)
    if code == ExitCode.CONFIG and words.startswith(PARAMETERS):
        reason = Reason.INVALID_PARAMETER
    prefix = f"exit code {code}"
    return reason, f"{prefix}: {words}" if words else prefix


def _end(
    reason: Reason,
    message: str,
    code: int | None,
    pod: PodFacts | None,
    ended: str | None,
    result: Result | None,
    claims: EndRecord | None,
) -> End:
    node, started = (pod.node, pod.started) if pod is not None else ("", None)
    return End(reason, message, code, node, started, ended, result, claims)


def _held(record: AttemptRecord | None) -> Result | None:
    if record is None or record.result_digest is None:
        return None
    return Result(record.result_digest, record.result_bytes)


def claims_of(pod: PodFacts | None, record: AttemptRecord | None) -> EndRecord | None:
    """The termination message when it can be read, else what the trainer told the broker."""
    if pod is not None and 0 < len(pod.message.encode(errors="replace")) <= MAX_TERMINATION_BYTES:
        try:
            return EndRecord.model_validate_json(pod.message)
        except ValidationError:
            # Not the trainer's words (a crash of the runtime, a hostile image): they are not repeated anywhere.
            return record.end if record is not None else None
    return record.end if record is not None else None


def printable(text: str) -> str:
    """One line without control characters: the words end up in people's terminals."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _moment(text: str | None, now: dt.datetime) -> dt.datetime:
    if text is None:
        return now
    try:
        return timestamp.parse(text)
    except ValueError:
        return now


def read_pod(raw: Mapping[str, Any]) -> PodFacts | None:
    """The facts of a pod that a Job controls and that has ended. None: it is none."""
    try:
        meta, status = raw["metadata"], raw.get("status") or {}
        owner = next(each for each in meta.get("ownerReferences") or () if each.get("controller"))
        # Any other phase does not say that it is over.
        if owner["kind"] != "Job" or status.get("phase") not in ENDED:
            return None
        statuses = [each for each in status.get("containerStatuses") or () if each["name"] == names.TRAINER_CONTAINER]
        end = ((statuses[0].get("state") or {}).get("terminated") or {}) if statuses else {}
        lost = any(
            each.get("type") == "DisruptionTarget" and each.get("status") == "True" and each.get("reason") in NODE_AWAY
            for each in status.get("conditions") or ()
        )
        return PodFacts(
            name=meta["name"],
            job_uid=owner["uid"],
            node=str((raw.get("spec") or {}).get("nodeName") or ""),
            started=status.get("startTime"),
            ended=end.get("finishedAt") or status.get("startTime") or meta.get("deletionTimestamp"),
            exit_code=end.get("exitCode"),
            out_of_memory=end.get("reason") == "OOMKilled",
            lost=lost or status.get("reason") == "NodeLost",
            message=str(end.get("message") or "")[:8192],
            words=_words(status, end),
        )
    except (KeyError, TypeError, StopIteration, AttributeError):
        return None


def _words(status: Mapping[str, Any], end: Mapping[str, Any]) -> str:
    """What the kubelet or a controller says; never the container's own words."""
    parts = (status.get("reason"), status.get("message"), end.get("reason"))
    return ": ".join(str(part) for part in parts if part)[:300]
