"""ModelSelections on the real API server: their tasks are ended by hand, as a kubelet and the broker would."""

from typing import Any

from operator_harness import TASKS, FakeBroker, Teams, digest, end_record, until

from collabspace.api import names
from collabspace.kube.client import Object

SELECTIONS = f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.MODEL_SELECTIONS}"
PROMOTION = {"alias": "best", "mode": "Automatic"}


def body(team: str, name: str = "sel", **spec: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelSelection",
        "metadata": {"name": name},
        "spec": {
            "task": "Tabular",
            "datasets": [{"name": "train", "datasetRef": {"namespace": team, "name": "table"}}],
            "objective": {"metric": "accuracy"},
            "candidates": [
                {"name": "linear", "method": "LogisticRegression"},
                {"name": "network", "method": "NeuralNetwork"},
            ],
            **spec,
        },
    }


class Selections:
    """A team with a selection named `sel`."""

    def __init__(self, teams: Teams, broker: FakeBroker) -> None:
        self.teams = teams
        self.broker = broker
        self.admin = teams.admin
        self.team = ""

    async def start(self, **spec: Any) -> None:
        self.team = await self.teams.ready()
        await self.make(**spec)

    async def make(self, **spec: Any) -> Object:
        return await self.admin.create(SELECTIONS.format(self.team), body(self.team, **spec))

    async def task(self, name: str, reason: str | None = None) -> Object:
        """The child once it is there, or once its reason is this."""
        good = (lambda item: item.get("status", {}).get("reason") == reason) if reason else (lambda _: True)
        return await until(self.admin, TASKS.format(self.team), name, good)

    async def end(self, name: str, *rows: Object, code: int = 0, **more: Any) -> Object:
        """The child's pod ends, and the broker holds its result."""
        made = await self.task(name)
        uid, stored = made["metadata"]["uid"], digest(f"{self.team}/{name}/{made['metadata']['uid']}")
        self.broker.tasks[self.team, name] = uid
        # Not before the Job is there: an attempt that the broker knows of is never started again.
        await self.teams.pod(self.team, name)
        if code == 0:
            self.broker.committed(uid, stored)
        await self.teams.end_pod(
            self.team,
            name,
            code=code,
            message=end_record(stored if code == 0 else None, code, metrics=list(rows), **more),
        )
        return made

    async def score(self, name: str, value: str) -> Object:
        return await self.end(name, row("accuracy", value, split="validation"), row("accuracy", value))

    async def compare(self, name: str, *ahead: tuple[str, str, str, str]) -> Object:
        """The comparison ends: who is behind the best by how much."""
        rows = (row("difference", value, label=label, low=low, high=high) for label, value, low, high in ahead)
        return await self.end(name, *rows)

    async def until(self, reason: str) -> Object:
        good = lambda item: item.get("status", {}).get("reason") == reason  # noqa: E731
        return await until(self.admin, SELECTIONS.format(self.team), "sel", good)

    async def names(self) -> list[str]:
        return sorted(each["metadata"]["name"] for each in (await self.admin.list(TASKS.format(self.team)))["items"])


def row(name: str, value: str, split: str = "test", **more: str) -> Object:
    return {"name": name, "value": value, "split": split, **more}


def board(item: Object) -> dict[str, tuple[str, str]]:
    return {each["candidate"]: (each["state"], each.get("reason", "")) for each in item["status"]["leaderboard"]}
