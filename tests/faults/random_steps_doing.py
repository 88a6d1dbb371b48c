"""Carries out random steps on the rig: what teams and admins do by requests, what fate does by proxies and signals."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable

from fault_proxy import FaultProxy
from player import Act
from proxy_messages import EventRule, Fault, Request, Rule
from random_steps_faults import event_fault, meant, request_fault
from random_steps_operators import Operators
from random_steps_plan import OWNERS, QUOTA, TEAMS, Step
from rig import Rig
from stage import DATASETS, JOBS, PODS, SELECTIONS, TASKS, Stage, kind

from collabspace.api import names
from collabspace.kube.client import KubeError, Object

METRIC = "entity_micro_f1"
ATTEMPTS = 6


class Team(Stage):
    """A team that pushes its own dataset; `owner` and `team` are both this one."""

    def __init__(self, rig: Rig, name: str) -> None:
        super().__init__(rig)
        self.name = name

    @property
    def owner(self) -> str:
        return self.name

    @property
    def team(self) -> str:
        return self.name


class Doing:
    """`refused` counts by status what the API server did not let happen: it may say no, the plan does not know."""

    def __init__(self, rig: Rig, operators: Operators) -> None:
        self.rig = rig
        self.operators = operators
        self.teams: list[Team] = []
        self.refused: Counter[int] = Counter()
        self._broker_back: asyncio.Task[None] | None = None

    async def set_up(self) -> list[str]:
        """Five new teams, two of which have data; their namespaces."""
        self.teams = [Team(self.rig, f"team{number}-{uuid.uuid4().hex[:6]}") for number in range(TEAMS)]
        await asyncio.gather(*(self.rig.team(name=team.name, gpus=QUOTA) for team in self.teams))
        for owner in OWNERS:
            await self.teams[owner].publish("one")
            await self._grant(owner, [team for team in range(TEAMS) if team != owner], stop=False)
        return [team.name for team in self.teams]

    async def do(self, step: Step) -> None:
        self.operators.revive()
        try:
            await DOINGS[step.kind](self, step)
        except KubeError as error:
            if error.transient and error.status != 429:
                raise
            self.refused[error.status] += 1

    async def calm(self) -> None:
        """No fault from now on; the broker and an operator run."""
        for proxy in (self.rig.api, self.rig.broker_door):
            proxy.clear()
        if self._broker_back is not None:
            await self._broker_back
        await self.operators.settle()
        for team in self.teams:
            annotations = {names.GPU_QUOTA: str(QUOTA)}
            await self.rig.admin.merge(f"/api/v1/namespaces/{team.name}", {"metadata": {"annotations": annotations}})

    async def leave(self) -> None:
        """All teams are deleted, with what they have; nobody waits for it."""
        for team in self.teams:
            await self.rig.remove(team.name)

    def _name(self, step: Step) -> str:
        return self.teams[step.team].name

    async def create_task(self, step: Step) -> None:
        act = Act(**step.said["act"])
        namespace = self._name(step)

        def played(attempt: int) -> Act:
            # What fails every time would go on for as long as attempts are allowed.
            return act if act.code != 51 or attempt == 1 else Act()

        self.rig.player.scripts[namespace, step.name] = played
        given = dict(step.said["spec"])
        owners = [(self.teams[owner].name, "notes") for owner in step.said["owners"]]
        if "extra" in given:
            team, name = given.pop("extra")
            owners.append((self.teams[team].name, name))
        references = [
            {"name": f"d{place}", "datasetRef": {"namespace": owner, "name": name}}
            for place, (owner, name) in enumerate(owners)
        ]
        spec = {"task": "TokenClassification", "method": "FullFineTuning", "initialization": "Random"}
        if "modelFrom" in given:
            spec.pop("initialization")
        body = kind("CollabTask", step.name, spec | {"datasets": references} | given)
        await self.rig.admin.create(TASKS.format(namespace), body)

    async def delete_task(self, step: Step) -> None:
        await self.rig.admin.delete(f"{TASKS.format(self._name(step))}/{step.name}")

    async def suspend(self, step: Step) -> None:
        await self._merge(TASKS, step, {"spec": {"suspend": step.kind == "suspend"}})

    async def change_task(self, step: Step) -> None:
        spec: Object = {"priority": step.said["priority"]}
        if step.said["method"]:
            spec["method"] = "WindowFeatures"
        await self._merge(TASKS, step, {"spec": spec})

    async def end_trainer(self, step: Step) -> None:
        self.rig.player.release(self._name(step), step.name)

    async def grants(self, step: Step) -> None:
        await self._grant(step.team, step.said["to"], stop=step.said["stop"])

    async def _grant(self, owner: int, to: list[int], *, stop: bool) -> None:
        grants = []
        for team in to:
            name = self.teams[team].name
            uses = ["Train", "Evaluate"]
            grants.append(
                {"name": f"g{team}", "namespace": name, "namespaceUID": await self.teams[team].uid(name), "uses": uses}
            )
        spec = {"grants": grants, "onRevoke": "Stop" if stop else "Finish"}
        await self.rig.admin.merge(f"{DATASETS.format(self.teams[owner].name)}/notes", {"spec": spec})

    async def publish(self, step: Step) -> None:
        await self.teams[step.team].publish(step.said["words"])

    async def create_dataset(self, step: Step) -> None:
        spec = {"format": "TokenClassification", "deletionPolicy": "Delete"}
        await self.rig.admin.create(DATASETS.format(self._name(step)), kind("SharedDataset", step.name, spec))

    async def delete_dataset(self, step: Step) -> None:
        await self.rig.admin.delete(f"{DATASETS.format(self._name(step))}/{step.name}")

    async def create_selection(self, step: Step) -> None:
        namespace = self._name(step)
        candidates = []
        for letter, value in zip("ab", step.said["values"], strict=True):
            rows = tuple({"name": METRIC, "value": value, "split": split} for split in ("validation", "test"))
            act = Act(metrics=rows)
            self.rig.player.scripts[namespace, f"{step.name}-{letter}"] = lambda _, act=act: act  # type: ignore[misc]
            method = "FullFineTuning" if letter == "a" else "WindowFeatures"
            candidates.append({"name": letter, "method": method, "initialization": "Random"})
        for part, label in (("choose", "b"), ("final", "baseline")):
            row = {"name": "difference", "value": "0.1", "split": "test", "label": label, "low": "0.05", "high": "0.15"}
            act = Act(metrics=(row,))
            self.rig.player.scripts[namespace, f"{step.name}-{part}"] = lambda _, act=act: act  # type: ignore[misc]
        spec: Object = {
            "task": "TokenClassification",
            "datasets": [{"name": "d0", "datasetRef": {"namespace": self.teams[0].name, "name": "notes"}}],
            "objective": {"metric": METRIC},
            "candidates": candidates,
        }
        if step.said["promote"]:
            spec["promotion"] = {"alias": "best", "mode": "Automatic"}
        await self.rig.admin.create(SELECTIONS.format(namespace), kind("ModelSelection", step.name, spec))

    async def suspend_selection(self, step: Step) -> None:
        await self._merge(SELECTIONS, step, {"spec": {"suspend": step.said["suspend"]}})

    async def delete_selection(self, step: Step) -> None:
        await self.rig.admin.delete(f"{SELECTIONS.format(self._name(step))}/{step.name}")

    async def quota(self, step: Step) -> None:
        annotations = {names.GPU_QUOTA: step.said["quota"]}
        await self.rig.admin.merge(f"/api/v1/namespaces/{self._name(step)}", {"metadata": {"annotations": annotations}})

    async def delete_job(self, step: Step) -> None:
        job = await self._newest_job(step)
        if job is not None:
            path = f"{JOBS.format(self._name(step))}/{job}"
            await self.rig.admin.delete(path, propagation=step.said["how"])

    async def edit_job(self, step: Step) -> None:
        job = await self._newest_job(step)
        if job is None:
            return
        changes: dict[str, Object] = {
            "suspend": {"spec": {"suspend": True}},
            "resume": {"spec": {"suspend": False}},
            "labels": {"metadata": {"labels": {names.TASK_UID_LABEL: "other", names.ATTEMPT_LABEL: "99"}}},
            "owners": {"metadata": {"ownerReferences": None}},
            "annotations": {"metadata": {"annotations": {names.STOP_REASON: "Nonsense"}}},
        }
        await self.rig.admin.merge(f"{JOBS.format(self._name(step))}/{job}", changes[step.said["what"]])

    async def delete_pod(self, step: Step) -> None:
        pod = self._pod(step)
        if pod is not None:
            grace = 0 if step.said["now"] else None
            await self.rig.admin.delete(f"{PODS.format(self._name(step))}/{pod}", grace_seconds=grace)

    async def edit_pod(self, step: Step) -> None:
        pod = self._pod(step)
        changes: dict[str, Object] = {
            "labels": {"metadata": {"labels": {names.TASK_UID_LABEL: "other"}}},
            "owners": {"metadata": {"ownerReferences": None}},
        }
        if pod is not None:
            await self.rig.admin.merge(f"{PODS.format(self._name(step))}/{pod}", changes[step.said["what"]])

    async def _newest_job(self, step: Step) -> str | None:
        there = self.rig.eyes.objects("jobs", self._name(step))
        found = [f"{step.name}-{attempt}" for attempt in range(1, ATTEMPTS) if f"{step.name}-{attempt}" in there]
        return found[-1] if found else None

    def _pod(self, step: Step) -> str | None:
        there = self.rig.eyes.objects("pods", self._name(step))
        return next((name for name in sorted(there) if name.startswith(f"{step.name}-")), None)

    async def _merge(self, collection: str, step: Step, body: Object) -> None:
        await self.rig.admin.merge(f"{collection.format(self._name(step))}/{step.name}", body)

    async def api_fault(self, step: Step) -> None:
        self._rule(self.rig.api, request_fault(step), step, meant(step.said["meant"]))

    async def broker_fault(self, step: Step) -> None:
        self._rule(self.rig.broker_door, request_fault(step), step, lambda _request: True)

    def _rule(self, proxy: FaultProxy, fault: Fault, step: Step, wanted: Callable[[Request], bool]) -> None:
        proxy.rules[:] = [rule for rule in proxy.rules if rule.times is None or rule.fired < rule.times]
        proxy.rules.append(Rule(wanted, fault, step.said["times"]))

    async def event_fault(self, step: Step) -> None:
        rules = self.rig.api.event_rules
        rules[:] = [rule for rule in rules if rule.times is None or rule.fired < rule.times]
        rules.append(EventRule(lambda _event: True, event_fault(step), step.said["times"]))

    async def kill_operator(self, step: Step) -> None:
        program = self.operators.programs[step.said["which"]]
        leave = program.kill if step.kind == "kill operator" else program.stop
        await self.operators.away(step.said["which"], step.said["away"], leave, program.start)

    async def freeze_operator(self, step: Step) -> None:
        program = self.operators.programs[step.said["which"]]
        await self.operators.away(step.said["which"], step.said["away"], program.freeze, program.thaw)

    async def second_operator(self, _step: Step) -> None:
        program = self.operators.programs[1]
        if not program.running() and 1 not in self.operators._absent:
            program.start()

    async def restart_broker(self, step: Step) -> None:
        if self._broker_back is not None and not self._broker_back.done():
            return

        async def back() -> None:
            await asyncio.to_thread(self.rig.broker.kill)
            await asyncio.sleep(step.said["away"])
            self.rig.broker.start()
            await asyncio.to_thread(self.rig._until_broker_is_ready)

        self._broker_back = asyncio.create_task(back())

    async def step_clock(self, step: Step) -> None:
        self.operators.step_clock(step.said["seconds"])


DOINGS: dict[str, Callable[[Doing, Step], Awaitable[None]]] = {
    "create task": Doing.create_task,
    "bystander's task": Doing.create_task,
    "create bad task": Doing.create_task,
    "delete task": Doing.delete_task,
    "suspend": Doing.suspend,
    "resume": Doing.suspend,
    "change task": Doing.change_task,
    "end trainer": Doing.end_trainer,
    "change grants": Doing.grants,
    "publish version": Doing.publish,
    "create dataset": Doing.create_dataset,
    "delete dataset": Doing.delete_dataset,
    "create selection": Doing.create_selection,
    "suspend selection": Doing.suspend_selection,
    "delete selection": Doing.delete_selection,
    "change quota": Doing.quota,
    "delete Job": Doing.delete_job,
    "edit Job": Doing.edit_job,
    "delete pod": Doing.delete_pod,
    "edit pod": Doing.edit_pod,
    **dict.fromkeys(
        ("API status", "API latency", "API reset", "API lost reply", "API cut short", "API black hole"),
        Doing.api_fault,
    ),
    **dict.fromkeys(
        ("event dropped", "event duplicated", "event delayed", "event reordered", "event truncated"), Doing.event_fault
    ),
    **dict.fromkeys(("broker status", "broker reset", "broker lost reply"), Doing.broker_fault),
    "kill operator": Doing.kill_operator,
    "stop operator": Doing.kill_operator,
    "freeze operator": Doing.freeze_operator,
    "second operator": Doing.second_operator,
    "restart broker": Doing.restart_broker,
    "step clock": Doing.step_clock,
}
