"""Which of the waiting tasks may start now: one pure pass over all of them.

Order: priority, then age, then uid. A task that does not fit lets later ones pass, so nothing stands idle that could
run; but after PATIENCE its team's later tasks that need the same resource stop passing it, so that it cannot starve.
"""

import datetime as dt
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from collabspace.api.conditions import Reason
from collabspace.core.quantity import Amount, cpus

PATIENCE = dt.timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that could start but for quota and capacity."""

    uid: str
    team: str
    amount: Amount
    priority: int
    created: dt.datetime
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Holding:
    """What an admitted task has until its pod is gone."""

    team: str
    amount: Amount


@dataclass(frozen=True, slots=True)
class Quota:
    """What a team owns; None: not limited."""

    gpus: int
    cpu_millis: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A node with what tasks may use of it. Only `usable` ones (Ready, schedulable) get work."""

    name: str
    allocatable: Amount
    usable: bool = True
    ready: bool = True


class Decision(StrEnum):
    ADMIT = "Admit"
    WAIT = "Wait"
    REFUSE = "Refuse"


@dataclass(frozen=True, slots=True)
class Verdict:
    decision: Decision
    reason: Reason
    message: str


ADMITTED = Verdict(Decision.ADMIT, Reason.QUOTA_RESERVED, "")


@dataclass(slots=True)
class _Use:
    """Sums of a team while the pass runs."""

    gpus: int = 0
    cpu_millis: int = 0
    gpu_tasks: int = 0
    tasks: int = 0
    gpus_reserved: bool = False
    cpus_reserved: bool = False

    def take(self, amount: Amount, tasks: int = 1) -> None:
        self.gpus += amount.gpus * tasks
        self.cpu_millis += amount.cpu_millis * tasks
        self.gpu_tasks += tasks if amount.gpus > 0 else 0
        self.tasks += tasks


def decide(
    waiting: Iterable[Waiting],
    holdings: Mapping[Holding, int],
    quotas: Mapping[str, Quota],
    nodes: Sequence[Node],
    now: dt.datetime,
) -> dict[str, Verdict]:
    """A verdict for every waiting task, by uid. Admits as many as fit; the numbers in messages hold after the pass.

    `holdings` says how many admitted tasks hold the same. A pass takes time for nodes and waiting tasks, hardly any for
    admitted ones.
    """
    use: dict[str, _Use] = {}
    held = Counter[Amount]()
    for each, tasks in holdings.items():
        use.setdefault(each.team, _Use()).take(each.amount, tasks)
        held[each.amount] += tasks
    capacity = _Capacity(nodes, held)
    verdicts: dict[str, Verdict] = {}
    over: list[tuple[Waiting, _Short]] = []
    for task in sorted(waiting, key=lambda each: (-each.priority, each.created, each.uid)):
        quota = quotas.get(task.team, Quota(0))
        team = use.setdefault(task.team, _Use())
        refusal = _beyond_quota(task, quota) or capacity.beyond(task.amount)
        if refusal is not None:
            verdicts[task.uid] = refusal
            continue
        short = _short_of_quota(task.amount, quota, team)
        if short is not None:
            over.append((task, short))
            _reserve(task, team, short, now)
        elif not capacity.place(task.amount):
            verdicts[task.uid] = Verdict(Decision.WAIT, Reason.WAITING_FOR_QUOTA, capacity.shortage(task.amount))
        else:
            team.take(task.amount)
            verdicts[task.uid] = ADMITTED
    for task, short in over:
        numbers = _numbers(task, quotas[task.team], use[task.team], short)
        verdicts[task.uid] = Verdict(Decision.WAIT, Reason.WAITING_FOR_QUOTA, numbers)
    return verdicts


def _beyond_quota(task: Waiting, quota: Quota) -> Verdict | None:
    if task.amount.gpus > quota.gpus:
        owned = f"has a GPU quota of {quota.gpus}" if quota.gpus else "has no GPU quota"
        return Verdict(
            Decision.REFUSE,
            Reason.EXCEEDS_QUOTA,
            f"resourcesPerNode: asked {task.amount.gpus} GPU, team {task.team} {owned}. Ask for less, or an admin "
            f"raises it: kubectl collab teams add {task.team} --gpu-quota N",
        )
    if quota.cpu_millis is not None and task.amount.cpu_millis > quota.cpu_millis:
        return Verdict(
            Decision.REFUSE,
            Reason.EXCEEDS_QUOTA,
            f"resourcesPerNode: asked {cpus(task.amount.cpu_millis)} CPU, team {task.team} has a CPU quota of "
            f"{cpus(quota.cpu_millis)}. Ask for less, or an admin raises it: kubectl collab teams add {task.team} "
            "--cpu-quota N",
        )
    return None


class _Short(StrEnum):
    """Of what the team has too little left for a task."""

    GPU = "GPU"
    CPU = "CPU"


def _short_of_quota(amount: Amount, quota: Quota, team: _Use) -> _Short | None:
    if amount.gpus and (team.gpus_reserved or team.gpus + amount.gpus > quota.gpus):
        return _Short.GPU
    limit = quota.cpu_millis
    if limit is not None and (team.cpus_reserved or team.cpu_millis + amount.cpu_millis > limit):
        return _Short.CPU
    return None


def _numbers(task: Waiting, quota: Quota, team: _Use, short: _Short) -> str:
    """Why the quota does not cover the task, with the sums as they are when the pass is over."""
    if short is _Short.GPU:
        asked, owned, used, count = task.amount.gpus, quota.gpus, team.gpus, team.gpu_tasks
        text = f"GPU: asked {asked}, quota {owned}, in use {used} by {_tasks(count)}"
    else:
        asked, owned, used = task.amount.cpu_millis, quota.cpu_millis or 0, team.cpu_millis
        text = f"CPU: asked {cpus(asked)}, quota {cpus(owned)}, in use {cpus(used)} by {_tasks(team.tasks)}"
    return text if used + asked > owned else f"{text}; the rest is kept for an older task"


def _reserve(task: Waiting, team: _Use, short: _Short, now: dt.datetime) -> None:
    if now - task.created >= PATIENCE:
        team.gpus_reserved = team.gpus_reserved or short is _Short.GPU
        team.cpus_reserved = team.cpus_reserved or short is _Short.CPU


def _tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"


class _Capacity:
    """First fit over the usable nodes. Where kube-scheduler puts running pods is not known here, so what is held is
    laid out anew, largest first; a held amount that fits nowhere presses on the emptiest node."""

    def __init__(self, nodes: Sequence[Node], held: Mapping[Amount, int]) -> None:
        ordered = sorted(nodes, key=lambda each: each.name)
        self._offers = {node.allocatable for node in ordered}
        self._free = [node.allocatable for node in ordered if node.usable]
        # The first node that may have room for an amount. Room only shrinks, so what is too small once stays so.
        self._first: dict[Amount, int] = {}
        for amount in sorted(held, key=_size, reverse=True):
            self._lay_out(amount, held[amount])

    def beyond(self, amount: Amount) -> Verdict | None:
        """A refusal when no node could ever hold the amount; while no node is Ready, nothing is known."""
        if not self._free or any(amount.fits(offer) for offer in self._offers):
            return None
        largest = max(self._offers, key=_size)
        return Verdict(
            Decision.REFUSE,
            Reason.EXCEEDS_CAPACITY,
            f"resourcesPerNode: asked {amount}; the largest node of this cluster has {largest}. Ask for less per node",
        )

    def place(self, amount: Amount) -> bool:
        """Takes the room on the first node that has it."""
        for index in range(self._first.get(amount, 0), len(self._free)):
            if amount.fits(self._free[index]):
                self._free[index] -= amount
                self._first[amount] = index
                return True
        self._first[amount] = len(self._free)
        return False

    def shortage(self, amount: Amount) -> str:
        if not self._free:
            return f"asked {amount}; no node of the cluster is ready"
        return f"asked {amount}; no ready node has that much free now"

    def _lay_out(self, amount: Amount, times: int) -> None:
        left = times
        for index, room in enumerate(self._free):
            here = min(left, amount.count_in(room, left))
            self._free[index] = room - amount * here
            left -= here
            if not left:
                return
        if left and self._free:
            self._press(amount, left)

    def _press(self, amount: Amount, times: int) -> None:
        """Each takes from the node that has most left. Of a cluster half of which is drained that is thousands."""
        emptiest = [(_fullness(room), index) for index, room in enumerate(self._free)]
        heapq.heapify(emptiest)
        for _ in range(times):
            index = emptiest[0][1]
            self._free[index] -= amount
            heapq.heapreplace(emptiest, (_fullness(self._free[index]), index))


def _size(amount: Amount) -> tuple[int, int, int]:
    return (amount.gpus, amount.cpu_millis, amount.memory_bytes)


def _fullness(room: Amount) -> tuple[int, int, int]:
    """Orders nodes by what they have left, the emptiest first."""
    gpus, cpu_millis, memory_bytes = _size(room)
    return (-gpus, -cpu_millis, -memory_bytes)
