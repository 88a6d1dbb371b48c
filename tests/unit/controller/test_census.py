"""What a scrape finds: figures of the moment, none of what is gone, and a bounded number of series."""

import asyncio
import datetime as dt
from typing import Any

import pytest
from prometheus_client import generate_latest

from collabspace.api import names
from collabspace.api.conditions import Reason
from collabspace.api.run import Progress, Role, RunDataset
from collabspace.api.task import TaskSpec, TaskStatus
from collabspace.controller import census, metrics
from collabspace.controller.world import World
from collabspace.core import job
from collabspace.core.grants import Authorization
from collabspace.core.observed import AttemptRecord, observe
from collabspace.core.quantity import Amount

NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
TEAM, OTHER = "lab", "clinic"
DIGEST = "sha256:" + "0" * 64


def meta(name: str, namespace: str = "", created: str = "2026-01-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    uid = f"uid-{namespace}-{name}"
    return {
        "name": name,
        "namespace": namespace,
        "uid": uid,
        "resourceVersion": "1",
        "creationTimestamp": created,
    } | more


def team(name: str, gpus: int) -> dict[str, Any]:
    settings = {"labels": {names.TEAM_LABEL: "true"}, "annotations": {names.GPU_QUOTA: str(gpus)}}
    return {"metadata": meta(name, **settings)}


def task(name: str, reason: str, namespace: str = TEAM) -> dict[str, Any]:
    reference = {"name": "x", "datasetRef": {"namespace": OTHER, "name": "notes"}}
    spec = {"task": "Tabular", "method": "M", "datasets": [reference]}
    return {"metadata": meta(name, namespace), "spec": spec, "status": {"reason": reason}}


def job_of(raw: dict[str, Any]) -> dict[str, Any]:
    """The Job of its first attempt, as the API server would have it."""
    observed = observe(raw, TaskSpec, TaskStatus)
    assert observed.spec is not None
    pinned = RunDataset(name="x", owner=f"{OTHER}/notes", uid="u", digest=DIGEST, role=Role.TRAIN)
    run = job.run_document(
        observed, observed.spec, job.Terms(Authorization(Reason.GRANTED, "", datasets=(pinned,)), {})
    )
    body = job.build(run, observed.spec.resources_per_node, job.JobSettings("image", "https://b"))
    known = meta(body["metadata"]["name"], TEAM)
    return body | {"metadata": known | body["metadata"], "status": {}}


def dataset(*grants: dict[str, Any], name: str = "notes") -> dict[str, Any]:
    return {"metadata": meta(name, OTHER), "spec": {"format": "Tabular", "grants": list(grants)}}


def grant(name: str, end: str | None, *uses: str, to: str = TEAM) -> dict[str, Any]:
    return {"name": name, "namespace": to, "uses": list(uses or ("Train",))} | ({"notAfter": end} if end else {})


def selection(name: str, value: str, created: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    spec = {
        "task": "Tabular",
        "datasets": [{"name": "x", "role": "Train", "datasetRef": {"namespace": OTHER, "name": "notes"}}],
        "objective": {"metric": "accuracy"},
        "candidates": [{"name": "one", "method": "M"}],
    }
    best = {"rank": 1, "candidate": "one", "validationValue": value, "state": "Ranked"}
    return {
        "metadata": meta(name, TEAM, created),
        "spec": spec,
        "status": {"reason": "Completed", "leaderboard": [best]},
    }


@pytest.fixture
async def world() -> World:
    world = World(lambda _key: None)
    world.namespaces.apply("ADDED", team(TEAM, 4))
    world.namespaces.apply("ADDED", team(OTHER, 2))
    return world


def counted(world: World, family: census.Family) -> dict[tuple[str, ...], float]:
    return census.count(world, NOW)[family]


async def test_tasks_count_by_team_and_state_and_a_team_without_any_counts_zero(world: World) -> None:
    for name, reason in (("a", "Training"), ("b", "Training"), ("c", "WaitingForQuota"), ("d", ""), ("e", "DataError")):
        world.tasks.apply("ADDED", task(name, reason))
    found = counted(world, census.TASKS)
    states = {state: int(found[TEAM, state]) for state in metrics.ALL_STATES}
    assert states == {"Pending": 1, "Active": 2, "Waiting": 1, "Succeeded": 0, "Failed": 1}
    assert sum(found[OTHER, state] for state in metrics.ALL_STATES) == 0


async def test_a_team_that_is_gone_leaves_no_series(world: World) -> None:
    world.tasks.apply("ADDED", task("a", "Training"))
    world.tasks.apply("DELETED", task("a", "Training"))
    world.namespaces.apply("DELETED", team(TEAM, 4))
    assert not [labels for values in census.count(world, NOW).values() for labels in values if TEAM in labels]


async def test_gpus_are_allocated_from_admission_on_and_idle_until_a_trainer_runs(world: World) -> None:
    for name, reason, gpus in (("a", "Training", 3), ("b", "PodsPending", 2)):
        world.tasks.apply("ADDED", task(name, reason))
        world.holdings.hold(f"uid-{TEAM}-{name}", 1, TEAM, Amount(gpus, 1000, 2**30))
    assert counted(world, census.QUOTA) == {(OTHER,): 2, (TEAM,): 4}
    assert counted(world, census.ALLOCATED) == {(OTHER,): 0, (TEAM,): 5}
    assert counted(world, census.BORROWED) == {(OTHER,): 0, (TEAM,): 1}
    assert counted(world, census.IDLE) == {(OTHER,): 0, (TEAM,): 2}


async def test_progress_is_told_of_tasks_that_hold_something_and_of_no_other(world: World) -> None:
    for name in ("moves", "starts", "ended"):
        world.tasks.apply("ADDED", task(name, "Training"))
        world.jobs.apply("ADDED", job_of(task(name, "Training")))
    progress = Progress(step=30, totalSteps=40, beat=7)
    now = asyncio.get_running_loop().time()
    world.tell_attempt(f"uid-{TEAM}-moves", 1, AttemptRecord(progress=progress), now - 60)
    world.release(f"uid-{TEAM}-ended", 1)
    assert counted(world, census.PROGRESS) == {(TEAM, "moves"): 0.75}
    moved = counted(world, census.MOVED)
    assert moved[TEAM, "moves"] == pytest.approx(NOW.timestamp() - 60, abs=5)
    assert moved[TEAM, "starts"] == dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()
    assert (TEAM, "ended") not in moved


@pytest.mark.parametrize(
    ("grants", "end"),
    [
        ([grant("a", "2026-06-01T00:00:00Z")], "2026-06-01"),
        ([grant("a", None)], None),
        ([grant("a", "2026-04-01T00:00:00Z")], None),
        # A longer grant for the same use takes over; one for another use does not.
        ([grant("a", "2026-06-01T00:00:00Z"), grant("b", "2026-07-01T00:00:00Z", "Train", "Evaluate")], "2026-07-01"),
        ([grant("a", "2026-06-01T00:00:00Z"), grant("b", None)], None),
        ([grant("a", "2026-06-01T00:00:00Z"), grant("b", None, "Evaluate")], "2026-06-01"),
        ([grant("a", "2026-04-01T00:00:00Z", "Download"), grant("b", "2026-08-01T00:00:00Z")], "2026-08-01"),
    ],
)
async def test_a_grants_expiry_is_when_the_first_use_is_lost(
    world: World, grants: list[dict[str, Any]], end: str | None
) -> None:
    world.datasets.apply("ADDED", dataset(*grants))
    expected = {} if end is None else {(f"{OTHER}/notes", TEAM): dt.datetime.fromisoformat(end + "T00:00Z").timestamp()}
    assert counted(world, census.EXPIRY) == expected
    world.datasets.apply("DELETED", dataset())
    assert counted(world, census.EXPIRY) == {}


async def test_of_many_grants_those_that_end_soonest_are_shown(world: World) -> None:
    for number in range(300):
        end = (NOW + dt.timedelta(days=1 + number)).isoformat()
        world.datasets.apply("ADDED", dataset(grant("g", end), name=f"d-{number}"))
    found = counted(world, census.EXPIRY)
    assert len(found) == census.MAX_SERIES
    assert max(found.values()) == (NOW + dt.timedelta(days=census.MAX_SERIES)).timestamp()


async def test_the_newest_selections_tell_their_best_figure(world: World) -> None:
    world.selections.apply("ADDED", selection("new", "0.875", "2026-02-01T00:00:00Z"))
    for number in range(census.MAX_SERIES):
        world.selections.apply("ADDED", selection(f"old-{number}", "0.5"))
    found = counted(world, census.SCORE)
    assert len(found) == census.MAX_SERIES
    assert found[TEAM, "new", "accuracy"] == 0.875


async def test_ten_teams_at_rest_make_at_most_five_hundred_series(world: World) -> None:
    metrics.prepare()
    for number in range(10):
        world.namespaces.apply("ADDED", team(f"team-{number}", 8))
        world.tasks.apply("ADDED", task("done", Reason.COMPLETED.value, f"team-{number}"))
        end = grant("g", "2026-12-01T00:00:00Z", to=f"team-{number}")
        world.datasets.apply("ADDED", dataset(end, name=f"d-{number}"))
    census.CENSUS.follow(world)
    text = (await asyncio.to_thread(generate_latest, metrics.REGISTRY)).decode()
    series = [line for line in text.splitlines() if not line.startswith("#")]
    assert 'collabspace_tasks{state="Succeeded",team="team-9"} 1.0' in series
    assert len(series) <= 500


async def test_a_loop_that_has_ended_leaves_the_other_metrics_readable() -> None:
    counting = census.Census()
    await asyncio.to_thread(asyncio.run, follow(counting))
    assert list(counting.collect()) == []


async def follow(counting: census.Census) -> None:
    counting.follow(World(lambda _key: None))
