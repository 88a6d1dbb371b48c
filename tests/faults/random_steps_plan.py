"""What a seed stands for: steps of five teams, of an admin and of fate, drawn without a look at what comes of them.

So a seed gives the same steps every time. Of the five teams the last is a bystander: it does nothing unusual, and
nothing is done to it, so its tasks must end as they do without faults.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

TEAMS = 5
BYSTANDER = 4
OWNERS = (0, 1)
QUOTA = 4
EPISODE = 100
STATUSES = (401, 403, 409, 410, 422, 429, 500, 503, 504)
# How a trainer ends, and how often: mostly in ways that end the task at once, else runs would wait for pauses.
CODES = {0: 70, 10: 3, 20: 3, 21: 2, 40: 2, 60: 3, 61: 2, 62: 2, 70: 3, 51: 2}


@dataclass(frozen=True)
class Step:
    """`pause` is waited before it, in seconds. `said` is what its kind needs beside team and name."""

    kind: str
    team: int = 0
    name: str = ""
    pause: float = 0.0
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def is_fault(self) -> bool:
        return self.kind in FAULTS


class Drawing:
    """Draws the steps of one episode; remembers names, so that steps speak of what was made before."""

    def __init__(self, dice: random.Random, number: int) -> None:
        self.dice = dice
        self._number = number
        self._count = 0
        self.tasks: list[tuple[int, str]] = []
        self.selections: list[tuple[int, str]] = []
        self.extras: list[tuple[int, str]] = []
        self.grants = {(owner, team) for owner in OWNERS for team in range(TEAMS) if team != owner}

    def draw(self, count: int) -> Iterator[Step]:
        kinds = list(KINDS)
        weights = [KINDS[kind][0] for kind in kinds]
        made = 0
        while made < count:
            kind = self.dice.choices(kinds, weights)[0]
            step = KINDS[kind][1](self, kind)
            if step is not None:
                made += 1
                yield step

    def name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._number}-{self._count}"

    def pause(self) -> float:
        return self.dice.choice((0.0, 0.0, 0.0, 0.0, 0.02, 0.1, 0.2))

    def team(self) -> int:
        return self.dice.randrange(TEAMS - 1)

    def step(self, kind: str, team: int = 0, name: str = "", **said: Any) -> Step:
        return Step(kind, team, name, self.pause(), said)


def _act(dice: random.Random) -> dict[str, Any]:
    seconds = dice.choice((0.0, 0.05, 0.3, 1.0, 2.0, None))
    code = dice.choices(list(CODES), list(CODES.values()))[0]
    return {"seconds": seconds, "code": code, "saves": dice.random() < 0.5}


def _create(drawing: Drawing, kind: str) -> Step:
    dice = drawing.dice
    team = drawing.team()
    name = drawing.name("t")
    spec: dict[str, Any] = {
        "resourcesPerNode": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": str(dice.choice((0, 1, 1, 2)))}
    }
    spec["maxAttempts"] = dice.choice((1, 1, 2, 3))
    spec["priority"] = dice.choice((0, 0, 0, 5, -5))
    extra = {
        "suspend": True,
        "activeDeadlineSeconds": dice.choice((1, 30)),
        "pendingDeadlineSeconds": dice.choice((1, 20)),
        "ttlSecondsAfterFinished": dice.choice((0, 3)),
    }
    for key, value in extra.items():
        if dice.random() < 0.06:
            spec[key] = value
    owners = [0] if dice.random() < 0.6 else [1] if dice.random() < 0.6 else [0, 1]
    if drawing.extras and dice.random() < 0.05:
        spec["extra"] = dice.choice(drawing.extras)
    drawing.tasks.append((team, name))
    return drawing.step(kind, team, name, spec=spec, owners=owners, act=_act(dice))


def _bystand(drawing: Drawing, kind: str) -> Step:
    name = drawing.name("b")
    spec = {"resourcesPerNode": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}}
    act = {"seconds": drawing.dice.choice((0.0, 0.3)), "code": 0, "saves": False}
    return drawing.step(kind, BYSTANDER, name, spec=spec, owners=[0], act=act)


def _bad_task(drawing: Drawing, kind: str) -> Step:
    """Each is refused, or waits, or ends without an attempt; none does harm."""
    dice = drawing.dice
    spec = dice.choice(
        (
            {"method": "Sorcery"},
            {"parameters": {"epochs": "-1"}},
            {"parameters": {"x" * 64: "y" * 256}},
            {"resourcesPerNode": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "99"}},
            {"resourcesPerNode": {"cpu": "1e9", "memory": "1Gi"}},
            {"resourcesPerNode": {"cpu": "0", "memory": "0"}},
            {"datasets": [{"name": "a", "datasetRef": {"namespace": "kube-system", "name": "none"}}]},
            {"datasets": [{"name": "a", "datasetRef": {"namespace": "../x", "name": "%00"}}]},
            {"gates": [{"metric": "entity_micro_f1", "minimum": "1e999"}]},
            {"modelFrom": {"kind": "CollabTask", "namespace": "default", "name": "none"}},
            {"seed": -1},
            {"task": ""},
        )
    )
    team, name = drawing.team(), drawing.name("bad")
    drawing.tasks.append((team, name))
    return drawing.step(kind, team, name, spec=spec, owners=[0], act=_act(dice))


def _of_a_task(**choices: Callable[[random.Random], Any]) -> Callable[[Drawing, str], Step | None]:
    def draw(drawing: Drawing, kind: str) -> Step | None:
        if not drawing.tasks:
            return None
        team, name = drawing.dice.choice(drawing.tasks[-15:])
        return drawing.step(kind, team, name, **{key: choose(drawing.dice) for key, choose in choices.items()})

    return draw


def _grants(drawing: Drawing, kind: str) -> Step:
    """Gives or takes back one grant; the bystander's stays."""
    owner = drawing.dice.choice(OWNERS)
    team = drawing.dice.choice([each for each in range(TEAMS - 1) if each != owner])
    drawing.grants ^= {(owner, team)}
    now = sorted(to for of, to in drawing.grants if of == owner)
    return drawing.step(kind, owner, "notes", to=now, stop=drawing.dice.random() < 0.3)


def _publish(drawing: Drawing, kind: str) -> Step:
    return drawing.step(kind, drawing.dice.choice(OWNERS), "notes", words=drawing.name("w"))


def _dataset(drawing: Drawing, kind: str) -> Step:
    team, name = drawing.team(), drawing.name("d")
    drawing.extras.append((team, name))
    return drawing.step(kind, team, name)


def _delete_dataset(drawing: Drawing, kind: str) -> Step | None:
    if not drawing.extras:
        return None
    team, name = drawing.extras.pop(drawing.dice.randrange(len(drawing.extras)))
    return drawing.step(kind, team, name)


def _selection(drawing: Drawing, kind: str) -> Step:
    team, name = drawing.team(), drawing.name("s")
    drawing.selections.append((team, name))
    values = [f"0.{drawing.dice.randrange(10, 99)}" for _ in range(2)]
    return drawing.step(kind, team, name, values=values, promote=drawing.dice.random() < 0.7)


def _of_a_selection(drawing: Drawing, kind: str) -> Step | None:
    if not drawing.selections:
        return None
    return drawing.step(kind, *drawing.dice.choice(drawing.selections), suspend=drawing.dice.random() < 0.5)


def _quota(drawing: Drawing, kind: str) -> Step:
    quota = drawing.dice.choice(("0", "1", "2", "4", "8", "8", "many", "-1"))
    return drawing.step(kind, drawing.team(), quota=quota)


def _plain(**choices: Callable[[random.Random], Any]) -> Callable[[Drawing, str], Step]:
    def draw(drawing: Drawing, kind: str) -> Step:
        return drawing.step(kind, **{key: choose(drawing.dice) for key, choose in choices.items()})

    return draw


def _times(dice: random.Random) -> int:
    return dice.choice((1, 1, 2, 5, 15))


KINDS: dict[str, tuple[int, Callable[[Drawing, str], Step | None]]] = {
    "create task": (26, _create),
    "bystander's task": (4, _bystand),
    "create bad task": (6, _bad_task),
    "delete task": (7, _of_a_task()),
    "suspend": (5, _of_a_task()),
    "resume": (6, _of_a_task()),
    "change task": (
        3,
        _of_a_task(priority=lambda dice: dice.randrange(-9, 9), method=lambda dice: dice.random() < 0.3),
    ),
    "end trainer": (6, _of_a_task()),
    "change grants": (5, _grants),
    "publish version": (1, _publish),
    "create dataset": (1, _dataset),
    "delete dataset": (1, _delete_dataset),
    "create selection": (2, _selection),
    "suspend selection": (1, _of_a_selection),
    "delete selection": (1, _of_a_selection),
    "change quota": (3, _quota),
    "delete Job": (3, _of_a_task(how=lambda dice: dice.choice(("Background", "Foreground", "Orphan")))),
    "edit Job": (
        2,
        _of_a_task(what=lambda dice: dice.choice(("suspend", "resume", "labels", "owners", "annotations"))),
    ),
    "delete pod": (3, _of_a_task(now=lambda dice: dice.random() < 0.3)),
    "edit pod": (1, _of_a_task(what=lambda dice: dice.choice(("labels", "owners")))),
    "API status": (
        4,
        _plain(status=lambda dice: dice.choice(STATUSES), times=_times, meant=lambda dice: dice.choice("arw")),
    ),
    "API latency": (
        2,
        _plain(seconds=lambda dice: dice.choice((0.05, 0.3, 1.0)), times=_times, meant=lambda dice: dice.choice("arw")),
    ),
    "API reset": (2, _plain(times=_times, meant=lambda dice: dice.choice("arw"))),
    "API lost reply": (2, _plain(times=_times, meant=lambda dice: dice.choice("aw"))),
    "API cut short": (1, _plain(times=_times, meant=lambda dice: dice.choice("arw"))),
    "API black hole": (1, _plain(times=lambda _: 1, meant=lambda dice: dice.choice("arw"))),
    "event dropped": (2, _plain(seconds=lambda dice: dice.choice((0.5, 2.0, 5.0)), times=_times)),
    "event duplicated": (2, _plain(times=_times)),
    "event delayed": (2, _plain(seconds=lambda dice: dice.choice((0.1, 0.5, 2.0)), times=_times)),
    "event reordered": (1, _plain(seconds=lambda _: 0.3, times=_times)),
    "event truncated": (1, _plain(times=lambda _: 1)),
    "broker status": (2, _plain(status=lambda dice: dice.choice((401, 403, 429, 500, 503)), times=_times)),
    "broker reset": (1, _plain(times=_times)),
    "broker lost reply": (1, _plain(times=_times)),
    "kill operator": (2, _plain(which=lambda dice: dice.randrange(2), away=lambda dice: dice.choice((0.0, 0.2, 1.0)))),
    "freeze operator": (
        1,
        _plain(which=lambda dice: dice.randrange(2), away=lambda dice: dice.choice((0.2, 1.0, 3.0, 12.0))),
    ),
    "second operator": (1, _plain()),
    "stop operator": (1, _plain(which=lambda dice: dice.randrange(2), away=lambda dice: dice.choice((0.0, 1.0)))),
    "restart broker": (1, _plain(away=lambda dice: dice.choice((0.0, 0.5)))),
    "step clock": (1, _plain(seconds=lambda dice: dice.choice((-3600, -60, -5, 0, 5, 60, 3600)))),
}
FAULTS = frozenset(
    kind
    for kind in KINDS
    if kind.startswith(("API", "event", "broker ", "kill", "freeze", "second", "stop", "restart", "step"))
)


def episodes(seed: int, count: int) -> Iterator[list[Step]]:
    """All steps of a seed, in episodes after each of which the system must come to rest."""
    for number, done in enumerate(range(0, count, EPISODE)):
        dice = random.Random(f"{seed}/{number}")  # an episode can be had without those before it
        yield list(Drawing(dice, number).draw(min(EPISODE, count - done)))
