"""What there is at this moment, counted anew at each scrape: a deleted team, grant or task leaves no series behind."""

import asyncio
import datetime as dt
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from collabspace.api import timestamp
from collabspace.api.conditions import Reason
from collabspace.api.dataset import Grant
from collabspace.controller.metrics import ALL_STATES, REGISTRY, state_of
from collabspace.controller.world import World
from collabspace.kube import clock

ANSWER_SECONDS = 2.0
# Of things that tenants make, as many are shown: the grants that end soonest, the newest selections.
MAX_SERIES = 200
Labels = tuple[str, ...]
Values = dict[Labels, float]


@dataclass(frozen=True)
class Family:
    """A metric of this module; names and labels stand in docs/reference/metrics.md."""

    name: str
    help: str
    labels: Labels

    def of(self, values: Mapping[Labels, float] = {}) -> GaugeMetricFamily:
        family = GaugeMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family


TASKS = Family("collabspace_tasks", "CollabTasks by team and state.", ("team", "state"))
SELECTIONS = Family("collabspace_selections", "ModelSelections by team and state.", ("team", "state"))
QUOTA = Family("collabspace_gpu_quota", "GPUs that a team owns.", ("team",))
ALLOCATED = Family("collabspace_gpu_allocated", "GPUs that a team's tasks hold.", ("team",))
BORROWED = Family(
    "collabspace_gpu_borrowed", "GPUs that a team's tasks hold beyond its quota, which was lowered.", ("team",)
)
IDLE = Family("collabspace_gpu_idle", "GPUs that a team's tasks hold while no trainer runs on them.", ("team",))
PROGRESS = Family(
    "collabspace_task_progress_ratio", "Steps done of all steps, 0 to 1; active tasks only.", ("team", "task")
)
MOVED = Family(
    "collabspace_task_progress_timestamp_seconds",
    "When an active task last made progress; before its first, when its Job was made.",
    ("team", "task"),
)
EXPIRY = Family(
    "collabspace_grant_expiry_timestamp_seconds",
    "When a team loses the first of its uses of another team's dataset; grants without an end show nothing. "
    f"The {MAX_SERIES} that end soonest.",
    ("dataset", "team"),
)
SCORE = Family(
    "collabspace_selection_best_score",
    f"The best candidate's figure on the validation split. The newest {MAX_SERIES} selections.",
    ("team", "selection", "metric"),
)
FAMILIES = (TASKS, SELECTIONS, QUOTA, ALLOCATED, BORROWED, IDLE, PROGRESS, MOVED, EXPIRY, SCORE)


class Census(Collector):
    """Scrapes come in a thread of their own, and the world belongs to the event loop: it is asked there."""

    def __init__(self) -> None:
        self._count: Callable[[], dict[Family, Values]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def follow(self, world: World) -> None:
        """From now on this world is counted, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._count = lambda: count(world, clock.now())

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [family.of() for family in FAMILIES]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Nothing while there is no world, or while its loop does not answer: wrong figures help nobody."""
        if self._count is None or self._loop is None or self._loop.is_closed():
            return []
        answer: Future[dict[Family, Values]] = Future()
        self._loop.call_soon_threadsafe(_answer, answer, self._count)
        try:
            found = answer.result(ANSWER_SECONDS)
        except TimeoutError:
            return []
        return [family.of(values) for family, values in found.items()]


CENSUS = Census()
REGISTRY.register(CENSUS)


def _answer(answer: "Future[dict[Family, Values]]", count: Callable[[], dict[Family, Values]]) -> None:
    try:
        answer.set_result(count())
    except Exception as error:  # the scrape fails, and the loop lives on
        answer.set_exception(error)


def count(world: World, now: dt.datetime) -> dict[Family, Values]:
    """Every family's values. On the event loop; ten thousand tasks take some milliseconds."""
    quotas = {each.team.namespace: each.team.gpu_quota for each in world.namespaces.values() if each.team is not None}
    found = _gpus(world, quotas)
    found[TASKS] = _states(quotas, ((key[0], each.reason) for key, each in world.tasks.items()))
    found[SELECTIONS] = _states(quotas, ((key[0], each.status.reason) for key, each in world.selections.items()))
    found[PROGRESS], found[MOVED] = _progress(world, now)
    found[EXPIRY] = _expiry(world, now.timestamp())
    found[SCORE] = _scores(world)
    return found


def _states(teams: Iterable[str], seen: Iterable[tuple[str, str]]) -> Values:
    """How many objects of each team are in each state; a team's zeros are there too."""
    found = Counter((team, state_of(reason)) for team, reason in seen)
    shown = {team for team, _ in found} | set(teams)
    return {(team, state): found[team, state] for team in sorted(shown) for state in ALL_STATES}


def _gpus(world: World, quotas: Mapping[str, int]) -> dict[Family, Values]:
    allocated, idle = Counter[str](), Counter[str]()
    for uid, _, holding in world.holdings.items():
        allocated[holding.team] += holding.amount.gpus
        key = world.tasks_by_uid.get(uid)
        packed = world.tasks.get(key) if key is not None else None
        if packed is None or packed.reason != Reason.TRAINING:
            idle[holding.team] += holding.amount.gpus
    teams = sorted(quotas.keys() | allocated.keys())
    return {
        QUOTA: {(team,): quotas[team] for team in sorted(quotas)},
        ALLOCATED: {(team,): allocated[team] for team in teams},
        BORROWED: {(team,): max(0, allocated[team] - quotas.get(team, 0)) for team in teams},
        IDLE: {(team,): idle[team] for team in teams},
    }


def _progress(world: World, now: dt.datetime) -> tuple[Values, Values]:
    """Of tasks that hold something, with or without GPUs."""
    done: Values = {}
    moved: Values = {}
    elapsed = asyncio.get_running_loop().time()
    for uid, attempt, _ in world.holdings.items():
        key, job = world.tasks_by_uid.get(uid), world.job_of(uid, attempt)
        if key is None or job is None:
            continue
        record = world.attempt_of(uid, attempt)
        if record is not None and record.progress is not None and record.progress.total_steps > 0:
            done[key] = min(1.0, record.progress.step / record.progress.total_steps)
        beat = world.beats.moved(uid, attempt)
        moved[key] = now.timestamp() - (elapsed - beat) if beat is not None else _seconds(job.created)
    return done, moved


def _expiry(world: World, now: float) -> Values:
    ends = {}
    for (namespace, name), dataset in world.datasets.items():
        for team, end in _losses(dataset.spec.grants if dataset.spec is not None else (), now):
            ends[f"{namespace}/{name}", team] = end
    return dict(sorted(ends.items(), key=lambda each: (each[1], each[0]))[:MAX_SERIES])


def _losses(grants: Iterable[Grant], now: float) -> Iterator[tuple[str, float]]:
    """Each team with when it loses the first of the uses that it has now. Of several grants the longest counts."""
    last: dict[tuple[str, str], float] = {}
    for grant in grants:
        end = math.inf if grant.not_after is None else _seconds(grant.not_after)
        for use in grant.uses:
            last[grant.namespace, use] = max(end, last.get((grant.namespace, use), -math.inf))
    first: dict[str, float] = defaultdict(lambda: math.inf)
    for (team, _), end in last.items():
        if end > now:
            first[team] = min(end, first[team])
    return ((team, end) for team, end in first.items() if end < math.inf)


def _scores(world: World) -> Values:
    selections = sorted(world.selections.values(), key=lambda each: each.meta.creation_timestamp, reverse=True)
    found: Values = {}
    for each in selections[:MAX_SERIES]:
        best = next((entry for entry in each.status.leaderboard if entry.rank == 1), None)
        if best is not None and each.spec is not None:
            found[each.meta.namespace, each.meta.name, each.spec.objective.metric] = _figure(best.validation_value)
    return found


def _figure(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _seconds(text: str) -> float:
    """Since 1970; a time that cannot be read is long over."""
    try:
        return timestamp.parse(text).timestamp()
    except ValueError:
        return 0.0
