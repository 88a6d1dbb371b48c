"""A world of one selection that runs by itself: its tasks are played, the decisions are real."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from core_facts import NOW, OWN, UIDS, dataset, digest, meta, parameter, text

from collabspace.api.catalogue import Catalogue, CatalogueTask, Method, Purpose
from collabspace.api.conditions import TASK_CONDITIONS, ConditionType, Reason
from collabspace.api.manifest import DatasetFormat
from collabspace.api.selection import SelectionSpec, SelectionStatus
from collabspace.api.task import TaskMetric, TaskResult, TaskSpec, TaskStatus, TaskUsage
from collabspace.core import status
from collabspace.core.observed import (
    AliasRecord,
    Dataset,
    Key,
    Models,
    ObservedSelection,
    ObservedTask,
    TeamFacts,
    observe,
    stored_result,
)
from collabspace.core.plan import Event
from collabspace.core.selection import decide_selection
from collabspace.core.selection_status import is_final
from collabspace.core.selection_world import Answer, Child, PromotionRequest, SelectionPlan, SelectionWorld
from collabspace.core.status import Judged
from collabspace.core.task_world import Refusal

CATALOGUE = Catalogue(
    tasks=[
        CatalogueTask(
            name="Tabular",
            description="x",
            format=DatasetFormat.TABULAR,
            metrics=["accuracy", "log_loss", "roc_auc"],
            methods=[
                Method(name="Linear", description="x", cost=1, baseline=True, parameters=[parameter("C")]),
                Method(name="Forest", description="x", cost=20, parameters=[parameter("trees", "Integer", 100)]),
                Method(
                    name="Network",
                    description="x",
                    cost=50,
                    accepts_weights=True,
                    parameters=[parameter("epochs", "Integer", 3)],
                ),
                Method(
                    name="Adapter",
                    description="x",
                    cost=30,
                    accepts_weights=True,
                    needs_weights=True,
                    parameters=[parameter("merge", "Choice", "No", choices=["No", "Yes"])],
                ),
                Method(name="Evaluation", description="x", cost=1, purpose=Purpose.EVALUATION, parameters=[]),
                Method(
                    name="Comparison",
                    description="x",
                    cost=1,
                    purpose=Purpose.COMPARISON,
                    parameters=[
                        parameter(name, "Choice", choice, choices=choices)
                        for name, choice, choices in (
                            ("metric", "accuracy", ["accuracy", "log_loss"]),
                            ("goal", "Maximize", ["Maximize", "Minimize"]),
                            ("split", "test", ["validation", "test"]),
                        )
                    ],
                ),
            ],
        )
    ]
)
DATA = {"name": "train", "datasetRef": {"namespace": OWN, "name": "table"}}


def candidate(name: str, method: str = "Linear", **more: Any) -> dict[str, Any]:
    return {"name": name, "method": method, **more}


def selection_body(*candidates: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "task": "Tabular",
        "datasets": [DATA],
        "objective": {"metric": "accuracy"},
        "candidates": list(candidates) or [candidate("linear"), candidate("forest", "Forest")],
    } | changes


@dataclass(frozen=True)
class Ends:
    """How a task ends: by which reason, with which rows, at what price."""

    reason: Reason = Reason.COMPLETED
    rows: tuple[tuple[str, str, str, str], ...] = ()
    cost: int = 20
    message: str = ""


def scores(value: str, cost: int = 20) -> Ends:
    return Ends(rows=(("accuracy", value, "validation", ""), ("accuracy", "0.1", "test", "")), cost=cost)


def fails(reason: Reason = Reason.DATA_ERROR, cost: int = 5) -> Ends:
    return Ends(reason, cost=cost, message="because")


@dataclass
class Play:
    """Runs a selection to its end. `ends` says how each task ends, by its name; `differences` what comparisons tell, by
    candidate: value, low, high of how far the best is ahead."""

    body: dict[str, Any]
    ends: dict[str, Ends] = field(default_factory=dict)
    differences: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    final: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    now: dt.datetime = NOW
    status: SelectionStatus = field(default_factory=SelectionStatus)
    tasks: dict[str, ObservedTask] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    alias: AliasRecord | None = None
    broker_read: bool = True
    created: list[str] = field(default_factory=list)
    writes: int = 0
    asked: list[PromotionRequest] = field(default_factory=list)
    changes: int = 0
    events: list[Event] = field(default_factory=list)
    most_at_once: int = 0
    answer: Callable[["Play", PromotionRequest], Answer] | None = None
    generation: int = 1
    others: dict[Key, Dataset] = field(default_factory=dict)

    @property
    def selection(self) -> ObservedSelection:
        body = {"metadata": meta("sel", OWN, generation=self.generation), "spec": self.body}
        seen = observe(body, SelectionSpec, SelectionStatus)
        return ObservedSelection(seen.meta, seen.spec, seen.problem, self.status)

    @property
    def world(self) -> SelectionWorld:
        others = {(OWN, name): stored_result(task) for name, task in self.tasks.items()}
        return SelectionWorld(
            catalogue=CATALOGUE,
            datasets={(OWN, "table"): dataset(), **self.others},
            namespaces=UIDS,
            team=TeamFacts(True),
            models=Models(others, {(OWN, "best"): self.alias} if self.alias is not None else {}),
            children={name: Child(task, self.owners.get(name, "uid-sel")) for name, task in self.tasks.items()},
            refusals=self.refusals,
            broker_read=self.broker_read,
        )

    def decide(self) -> SelectionPlan:
        return decide_selection(self.selection, self.world, self.now)

    def run(self, passes: int = 400) -> "Play":
        """To the end, by as many steps as it takes."""
        for _ in range(passes):
            if is_final(self.status):
                return self
            self.step()
        raise AssertionError(f"no end after {passes} passes: {self.status.reason} {self.states}")

    def step(self) -> None:
        """One pass; when it has nothing to say, the first task that lives ends."""
        plan = self.decide()
        self.carry_out(plan)
        live = [name for name in self.created if name in self.tasks and not self.tasks[name].status.completion_time]
        self.most_at_once = max(self.most_at_once, len(live))
        quiet = plan.status is None and not plan.children and not plan.discard and plan.promote is None
        if quiet and not (plan.halt or plan.resume):
            assert live, f"nothing will ever happen: {self.status.reason} {self.states}"
            self.end(live[0])

    def carry_out(self, plan: SelectionPlan) -> None:
        """What the operator does about a plan."""
        if plan.promote is not None:
            answer = self._answer(plan.promote)
            plan = decide_selection(self.selection, replace(self.world, answer=answer), self.now)
        for body in plan.children:
            self.make(body)
        for task, suspend in [*((each, True) for each in plan.halt), *((each, False) for each in plan.resume)]:
            assert task.spec is not None
            self.tasks[task.meta.name] = replace(task, spec=task.spec.model_copy(update={"suspend": suspend}))
        for task in plan.discard:
            del self.tasks[task.meta.name]
        if plan.status is not None:
            self.writes += 1
            self.status = plan.status
        if plan.event is not None:
            self.events.append(plan.event)

    def make(self, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        assert name not in self.tasks
        self.created.append(name)
        uid = f"uid-{name}-{self.created.count(name)}"
        body = body | {"metadata": meta(name, OWN, uid=uid)}
        self.tasks[name] = observe(body, TaskSpec, TaskStatus)

    def end(self, name: str) -> None:
        task = self.tasks[name]
        assert task.spec is not None
        ends = self.ends.get(name) or self._compared(task) or scores("0.5")
        good = ends.reason is Reason.COMPLETED
        judged = {
            ConditionType.SUCCEEDED: Judged("True" if good else "False", ends.reason, ends.message),
            ConditionType.STALLED: Judged("False" if good else "True", ends.reason, ends.message),
        }
        rows = [TaskMetric(name=a, value=b, split=c, label=d) for a, b, c, d in ends.rows]
        told = TaskStatus(
            conditions=status.conditions(TASK_CONDITIONS, [], judged, 1, self.now),
            reason=ends.reason.value,
            metrics=[*rows, *self._differences(task)],
            result=TaskResult(digest=digest(task.meta.uid), bytes=5) if good else None,
            usage=TaskUsage(cpu_seconds=ends.cost),
            completion_time=text(self.now),
        )
        self.tasks[name] = replace(task, status=told)

    def _compared(self, task: ObservedTask) -> Ends | None:
        if task.spec is None or not task.spec.results:
            return None
        labels = sorted({each.candidate for each in task.spec.results})
        return Ends(rows=tuple(("accuracy", "0.7", "test", label) for label in labels), cost=3)

    def _differences(self, task: ObservedTask) -> list[TaskMetric]:
        if task.spec is None or not task.spec.results:
            return []
        known = self.final if task.meta.name.endswith("final") else self.differences
        return [
            TaskMetric(name="difference", value=value, label=label, low=low, high=high)
            for label, (value, low, high) in known.items()
        ]

    def _answer(self, request: PromotionRequest) -> Answer:
        """As the broker does it: once for each key, by compare-and-swap."""
        self.asked.append(request)
        if self.answer is not None:
            return self.answer(self, request)
        if self.alias is not None and request.key in self.alias.keys:
            return Answer(self.alias)
        if (self.alias.digest if self.alias is not None else None) != request.replaces:
            return Answer(None, moved=True, words="it moved")
        name = next(name for name, task in self.tasks.items() if task.meta.uid == request.task_uid)
        self.alias = AliasRecord(UIDS[OWN], request.task_uid, name, request.digest, text(self.now), (request.key,))
        self.changes += 1
        return Answer(self.alias)

    @property
    def states(self) -> dict[str, tuple[str, str]]:
        return {each.candidate: (each.state.value, each.reason) for each in self.status.leaderboard}

    @property
    def ranks(self) -> list[str]:
        return [each.candidate for each in self.status.leaderboard if each.rank is not None]

    @property
    def message(self) -> str:
        found = status.find(ConditionType.SUCCEEDED, self.status.conditions)
        return found.message if found is not None else ""
