"""Whether the reason for which a task waits is true, judged anew from the objects, the store and the audit log."""

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import takewhile

from observer_evidence import (
    CPU_QUOTA,
    GPU,
    GPU_QUOTA,
    TEAM,
    Evidence,
    holds,
    label,
    run_of,
    seconds,
    status,
    task_of,
)
from observer_quota import held_now, quota_of
from watching import Object

USE = {"Train": "Train", "Evaluate": "Evaluate"}
# Pauses after so many failures, or interruptions, in a row (docs/concepts/failures.md); each is spread by a fifth, and
# an operator needs a moment.
PAUSES = {"Failed": (10, 30, 60, 120, 300), "Interrupted": (1, 5, 15, 60, 300)}
SPREAD, MOMENT = 1.2, 10.0


def untrue(evidence: Evidence, task: Object, reason: str) -> str:
    """What speaks against it; empty: nothing. A reason that nobody can judge from outside is taken for true."""
    judge = JUDGES.get(reason)
    return judge(evidence, task) if judge is not None else ""


def uses(task: Object) -> list[tuple[str, str, str]]:
    """(namespace, name, use) of every dataset and shared model that the task needs."""
    spec = task["spec"]
    found = [
        (each["datasetRef"]["namespace"], each["datasetRef"]["name"], USE[each.get("role", "Train")])
        for each in spec["datasets"]
    ]
    model = spec.get("modelFrom")
    if model and model.get("kind", "SharedDataset") == "SharedDataset":
        found.append((model["namespace"], model["name"], "Train"))
    return found


def covering(dataset: Object, namespace: str, uid: str, use: str, moment: float) -> bool:
    """Whether a grant of the dataset lets that very namespace use it so at the moment."""
    return any(
        grant["namespace"] == namespace
        and grant.get("namespaceUID") == uid
        and use in grant["uses"]
        and ("notAfter" not in grant or _seconds(grant["notAfter"]) > moment)
        for grant in (dataset.get("spec") or {}).get("grants") or ()
    )


def _seconds(text: str) -> float:
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _missing_grants(evidence: Evidence, task: Object) -> str:
    """Something must be wrong with one of its grants."""
    namespace = task["metadata"]["namespace"]
    uid = (evidence.spaces.get(namespace) or {"metadata": {"uid": ""}})["metadata"]["uid"]
    for owner, name, use in uses(task):
        dataset = evidence.datasets.get((owner, name))
        if owner != namespace and (dataset is None or not covering(dataset, namespace, uid, use, evidence.now)):
            return ""
    return "every dataset is granted"


def _not_ready(evidence: Evidence, task: Object) -> str:
    pinned = {each["name"]: each.get("uid") for each in status(task).get("datasets") or ()}
    for each in task["spec"]["datasets"]:
        reference = each["datasetRef"]
        dataset = evidence.datasets.get((reference["namespace"], reference["name"]))
        if dataset is None or pinned.get(each["name"], dataset["metadata"]["uid"]) != dataset["metadata"]["uid"]:
            return ""
        wanted = each.get("version", "sha256:*").removeprefix("sha256:")
        stored = evidence.store / dataset["metadata"]["uid"] / "versions"
        if not any(stored.glob(f"{wanted}.json")) or not holds(dataset, "Ready"):
            return ""
    return "" if task["spec"].get("modelFrom") or task["spec"].get("results") else "every dataset has the version"


def _quota(evidence: Evidence, task: Object) -> str:
    namespace = task["metadata"]["namespace"]
    asked = task["spec"].get("resourcesPerNode") or {}
    held = held_now(evidence).get(namespace, {})
    told = next((each["message"] for each in status(task)["conditions"] if each["type"] == "Admitted"), "")
    if not told.startswith(("GPU:", "CPU:")):
        return ""  # the cluster's capacity, not the team's quota
    quota = quota_of(evidence.spaces[namespace])
    gpus = int(asked.get(GPU, 0)) + int(held.get(GPU, 0))
    cpus = Decimal(str(amount(asked.get("cpu", "1")))) + held.get("cpu", 0)
    short_of_cpus = quota[CPU_QUOTA] is not None and cpus > (quota[CPU_QUOTA] or 0)
    if gpus <= (quota[GPU_QUOTA] or 0) and not short_of_cpus:
        return f"with it {gpus} GPU and {cpus} CPU would be in use, the quota is {quota}; it says {told!r}"
    return ""


def amount(text: str | int) -> float:
    """CPUs of a quantity."""
    word = str(text)
    return int(word[:-1]) / 1000 if word.endswith("m") else float(word)


def _suspended(_evidence: Evidence, task: Object) -> str:
    return "" if task["spec"].get("suspend") else "spec.suspend is false"


def _pause(evidence: Evidence, task: Object) -> str:
    told = status(task).get("attempts") or []
    if not told or not told[-1].get("endTime"):
        return "no attempt has ended"
    kind = told[-1]["outcome"]
    row = len(list(takewhile(lambda each: each["outcome"] == kind, reversed(told))))
    pauses = PAUSES.get(kind, (0,))
    longest = pauses[min(row, len(pauses)) - 1] * SPREAD + MOMENT
    passed = evidence.now - seconds(told[-1]["endTime"])
    return "" if passed + MOMENT >= 0 and passed <= longest else f"the last attempt ended {passed:.0f} s ago, {kind}"


def _conflict(evidence: Evidence, task: Object) -> str:
    namespace, name, uid = (task["metadata"][each] for each in ("namespace", "name", "uid"))
    for job in evidence.jobs.values():
        meta = job["metadata"]
        named = meta["namespace"] == namespace and meta["name"].rpartition("-")[0] == name
        if named and (task_of(job) != uid or run_of(job).get("task", {}).get("uid") != uid):
            return ""
    return f"no other Job is called {name}-N"


def _team(evidence: Evidence, task: Object) -> str:
    """Only the label is looked at: the other causes (role, accounts) are not the observer's to judge."""
    namespace = evidence.spaces.get(task["metadata"]["namespace"])
    quota = (namespace or {"metadata": {}})["metadata"].get("annotations") or {}
    broken = any(not quota.get(each, "0").isdecimal() for each in (GPU_QUOTA, CPU_QUOTA))
    return "" if namespace is None or not label(namespace, TEAM) or broken else "the namespace is a team"


def _exceeds(evidence: Evidence, task: Object) -> str:
    asked = task["spec"].get("resourcesPerNode") or {}
    quota = quota_of(evidence.spaces[task["metadata"]["namespace"]])
    cpus = quota[CPU_QUOTA]
    within = int(asked.get(GPU, 0)) <= (quota[GPU_QUOTA] or 0)
    within = within and (cpus is None or amount(asked.get("cpu", "1")) <= cpus)
    return f"it asks for {asked}, the quota is {quota}" if within else ""


JUDGES: Mapping[str, Callable[[Evidence, Object], str]] = {
    "GrantMissing": _missing_grants,
    "GrantExpired": _missing_grants,
    "UseNotGranted": _missing_grants,
    "DatasetNotReady": _not_ready,
    "WaitingForQuota": _quota,
    "ExceedsQuota": _exceeds,
    "Suspended": _suspended,
    "RetryBackoff": _pause,
    "NameConflict": _conflict,
    "TeamNotReady": _team,
}
