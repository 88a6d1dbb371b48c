"""I7: no team holds more than its quota at any revision of the store, and at rest nothing is held for nothing.

An attempt holds what its Job asks for from the Job's creation until its pod has ended, or until the Job is finished,
suspended or gone and no pod of it is left. Revisions order Jobs, pods and quotas as they became true.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from observer_evidence import CPU_QUOTA, GPU, GPU_QUOTA, Evidence, attempt_of, finished, over, task_of, where
from watching import Change, Object

# So long an operator may go by an older quota: within it a deaf watch must have been found.
STALE_SECONDS = 90.0
Amounts = dict[str, Decimal]
Fence = tuple[str, int]


@dataclass
class _Attempt:
    namespace: str
    amounts: Amounts
    job: Object | None = None
    pods: dict[str, Object] = field(default_factory=dict)
    ended: bool = False

    def holds(self) -> bool:
        if any(not over(pod) for pod in self.pods.values()):
            return True
        job = self.job
        return job is not None and not self.ended and not finished(job) and not job["spec"].get("suspend")


def quota_of(namespace: Object) -> dict[str, Decimal | None]:
    """What the annotations give; no GPU and CPUs without end where they give nothing."""
    annotations = namespace["metadata"].get("annotations") or {}
    gpus, cpus = annotations.get(GPU_QUOTA, ""), annotations.get(CPU_QUOTA, "")
    return {
        GPU_QUOTA: Decimal(gpus) if gpus.isdecimal() else Decimal(0),
        CPU_QUOTA: Decimal(cpus) if cpus.isdecimal() else None,
    }


def never_above_quota(evidence: Evidence) -> Iterator[str]:
    """At each revision at which an attempt begins to hold. Quotas that were lowered count as before for a while."""
    attempts: dict[Fence, _Attempt] = {}
    quotas: dict[str, list[tuple[float, dict[str, Decimal | None]]]] = defaultdict(list)
    for kind, change in _in_order(evidence):
        if kind == "spaces":
            quotas[change.name].append((change.at, quota_of(change.object)))
            continue
        attempt, began = _apply(attempts, kind, change)
        if attempt is None or not began:
            continue
        sums = _sums(attempts.values())[attempt.namespace]
        for key, name in ((GPU, GPU_QUOTA), ("cpu", CPU_QUOTA)):
            owned = _most(quotas[attempt.namespace], name, change.at)
            if attempt.amounts[key] and owned is not None and sums[key] > owned:
                yield (
                    f"I7 {attempt.namespace} holds {sums[key]} of {key} at revision {change.revision} "
                    f"({kind[:-1]} {where(change.object)}), its quota is {owned}"
                )


def held_now(evidence: Evidence) -> dict[str, Amounts]:
    """By namespace, what attempts hold at the end of the history."""
    attempts: dict[Fence, _Attempt] = {}
    for kind, change in _in_order(evidence):
        if kind != "spaces":
            _apply(attempts, kind, change)
    return _sums(attempts.values())


def ended_tasks_hold_nothing(evidence: Evidence) -> Iterator[str]:
    """At rest usage is back to what lives: a Job that could still make a pod belongs to a task that is not over."""
    for job in evidence.jobs.values():
        task = evidence.tasks.get(task_of(job))
        if task is None or finished(job) or job["spec"].get("suspend"):
            continue
        if (task.get("status") or {}).get("completionTime"):
            yield f"I7 Job {where(job)} holds quota, its task has ended"


def _in_order(evidence: Evidence) -> list[tuple[str, Change]]:
    changes = [(kind, change) for kind in ("spaces", "jobs", "pods") for change in evidence.history(kind)]
    return sorted(changes, key=lambda each: each[1].revision)


def _apply(attempts: dict[Fence, _Attempt], kind: str, change: Change) -> tuple[_Attempt | None, bool]:
    """The attempt that changed, and whether it holds something that it did not hold before."""
    item = change.object
    if not task_of(item):
        return None, False
    fence = task_of(item), attempt_of(item)
    template = item["spec"]["template"]["spec"] if kind == "jobs" else item["spec"]
    attempt = attempts.setdefault(fence, _Attempt(change.namespace, _amounts(template)))
    before = attempt.holds()
    if kind == "jobs":
        attempt.job = None if change.gone else item
    elif change.gone:
        attempt.pods.pop(change.uid, None)
        attempt.ended = True
    else:
        attempt.pods[change.uid] = item
        attempt.ended = attempt.ended or over(item)
    return attempt, attempt.holds() and not before


def _amounts(pod: Object) -> Amounts:
    found: Amounts = {GPU: Decimal(0), "cpu": Decimal(0)}
    for container in pod["containers"]:
        limits = (container.get("resources") or {}).get("limits") or {}
        found[GPU] += Decimal(str(limits.get(GPU, 0)))
        cpu = str(limits.get("cpu", "0"))
        found["cpu"] += Decimal(cpu[:-1]) / 1000 if cpu.endswith("m") else Decimal(cpu)
    return found


def _sums(attempts: Iterable[_Attempt]) -> dict[str, Amounts]:
    found: dict[str, Amounts] = defaultdict(lambda: {GPU: Decimal(0), "cpu": Decimal(0)})
    for attempt in attempts:
        if attempt.holds():
            for key, value in attempt.amounts.items():
                found[attempt.namespace][key] += value
    return found


def _most(known: list[tuple[float, dict[str, Decimal | None]]], name: str, at: float) -> Decimal | None:
    """The largest that held within STALE_SECONDS before; None: no limit."""
    held = [quota[name] for told, quota in known if told <= at]
    recent = [quota[name] for told, quota in known if at - STALE_SECONDS <= told <= at]
    values = [*held[-len(recent) - 1 :]] if held else []
    if not values:
        return Decimal(0) if name == GPU_QUOTA else None
    return None if any(value is None for value in values) else max(value for value in values if value is not None)


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (never_above_quota, ended_tasks_hold_nothing)
