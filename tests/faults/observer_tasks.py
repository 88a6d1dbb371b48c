"""I1, I2, I3, I9, I17: what became of tasks and of the processes that worked for them.

Each check yields lines that begin with the invariant's name. What is asked of the present state holds at rest only.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

from observer_evidence import (
    Evidence,
    Process,
    Row,
    attempt_of,
    condition,
    final,
    finished,
    grouped,
    holds,
    over,
    seconds,
    status,
    task_of,
    where,
)
from observer_truth import untrue
from watching import Object

# What a corrected spec, quota or cluster can undo: the task ended nowhere, it was refused.
REFUSALS = {"UnknownMethod", "InvalidParameter", "InvalidSpec", "ExceedsQuota", "ExceedsCapacity"}
KEPT_ATTEMPTS = 10
LATE_SECONDS = 30.0


def no_task_is_lost(evidence: Evidence) -> Iterator[str]:
    """I1: over, at work, or waiting for a reason that is true."""
    for uid, task in evidence.tasks.items():
        if task["metadata"].get("deletionTimestamp") or final(task) is not None:
            continue
        reason = str(status(task).get("reason", ""))
        if not reason or reason == "Pending":
            yield f"I1 {where(task)} was never looked at"
        elif reason in ("Starting", "Training", "Stopping", "Confirming", "PodsPending", "ImagePullFailed"):
            if not any(not finished(job) for job in evidence.jobs_of(uid)) and not evidence.pods_of(uid):
                yield f"I1 {where(task)} is {reason}, but there is neither Job nor pod of it"
            elif reason == "Confirming" and all(over(pod) for pod in evidence.pods_of(uid)) and _told(evidence, uid):
                yield f"I1 {where(task)} is Confirming, but the broker holds its result"
        elif holds(task, "Stalled") and reason not in REFUSALS:
            yield f"I1 {where(task)} is stalled by {reason}, which ends a task, without completionTime"
        else:
            why = untrue(evidence, task, reason)
            if why:
                yield f"I1 {where(task)} waits for a reason that is not true: {reason}: {why}"


def _told(evidence: Evidence, uid: str) -> bool:
    return any(row["task_uid"] == uid and row["result"] for row in evidence.attempts)


def one_process_by_fence(evidence: Evidence) -> Iterator[str]:
    """I2: never two processes of one attempt and rank; nothing is stored for an attempt once a newer one reads."""
    by_fence: dict[tuple[str, int, int], list[Process]] = grouped(evidence.processes, lambda one: one.fence)
    for (uid, rank, attempt), found in by_fence.items():
        ordered = sorted(found, key=lambda one: one.start)
        for older, newer in pairwise(ordered):
            together = older.end is None or older.end > newer.start
            how = "side by side" if together else "one after the other"
            yield f"I2 task {uid} attempt {attempt} rank {rank}: {older.pod} and {newer.pod} ran {how}"
    newest: dict[str, int] = {}
    for row in evidence.access:
        uid, number = row["task_uid"], row["attempt"]
        if uid is None or number is None or row["decision"] != "Allowed":
            continue
        if row["event"] in ("Saved", "Published") and number < newest.get(uid, 0) and _kept(evidence, row):
            yield f"I2 task {uid}: attempt {number} stored {row['version']} though {newest[uid]} had begun to read"
        if row["event"] == "Opened":
            newest[uid] = max(number, newest.get(uid, 0))


def _kept(evidence: Evidence, row: Row) -> bool:
    """Whether what is on record was stored then: the record comes first, and the last look at the fence after it."""
    uid, number, version = row["task_uid"], row["attempt"], row["version"]
    if row["event"] == "Saved":
        return any(
            (each["task_uid"], each["attempt"], each["digest"]) == (uid, number, version)
            for each in evidence.checkpoints
        )
    found = (each["result"] or "" for each in evidence.attempts if (each["task_uid"], each["attempt"]) == (uid, number))
    return any(version in result for result in found)


def ends_are_final(evidence: Evidence) -> Iterator[str]:
    """I3: an end is never taken back, nothing is started after it, and attempts are bounded."""
    ended: dict[str, tuple[int, tuple[str, str, str]]] = {}
    for change in evidence.history("tasks"):
        task, verdict = change.object, final(change.object)
        known = ended.get(change.uid)
        if known is not None and not change.gone and verdict != known[1]:
            yield f"I3 {where(task)} had ended as {known[1]} and is {verdict} at revision {change.revision}"
        elif verdict is not None and known is None:
            ended[change.uid] = change.revision, verdict
        failed, allowed = status(task).get("failedAttempts", 0), (task.get("spec") or {}).get("maxAttempts", 3)
        if failed > allowed:
            yield f"I3 {where(task)} has {failed} failed attempts, maxAttempts is {allowed}"
    seen: set[str] = set()
    for change in evidence.history("jobs"):
        uid = task_of(change.object)
        if change.uid not in seen and not change.gone and uid in ended and change.revision > ended[uid][0]:
            yield f"I3 Job {where(change.object)} was made after the end of its task ({ended[uid][1]})"
        seen.add(change.uid)


def statuses_are_true(evidence: Evidence) -> Iterator[str]:
    """I9, at rest: what a status says is what is there."""
    for uid, task in evidence.tasks.items():
        if task["metadata"].get("deletionTimestamp"):
            continue
        told = status(task)
        if told.get("observedGeneration") != task["metadata"].get("generation") and final(task) is None:
            yield (
                f"I9 {where(task)} has generation {task['metadata'].get('generation')}, "
                f"its status judges {told.get('observedGeneration')}"
            )
        if holds(task, "Succeeded") and holds(task, "Stalled"):
            yield f"I9 {where(task)} is Succeeded and Stalled"
        if final(task) is not None and told.get("reason") != condition(task, "Succeeded")["reason"]:
            yield f"I9 {where(task)}: reason {told.get('reason')} beside {condition(task, 'Succeeded')['reason']}"
        yield from _running_is_true(evidence, uid, task)
        yield from _attempts_are_true(evidence, uid, task)
    for kind in ("datasets", "selections"):
        for item in evidence.there(kind).values():
            generation = item["metadata"].get("generation")
            if not item["metadata"].get("deletionTimestamp") and status(item).get("observedGeneration") != generation:
                yield f"I9 {kind[:-1]} {where(item)} has generation {generation}, its status judges another"


def _running_is_true(evidence: Evidence, uid: str, task: Object) -> Iterator[str]:
    alive = evidence.alive(uid)
    if holds(task, "Running") and not alive:
        yield f"I9 {where(task)} is Running, but no process of it lives"
    old = [one for one in alive if evidence.now - one.start > LATE_SECONDS]
    if final(task) is not None and alive:
        yield f"I9 {where(task)} has ended, but {alive[0].pod} runs"
    elif old and status(task).get("reason") == "Starting":
        yield f"I9 {where(task)} is Starting, but {old[0].pod} has run for {evidence.now - old[0].start:.0f} s"


def _attempts_are_true(evidence: Evidence, uid: str, task: Object) -> Iterator[str]:
    told = status(task).get("attempts") or []
    numbers = [one["number"] for one in told]
    if len(set(numbers)) < len(numbers):
        yield f"I9 {where(task)} has attempts {numbers}"
    ran = {one.attempt: one for one in evidence.processes if one.task_uid == uid and one.end is not None}
    for one in told:
        process, code = ran.get(one["number"]), one.get("exitCode")
        if process is not None and code is not None and code != process.exit_code:
            yield f"I9 {where(task)} attempt {one['number']} ended with {process.exit_code}, its status says {code}"
        if one.get("outcome") == "Completed" and process is None:
            yield f"I9 {where(task)} attempt {one['number']} is Completed, but no process of it has ended"
    gone = sorted(set(ran) - set(numbers))
    if gone and len(numbers) < KEPT_ATTEMPTS:
        yield f"I9 {where(task)} names attempts {numbers}, but {gone} ran too"


def resumed_where_it_stood(evidence: Evidence) -> Iterator[str]:
    """I17: an attempt goes on at the newest checkpoint that was committed before it began, or later."""
    for one in evidence.processes:
        if one.resumed is None:
            continue
        saved = [
            row["step"]
            for row in evidence.checkpoints
            if row["task_uid"] == one.task_uid and row["attempt"] < one.attempt and _moment(row) < one.start
        ]
        if saved and one.resumed < max(saved):
            yield f"I17 {one.pod} went on at step {one.resumed}, step {max(saved)} had been committed"


def _moment(row: Row) -> float:
    return seconds(row["created"])


def attempts_have_one_job(evidence: Evidence) -> Iterator[str]:
    """I2: a fence that two Jobs bore is none, if both had a process."""
    ran = {one.pod: one for one in evidence.processes}
    jobs: dict[tuple[str, int], set[str]] = {}
    for change in evidence.history("pods"):
        pod = change.object
        if task_of(pod) and change.name in ran:
            found = (each["uid"] for each in pod["metadata"].get("ownerReferences") or ())
            jobs.setdefault((task_of(pod), attempt_of(pod)), set()).update(found)
    for (uid, attempt), several in jobs.items():
        if len(several) > 1:
            yield f"I2 task {uid} attempt {attempt}: processes of {len(several)} Jobs"


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    no_task_is_lost,
    one_process_by_fence,
    attempts_have_one_job,
    ends_are_final,
    statuses_are_true,
    resumed_where_it_stood,
)
