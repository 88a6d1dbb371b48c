"""A world of one task that runs by itself: Jobs, pods and the clock are played, the decisions are real."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from core_facts import NOW, claims, digest, held, pod, task, text, world

from collabspace.api.run import RunDocument
from collabspace.api.task import TaskStatus
from collabspace.core import job
from collabspace.core.admission import ADMITTED
from collabspace.core.observed import AttemptRecord, Dataset, JobFacts, PodFacts
from collabspace.core.outcome import NOTHING, Remains
from collabspace.core.plan import Spent, Stop
from collabspace.core.quantity import Amount
from collabspace.core.task import decide_task
from collabspace.core.task_plan import TaskPlan, is_final

RESULT = digest("result")


@dataclass(frozen=True)
class Ends:
    """How an attempt goes: it runs so many seconds and then its pod ends like this; stopped, it ends like `stopped`."""

    code: int | None
    seconds: int = 100
    stopped: int = 50
    said: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


SUCCESS = Ends(0)


class Play:
    """Runs a task to its end; `script` says how each attempt goes, the last entry for all that follow."""

    def __init__(self, *script: Ends, datasets: Callable[[dt.datetime], Dataset] | None = None, **spec: Any) -> None:
        self.script = script
        self.spec = spec
        self.now = NOW
        self.status = TaskStatus()
        self.jobs: dict[int, JobFacts] = {}
        self.pods: dict[int, PodFacts] = {}
        self.records: dict[int, AttemptRecord] = {}
        self.runs: list[RunDocument] = []
        self.stops: list[Stop] = []
        self.spent: list[Spent] = []
        self.starts: list[dt.datetime] = []
        self.expired = False
        self.offers = frozenset({Amount(8, 64_000, 64 * 2**30)})
        self._datasets = datasets

    @property
    def story(self) -> list[tuple[str, str]]:
        return [(each.outcome, each.reason) for each in self.status.attempts]

    @property
    def seconds(self) -> float:
        return (self.now - NOW).total_seconds()

    def run(self, passes: int = 2000, until: Callable[["Play"], bool] | None = None) -> "Play":
        """Until the task is over (or `until` holds); fails when it never is."""
        for _ in range(passes):
            if until(self) if until is not None else is_final(self.status):
                return self
            self.step()
        raise AssertionError(f"no end after {passes} passes: {self.status.reason} {self.story}")

    def step(self) -> None:
        """One pass, and the time until the next thing happens."""
        plan = self.decide()
        self.carry_out(plan)
        if plan.create is None and plan.status is None and plan.stop is None:
            # Nothing to say: the clock moves to whatever comes first.
            moments = [each for each in (self._next_end(), self._next_look(plan)) if each is not None]
            assert moments, f"nothing will ever happen: {self.status.reason} {self.story}"
            self.now = max(self.now, min(moments))
            self._end_pods()

    def decide(self) -> TaskPlan:
        newest = max(self.jobs, default=0)
        facts = self.jobs.get(newest)
        # A Job that is there is ready from its second pass on.
        if facts is not None and newest not in self.pods and self.status.attempts and not facts.suspended:
            facts = replace(facts, ready=True)
        given = [self._datasets(self.now)] if self._datasets is not None else []
        number = max(newest, max((each.number for each in self.status.attempts), default=0))
        facts_of_world = world(
            *given,
            job=facts,
            jobs=tuple(self.jobs.values()),
            pod=self.pods.get(number),
            record=self.records.get(number),
            remains=self._remains(number),
            verdict=ADMITTED,
            offers=self.offers,
            broker_attempt=0,
        )
        return decide_task(task(self.status, **self.spec), facts_of_world, self.now)

    def _remains(self, number: int) -> Remains:
        return NOTHING if number in self.jobs or number in self.pods else Remains(number > 0, True)

    def carry_out(self, plan: TaskPlan) -> None:
        """What the operator does about a plan."""
        for each in plan.remove:
            del self.jobs[each.attempt]
        if plan.create is not None:
            self._create(plan)
        if plan.stop is not None:
            self.stops.append(plan.stop)
            stop = (plan.stop.reason, plan.stop.message)
            number = plan.stop.job.attempt
            self.jobs[number] = replace(self.jobs[number], suspended=True, stop=stop)
            self._end(number, self.entry(number).stopped)
        if plan.spent is not None:
            self.spent.append(plan.spent)
        if plan.status is not None:
            self.status = plan.status
        self.expired = self.expired or plan.expired

    def _create(self, plan: TaskPlan) -> None:
        assert plan.create is not None
        run = plan.create.run
        number = run.execution.attempt
        live = [each for each in self.jobs if each not in self.pods]
        assert not live, f"attempt {number} was started beside {live}"
        assert number == len(self.runs) + 1
        meta = {"uid": f"uid-{number}", "creationTimestamp": text(self.now)}
        body = plan.create.job | {"metadata": plan.create.job["metadata"] | meta}
        facts = job.read(body)
        assert facts is not None
        self.jobs[number] = facts
        self.runs.append(run)
        self.starts.append(self.now)

    def entry(self, number: int) -> Ends:
        return self.script[min(number, len(self.script)) - 1]

    def _open(self) -> Iterator[tuple[int, dt.datetime]]:
        for number in self.jobs:
            if number not in self.pods:
                yield number, self.starts[number - 1] + dt.timedelta(seconds=self.entry(number).seconds)

    def _next_end(self) -> dt.datetime | None:
        return min((moment for _, moment in self._open()), default=None)

    def _next_look(self, plan: TaskPlan) -> dt.datetime | None:
        if plan.requeue_after is None:
            return None
        return self.now + dt.timedelta(seconds=max(0.5, plan.requeue_after))

    def _end_pods(self) -> None:
        for number, moment in list(self._open()):
            if moment <= self.now:
                self._end(number, self.entry(number).code)

    def _end(self, number: int, code: int | None) -> None:
        entry = self.entry(number)
        result = RESULT if code in (0, 60, 62) else None
        message = claims(code, result, **entry.said) if code is not None and not entry.facts.get("mute") else ""
        facts = {key: value for key, value in entry.facts.items() if key != "mute"}
        times = {"started": text(self.starts[number - 1]), "ended": text(self.now)}
        self.pods[number] = pod(code, message, job_uid=f"uid-{number}", **(times | facts))
        self.records[number] = held(RESULT) if result is not None else AttemptRecord()
