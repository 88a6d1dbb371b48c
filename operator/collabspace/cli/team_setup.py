"""Teams made and shown: the objects of a namespace applied in the right order, the quota beside what is in use."""

import asyncio

import click

from collabspace.api import names
from collabspace.api.task import CollabTask
from collabspace.api.team import Team, parse_team
from collabspace.cli import team_objects
from collabspace.cli.cluster import FIELD_MANAGER, Cluster, path_of, readable, run
from collabspace.cli.errors import CommandError, command
from collabspace.cli.options import Where
from collabspace.cli.output import Cell, nothing_found, plain, print_objects, print_table
from collabspace.cli.task_state import State, gpus_of, has_ended, holds_quota, state_of
from collabspace.kube.client import KubeError, Object


def add(where: Where, name: str, settings: dict[str, str], people: tuple[str, ...]) -> None:
    """Makes the namespace a team; `settings` are annotations to set, others stay; `people` join its members."""
    existed = run(where, lambda cluster: _set_up(cluster, name, settings))
    if people:
        run(where, lambda cluster: _join(cluster, name, people))
    click.echo(f"namespace/{name} {'configured' if existed else 'created'} as a team")
    if names.GPU_QUOTA not in existed | settings:
        click.echo(f"It owns no GPU yet: {command(f'teams add {name} --gpu-quota N')}.", err=True)


async def _set_up(cluster: Cluster, name: str, settings: dict[str, str]) -> dict[str, str]:
    """Applies all objects, the team label last. Returns the metadata that told us it existed, empty when it did not."""
    client = cluster.client
    broker = await _broker_address(cluster)
    path = f"/api/v1/namespaces/{name}"
    metadata = await _metadata(cluster, path)
    if metadata.get("deletionTimestamp"):
        raise CommandError(f"namespace {name} is being deleted", "Wait until it is gone, then do this again.")
    known = team_objects.known_settings(metadata)
    wanted = known | settings
    is_team = (metadata.get("labels") or {}).get(names.TEAM_LABEL) == "true"
    await client.apply(path, team_objects.namespace(name, wanted, labelled=is_team), FIELD_MANAGER)
    await asyncio.gather(
        *(client.apply(where, item, FIELD_MANAGER) for where, item in team_objects.contents(name, broker))
    )
    await client.apply(path, team_objects.namespace(name, wanted, labelled=True), FIELD_MANAGER)
    return {"uid": metadata["uid"], **known} if metadata else {}


async def _join(cluster: Cluster, name: str, people: tuple[str, ...]) -> None:
    """Adds people to those who are members already."""
    try:
        binding = await cluster.client.get(team_objects.members_path(name))
    except KubeError as error:
        if error.status != 404:
            raise
        binding = {}
    known = [subject["name"] for subject in binding.get("subjects") or () if subject.get("kind") == "User"]
    everyone = list(dict.fromkeys((*known, *people)))
    for path, item in team_objects.members(name, everyone):
        await cluster.client.apply(path, item, FIELD_MANAGER)


def remove(where: Where, name: str) -> None:
    """Takes away what `add` made; refuses while a task has not ended."""
    run(where, lambda cluster: _take_down(cluster, name))
    click.echo(f"namespace/{name} is no team any more; its datasets, tasks and Pod Security level stay")


async def _take_down(cluster: Cluster, name: str) -> None:
    """The label last, so that it can be done again when it broke off."""
    client, path = cluster.client, f"/api/v1/namespaces/{name}"
    labels = (await _metadata(cluster, path)).get("labels") or {}
    if labels.get(names.TEAM_LABEL) != "true":
        raise CommandError(f"namespace {name} is no team", f"See which there are: {command('teams list')}.")
    items = (await client.list(path_of(names.COLLAB_TASKS, name)))["items"]
    busy = sorted(task.metadata.name for task in readable(CollabTask, items) if not has_ended(task))
    if busy:
        some = ", ".join(busy[:5]) + (", ..." if len(busy) > 5 else "")
        raise CommandError(
            f"{len(busy)} tasks of team {name} have not ended: {some}", "Wait for them, or delete them first."
        )
    made = [*team_objects.contents(name, {}), *team_objects.members(name, ())]
    await asyncio.gather(*(_delete(cluster, each) for each, _ in made))
    gone: Object = {"labels": {names.TEAM_LABEL: None}, "annotations": dict.fromkeys(team_objects.SETTINGS)}
    await client.merge(path, {"metadata": gone})


async def _delete(cluster: Cluster, path: str) -> None:
    try:
        await cluster.client.delete(path)
    except KubeError as error:
        if error.status != 404:
            raise


async def _metadata(cluster: Cluster, path: str) -> Object:
    try:
        found: Object = (await cluster.client.get(path))["metadata"]
    except KubeError as error:
        if error.status != 404:
            raise
        return {}
    return found


async def _broker_address(cluster: Cluster) -> dict[str, str]:
    path = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/configmaps/{names.BROKER_CONFIG_MAP}"
    try:
        data: dict[str, str] = (await cluster.client.get(path)).get("data") or {}
    except KubeError as error:
        if error.status != 404:
            raise
        data = {}
    if not data:
        raise CommandError(
            f"ConfigMap {names.SYSTEM_NAMESPACE}/{names.BROKER_CONFIG_MAP}, which says where the broker is, is missing",
            "Install the platform first: collabspace local up, or the chart.",
        )
    return data


def show(where: Where, output: str | None) -> None:
    """Prints every team with what it owns, uses and waits for."""
    found, tasks = run(where, _teams_and_tasks)
    if not found:
        nothing_found(None)
        click.echo(f"Make a namespace a team: {command('teams add NAME --gpu-quota N')}.", err=True)
        return
    if output:
        print_objects(found, output)
        return
    print_table(
        ("NAME", "GPU QUOTA", "GPUS IN USE", "CPU QUOTA", "RUNNING", "WAITING", "SKILLS"), team_rows(found, tasks)
    )
    for problem in (problem for item in found for problem in _team(item).problems):
        click.echo(f"note: settings cannot be read: {plain(problem)}", err=True)


async def _teams_and_tasks(cluster: Cluster) -> tuple[list[Object], list[CollabTask]]:
    selector = {"labelSelector": f"{names.TEAM_LABEL}=true"}
    found, items = await asyncio.gather(
        cluster.client.list("/api/v1/namespaces", selector),
        cluster.client.list(path_of(names.COLLAB_TASKS)),
    )
    kind = {"apiVersion": "v1", "kind": "Namespace"}
    return [kind | item for item in found["items"]], readable(CollabTask, items["items"])


def team_rows(namespaces: list[Object], tasks: list[CollabTask]) -> list[tuple[Cell, ...]]:
    """One row for each team, from its namespace and every task of the cluster."""
    rows: list[tuple[Cell, ...]] = []
    for item in namespaces:
        team = _team(item)
        own = [task for task in tasks if _uses_quota_of(task, team) and not has_ended(task)]
        states = [state_of(task) for task in own]
        used = sum(gpus_of(task) for task in own if holds_quota(task))
        rows.append(
            (
                team.namespace,
                ("?", "red") if any(names.GPU_QUOTA in problem for problem in team.problems) else str(team.gpu_quota),
                (str(used), "yellow") if used and used >= team.gpu_quota else str(used),
                "-" if team.cpu_quota is None else str(team.cpu_quota),
                str(sum(state in (State.RUNNING, State.STARTING) for state in states)),
                str(states.count(State.WAITING)),
                ",".join(team.skills),
            )
        )
    return rows


def _team(item: Object) -> Team:
    metadata = item["metadata"]
    return parse_team(metadata["name"], metadata["uid"], metadata.get("annotations") or {})


def _uses_quota_of(task: CollabTask, team: Team) -> bool:
    assigned = task.status.assignment
    return (assigned.namespace if assigned else task.metadata.namespace) == team.namespace
