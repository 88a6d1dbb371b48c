"""What a new leader sends once more: the usage of attempts that ended within a day, by whichever clock was right."""

import datetime as dt
from typing import Any

import pytest

from collabspace.api import names
from collabspace.api.resource import ObjectMeta
from collabspace.controller.broker import Broker
from collabspace.controller.startup import resend_usage
from collabspace.controller.world import World
from collabspace.core.plan import Spent
from collabspace.kube import clock

NOW = dt.datetime(2026, 5, 2, 12, tzinfo=dt.UTC)


class Heard(Broker):
    """Notes what it is told to send."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    def spend(self, meta: ObjectMeta, spent: Spent) -> None:
        self.sent.append((meta.name, spent.attempt))


def task(name: str, *ends: dt.timedelta) -> dict[str, Any]:
    """A task whose attempts ended so long ago."""
    attempts = [
        {
            "number": number,
            "outcome": "Failed",
            "startTime": clock.rfc3339(NOW - ago - dt.timedelta(minutes=1)),
            "endTime": clock.rfc3339(NOW - ago),
        }
        for number, ago in enumerate(ends, 1)
    ]
    reference = {"name": "x", "datasetRef": {"namespace": "clinic", "name": "notes"}}
    spec = {"task": "Tabular", "method": "M", "datasets": [reference]}
    meta = {
        "name": name,
        "namespace": "lab",
        "uid": name,
        "resourceVersion": "1",
        "creationTimestamp": "2026-05-01T00:00:00Z",
    }
    return {"apiVersion": names.API_VERSION, "metadata": meta, "spec": spec, "status": {"attempts": attempts}}


@pytest.mark.parametrize("wrong", [dt.timedelta(), dt.timedelta(hours=1), -dt.timedelta(hours=1)])
def test_usage_of_a_day_is_sent_again_also_by_a_clock_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, wrong: dt.timedelta
) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW + wrong)
    world, broker = World(lambda _key: None), Heard()
    hours = dt.timedelta(hours=1)
    for raw in (task("new"), task("lately", 5 * hours, hours / 60), task("old", 30 * hours, 22 * hours)):
        world.tasks.apply("ADDED", raw)
    resend_usage(world, broker)
    assert sorted(broker.sent) == [("lately", 1), ("lately", 2), ("old", 2)]
