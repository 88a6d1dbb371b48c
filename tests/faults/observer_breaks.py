"""Each invariant broken in several ways, for the tests of the observer."""

import json
from collections.abc import Callable

import observer_cases as cases
from observer_cases import (
    DATASET,
    LEADER,
    NOW,
    SYSTEM,
    UID,
    World,
    condition,
    pod,
    space,
    task,
    waiting,
)
from observer_evidence import Process
from watching import Object

DATA = "sha256:" + "0" * 64
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJlLW9m"


def status(item: Object, **said: object) -> None:
    item["status"].update(said)


def second_job(
    world: World, *, attempt: int = 1, name: str = "other", uid: str = "other", digest: str = "", second: float = 12
) -> Object:
    """Another Job, of a task that is not over."""
    if uid != UID:
        world.tell("tasks", waiting(name, uid, "Starting"), 12)
    pinned = digest or world.newest("tasks", "task")["status"]["datasets"][0]["digest"]
    made = cases.job(pinned, name, uid, attempt)
    world.tell("jobs", made, second)
    return made


def never_looked_at(world: World) -> None:
    world.tell("tasks", task("lost", "lost"), 12)


def started_without_job(world: World) -> None:
    world.tell("tasks", waiting("lost", "lost", "Starting"), 12)


def waits_though_granted(world: World) -> None:
    world.tell("tasks", waiting("late", "late", "GrantMissing"), 12)


def waits_for_data_that_is_there(world: World) -> None:
    world.tell("tasks", waiting("late", "late", "DatasetNotReady"), 12)


def waits_for_quota_that_is_free(world: World) -> None:
    told = "GPU: asked 1, quota 1, in use 1 by 1 task"
    world.tell("tasks", waiting("late", "late", "WaitingForQuota", told), 12)


def suspended_by_nobody(world: World) -> None:
    world.tell("tasks", waiting("late", "late", "Suspended"), 12)


def pauses_for_ever(world: World) -> None:
    item = waiting("late", "late", "RetryBackoff")
    status(item, attempts=[{"number": 1, "outcome": "Failed", "endTime": cases.at(-1000)}])
    world.tell("tasks", item, 12)


def refused_for_a_quota_that_suffices(world: World) -> None:
    world.tell("tasks", waiting("late", "late", "ExceedsQuota"), 12)


def conflicts_with_nothing(world: World) -> None:
    world.tell("tasks", waiting("late", "late", "NameConflict"), 12)


def twice_at_once(world: World) -> None:
    world.processes.append(Process(UID, 1, "team", "twin", NOW + 5, NOW + 8, 0))


def stored_behind_the_fence(world: World) -> None:
    world.record(9, "Opened", task_uid=UID, attempt=2, session="late")
    version = json.loads(world.attempts[0]["result"])["digest"]
    world.record(10, "Published", task_uid=UID, attempt=1, version=version)


def one_fence_for_two_jobs(world: World) -> None:
    twin = cases.job(world.newest("tasks", "task")["status"]["datasets"][0]["digest"])
    twin["metadata"]["uid"] = "twin"
    world.tell("pods", pod(twin, "Succeeded") | {"metadata": {**pod(twin, "")["metadata"], "name": "twin"}}, 12)
    world.processes.append(Process(UID, 1, "team", "twin", NOW + 12, NOW + 13, 0))


def end_taken_back(world: World) -> None:
    world.change("tasks", "task", lambda item: status(item, completionTime=None))


def begun_after_the_end(world: World) -> None:
    second_job(world, attempt=2, name="task", uid=UID)


def too_many_attempts(world: World) -> None:
    world.change("tasks", "task", lambda item: status(item, failedAttempts=4))


def read_without_grant(world: World) -> None:
    world.record(20, "Opened", task_uid=UID, attempt=1, session="x", dataset_uid=DATASET, owner="owner", use="Derive")


def read_after_the_grant_was_taken_back(world: World) -> None:
    world.change("datasets", "table", lambda item: item["spec"].update(grants=[]), 20)
    world.record(40, "Opened", task_uid=UID, attempt=1, session="x", dataset_uid=DATASET, owner="owner", use="Train")


def read_by_a_namespace_made_anew(world: World) -> None:
    world.gone("spaces", "team", 20)
    world.tell("spaces", space("team", "another"), 21)
    world.record(40, "Opened", task_uid=UID, attempt=1, session="x", dataset_uid=DATASET, owner="owner", use="Train")


def other_version_in_the_next_attempt(world: World) -> None:
    second_job(world, attempt=2, name="task", uid=UID, digest=DATA)


def version_overwritten(world: World) -> None:
    next((world.store / DATASET / "blobs").iterdir()).write_bytes(b"other rows")


def closed_but_never_opened(world: World) -> None:
    world.record(20, "Closed", session="nobody's")


def ran_unrecorded(world: World) -> None:
    world.access = [row for row in world.access if row["event"] != "Used"]


def counted_twice(world: World) -> None:
    world.sealed({**world.access[-1], "sequence": 99})


def two_gpus_of_one(world: World) -> None:
    for name in ("one", "two"):
        second_job(world, name=name, uid=name)


def terminating_pod_counts(world: World) -> None:
    first = second_job(world, name="one", uid="one")
    world.tell("pods", pod(first, "Running"), 13)
    world.gone("jobs", "one-1", 14)
    second_job(world, name="two", uid="two")


def job_of_an_ended_task(world: World) -> None:
    world.change("jobs", "task-1", lambda item: item.update(status={}))


def pod_left_behind(world: World) -> None:
    world.gone("tasks", "task")


def file_left_behind(world: World) -> None:
    for kind, name in (("tasks", "task"), ("jobs", "task-1"), ("pods", "task-1-pod")):
        world.gone(kind, name)
    world.processes.clear()


def success_without_result(world: World) -> None:
    for path in (world.store / UID / "versions").iterdir():
        path.unlink()


def success_without_a_file(world: World) -> None:
    for path in (world.store / UID / "blobs").iterdir():
        path.unlink()


def success_without_record(world: World) -> None:
    world.attempts.clear()


def runs_without_process(world: World) -> None:
    item = waiting("idle", "idle", "Training")
    item["status"]["conditions"].append(condition("Running", "True", "Training"))
    world.tell("tasks", item, 12)
    world.tell("jobs", cases.job(DATA, "idle", "idle"), 13)


def wrong_exit_code(world: World) -> None:
    wrong = [{"number": 1, "outcome": "Completed", "exitCode": 1}]
    world.change("tasks", "task", lambda item: status(item, attempts=wrong))


def stale_generation(world: World) -> None:
    item = waiting("late", "late", "Suspended")
    item["spec"]["suspend"] = True
    item["metadata"]["generation"] = 2
    world.tell("tasks", item, 12)


def tells_of_a_version_that_is_not_there(world: World) -> None:
    world.change("datasets", "table", lambda item: status(item, versions=[{"digest": DATA}]))


def promoted_twice(world: World) -> None:
    for second in (20, 21):
        world.record(second, "Promoted", purpose="sel/promotion", task_uid=UID, version=world.access[2]["version"])


def selection(value: str, promoted: str) -> Object:
    winner = {"candidate": "a", "metricValue": value, "resultDigest": promoted}
    told = {"observedGeneration": 1, "winner": winner, "promotion": {"state": "Promoted", "resultDigest": promoted}}
    return {"metadata": cases.meta("sel", "sel"), "spec": {}, "status": told}


def no_number_won(world: World) -> None:
    version = world.access[2]["version"]
    world.record(20, "Promoted", purpose="sel/promotion", task_uid=UID, version=version)
    world.tell("selections", selection("nan", version), 21)


def promotion_that_was_none(world: World) -> None:
    world.tell("selections", selection("0.5", DATA), 21)


def token_in_a_status(world: World) -> None:
    world.change("tasks", "task", lambda item: status(item, note=f"failed with {TOKEN}"))


def canary_in_a_log(world: World) -> None:
    world.canaries.add("s3cr3t!")
    world.texts["operator.log"] = "the trainer said s3cr3t!"


def restless(world: World) -> None:
    for second in (51, 52, 53):
        world.call(second, "patch", "collabtasks/status")


def two_writers(world: World) -> None:
    world.call(12, "update", "leases", namespace=SYSTEM, agent="two_2", name="collabspace-operator")
    world.call(13, "create", "jobs", agent=LEADER)


def reads_secrets(world: World) -> None:
    world.call(12, "list", "secrets")


def was_forbidden(world: World) -> None:
    world.call(30, "create", "jobs", status=403, allowed=False)


def job_in_a_foreign_namespace(world: World) -> None:
    made = cases.job(world.newest("tasks", "task")["status"]["datasets"][0]["digest"])
    made["metadata"].update(namespace="owner", uid="foreign")
    world.tell("jobs", made, 2)


def leaves_for_ever(world: World) -> None:
    world.change("jobs", "task-1", lambda item: item["metadata"].update(deletionTimestamp=cases.at(12)))


def went_on_too_early(world: World) -> None:
    saved = {"task_uid": UID, "attempt": 1, "step": 20, "created": cases.at(6), "digest": DATA}
    world.checkpoints.append(saved)
    world.processes.append(Process(UID, 2, "team", "later", NOW + 12, NOW + 13, 0, resumed=10))


BREAKS: dict[str, list[Callable[[World], None]]] = {
    "I1": [
        never_looked_at,
        started_without_job,
        waits_though_granted,
        waits_for_data_that_is_there,
        waits_for_quota_that_is_free,
        suspended_by_nobody,
        pauses_for_ever,
        refused_for_a_quota_that_suffices,
        conflicts_with_nothing,
    ],
    "I2": [twice_at_once, stored_behind_the_fence, one_fence_for_two_jobs],
    "I3": [end_taken_back, begun_after_the_end, too_many_attempts],
    "I4": [read_without_grant, read_after_the_grant_was_taken_back, read_by_a_namespace_made_anew],
    "I5": [other_version_in_the_next_attempt, version_overwritten],
    "I6": [closed_but_never_opened, ran_unrecorded, counted_twice],
    "I7": [two_gpus_of_one, terminating_pod_counts, job_of_an_ended_task],
    "I8": [pod_left_behind, file_left_behind],
    "I9": [
        success_without_result,
        success_without_a_file,
        success_without_record,
        runs_without_process,
        wrong_exit_code,
        stale_generation,
        tells_of_a_version_that_is_not_there,
    ],
    "I10": [promoted_twice, no_number_won, promotion_that_was_none],
    "I12": [token_in_a_status, canary_in_a_log],
    "I13": [restless],
    "I14": [two_writers],
    "I15": [reads_secrets, was_forbidden, job_in_a_foreign_namespace],
    "I16": [leaves_for_ever],
    "I17": [went_on_too_early],
}
