"""What people and trainers do while a fault happens: each a short story with one end.

A workload is driven by what is seen, not by the clock, so that it takes its course with a fault as without.
"""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

from player import Act, always
from stage import JOBS, PODS, TASKS, Stage

from collabspace.kube import clock

Workload = Callable[[Stage], Awaitable[None]]
UNTIL_RELEASED = Act(seconds=None)
METRIC = "entity_micro_f1"


async def train(stage: Stage) -> None:
    """One task from submission to its stored result."""
    await stage.set_up()
    await stage.task("t", always)
    await stage.completed("t")


async def quota(stage: Stage) -> None:
    """The second task waits until the first has ended."""
    await stage.set_up(gpus=1)
    await stage.task("first", lambda _: UNTIL_RELEASED)
    await stage.running("first")
    await stage.task("second", always)
    await stage.until("second", "WaitingForQuota")
    stage.release("first")
    await stage.completed("first", "second")


async def quota_raised(stage: Stage) -> None:
    """The second task waits until the admin gives the team more."""
    await stage.set_up(gpus=1)
    await stage.task("first", lambda _: UNTIL_RELEASED)
    await stage.running("first")
    await stage.task("second", lambda _: UNTIL_RELEASED)
    await stage.until("second", "WaitingForQuota")
    await stage.quota(2)
    await stage.running("second")
    stage.release("first")
    stage.release("second")
    await stage.completed("first", "second")


async def out_of_memory(stage: Stage) -> None:
    """The kernel ends the first attempt, the second has more memory."""
    await stage.set_up()
    await stage.task("t", lambda attempt: Act(killed="OOMKilled") if attempt == 1 else Act())
    await stage.completed("t")


async def too_large(stage: Stage) -> None:
    """The trainer itself says that memory ran out (exit code 30)."""
    await stage.set_up()
    await stage.task("t", lambda attempt: Act(code=30) if attempt == 1 else Act())
    await stage.completed("t")


async def evicted(stage: Stage) -> None:
    """The kubelet evicts the first attempt."""
    await stage.set_up()
    await stage.task("t", lambda attempt: Act(killed="Evicted") if attempt == 1 else Act())
    await stage.completed("t")


async def pod_deleted(stage: Stage) -> None:
    """Somebody deletes the pod of a running attempt, which saves a checkpoint."""
    await stage.set_up()
    await stage.task("t", lambda attempt: Act(seconds=None, saves=True) if attempt == 1 else Act())
    await stage.running("t")
    pod = next(iter(stage.rig.eyes.objects("pods", stage.team)))
    await stage.delete(PODS.format(stage.team), pod)
    await stage.completed("t")


async def job_deleted(stage: Stage) -> None:
    """Somebody deletes the Job of a running attempt."""
    await stage.set_up()
    await stage.task("t", lambda attempt: UNTIL_RELEASED if attempt == 1 else Act())
    await stage.running("t")
    await stage.delete(JOBS.format(stage.team), "t-1")
    await stage.completed("t")


async def data_error(stage: Stage) -> None:
    """The same input would only fail again: the task is over."""
    await stage.set_up()
    await stage.task("t", lambda _: Act(code=20, message="train.conll: line 3: two columns are needed"))
    await stage.until("t", "DataError")


async def granted_late(stage: Stage) -> None:
    """The task waits for its grant."""
    await stage.set_up(granted=False)
    await stage.task("t", always)
    await stage.until("t", "GrantMissing")
    await stage.grant()
    await stage.completed("t")


async def revoked(stage: Stage) -> None:
    """The owner takes the grant back under a running trainer."""
    await stage.set_up()
    await stage.task("t", lambda _: UNTIL_RELEASED)
    await stage.running("t")
    await stage.revoke()
    await stage.until("t", "AccessRevoked")


async def expired(stage: Stage) -> None:
    """The grant runs out under a running trainer."""
    await stage.set_up()
    await stage.task("t", lambda _: UNTIL_RELEASED)
    await stage.running("t")
    await stage.grant(notAfter=clock.rfc3339(clock.now() + dt.timedelta(seconds=2)))
    await stage.until("t", "AccessRevoked")


async def suspended(stage: Stage) -> None:
    """Stopped by its owner with a checkpoint, then resumed."""
    await stage.set_up()
    await stage.task("t", lambda attempt: Act(seconds=None, saves=True) if attempt == 1 else Act())
    await stage.running("t")
    await stage.change("t", suspend=True)
    await stage.until("t", "Suspended")
    await stage.change("t", suspend=False)
    await stage.completed("t")


async def deleted(stage: Stage) -> None:
    """The task is deleted under a running trainer, and another takes its quota."""
    await stage.set_up(gpus=1)
    await stage.task("t", lambda _: UNTIL_RELEASED)
    await stage.running("t")
    await stage.task("heir", always)
    await stage.delete(TASKS.format(stage.team), "t")
    await stage.completed("heir")


async def evaluated(stage: Stage) -> None:
    """A second task measures what the first has stored, and waits for it."""
    await stage.set_up()
    source = {"kind": "CollabTask", "namespace": stage.team, "name": "t"}
    data = [{"name": "new", "datasetRef": {"namespace": stage.owner, "name": "notes"}, "role": "Evaluate"}]
    await stage.task("measures", always, method="Evaluation", initialization=None, modelFrom=source, datasets=data)
    await stage.until("measures", "DatasetNotReady")
    await stage.task("t", always)
    await stage.completed("t", "measures")


async def new_version(stage: Stage) -> None:
    """The owner pushes another version meanwhile: the running task keeps its own, the next has the new one."""
    await stage.set_up(fresh=True)
    await stage.task("t", lambda attempt: Act(seconds=None, saves=True) if attempt == 1 else Act())
    await stage.running("t")
    digest = await stage.publish("two")
    seen = stage.rig.eyes
    await seen.until(
        lambda: (
            seen.objects("datasets", stage.owner)["notes"].get("status", {}).get("versions", [{}])[0].get("digest")
            == digest
        ),
        60,
        "the new version is in the dataset's status",
    )
    await stage.task("u", always)
    await stage.completed("u")
    await stage.delete(
        PODS.format(stage.team), next(each for each in seen.objects("pods", stage.team) if "t-1" in each)
    )
    await stage.completed("t")


async def several(stage: Stage) -> None:
    """Four tasks at once on a quota of two, one of which fails."""
    await stage.set_up(gpus=2)
    for number in range(4):
        await stage.task(f"t{number}", lambda attempt, bad=number == 1: Act(code=20 if bad else 0))  # type: ignore[misc]
    await stage.completed("t0", "t2", "t3")
    await stage.until("t1", "DataError")


async def selection(stage: Stage) -> None:
    """Two candidates, two comparisons, and the better one becomes the alias."""
    await stage.set_up()
    stage.script("s-tuned", lambda _: Act(metrics=_scores("0.9")))
    stage.script("s-window", lambda _: Act(metrics=_scores("0.8")))
    stage.script("s-choose", lambda _: Act(metrics=(_difference("window"),)))
    stage.script("s-final", lambda _: Act(metrics=(_difference("baseline"),)))
    candidates = [
        {"name": "tuned", "method": "FullFineTuning", "initialization": "Random"},
        {"name": "window", "method": "WindowFeatures", "initialization": "Random"},
    ]
    await stage.selection("s", candidates, promotion={"alias": "best", "mode": "Automatic"})
    await stage.selected("s", "Completed")


def _scores(value: str) -> tuple[dict[str, Any], ...]:
    return tuple({"name": METRIC, "value": value, "split": split} for split in ("validation", "test"))


def _difference(label: str) -> dict[str, Any]:
    return {"name": "difference", "value": "0.1", "split": "test", "label": label, "low": "0.05", "high": "0.15"}


WORKLOADS: dict[str, Workload] = {
    "train": train,
    "quota": quota,
    "quota-raised": quota_raised,
    "out-of-memory": out_of_memory,
    "too-large": too_large,
    "evicted": evicted,
    "pod-deleted": pod_deleted,
    "job-deleted": job_deleted,
    "data-error": data_error,
    "granted-late": granted_late,
    "revoked": revoked,
    "expired": expired,
    "suspended": suspended,
    "deleted": deleted,
    "evaluated": evaluated,
    "new-version": new_version,
    "several": several,
    "selection": selection,
}
