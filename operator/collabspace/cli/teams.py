"""`teams`: make a namespace a team, and see what each team owns and uses."""

import asyncio
import re

import click

from collabspace.api import names
from collabspace.api.task import CollabTask
from collabspace.api.team import Team, parse_team
from collabspace.cli import team_objects
from collabspace.cli.cluster import FIELD_MANAGER, Cluster, parsed, path_of, run
from collabspace.cli.errors import CommandError, command
from collabspace.cli.options import Where, cluster_options, output_option
from collabspace.cli.output import OBJECT_FORMS, Cell, nothing_found, print_objects, print_table
from collabspace.cli.parameters import NameType
from collabspace.cli.task_state import State, gpus_of, has_ended, holds_quota, state_of
from collabspace.kube.client import KubeError, Object

SKILL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
RESERVED = ("default", names.SYSTEM_NAMESPACE)


@click.group(short_help="Set up namespaces as teams with a quota.")
def teams() -> None:
    """Set up namespaces as teams with a quota. A team is a namespace that an admin has labelled."""


class SkillsType(click.ParamType[str]):
    """Words with commas between them."""

    name = "a,b"

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> str:
        words = [word.strip() for word in str(value).split(",")]
        for word in words:
            if not SKILL.match(word):
                self.fail(
                    f"skill {word[:80]!r}: use lower-case letters, digits and hyphens, as in nlp,tabular",
                    param,
                    context,
                )
        return ",".join(dict.fromkeys(words))


@teams.command()
@click.argument("name", type=NameType())
@click.option("--gpu-quota", type=click.IntRange(0, 999_999), help="GPUs that the team owns.")
@click.option("--cpu-quota", type=click.IntRange(0, 999_999), help="CPUs that the team owns; no limit when not given.")
@click.option("--skills", type=SkillsType(), help="What the team is good at, for automatic assignment: nlp,tabular.")
@click.option("--member", "people", multiple=True, help="A user who works in the team, with role edit; once for each.")
@cluster_options(namespace=False)
def add(
    where: Where, name: str, gpu_quota: int | None, cpu_quota: int | None, skills: str | None, people: tuple[str, ...]
) -> None:
    """Make namespace NAME a team: quota, accounts, the operator's rights there and the broker's address.

    Needs the rights of an admin of the cluster. Doing it again changes only what is given; other settings stay.
    Members are taken out again with kubectl edit rolebinding collabspace-members -n NAME.
    """
    if name in RESERVED or name.startswith("kube-"):
        raise CommandError(f"namespace {name} belongs to the cluster and cannot be a team", "Choose another name.")
    given = {names.GPU_QUOTA: gpu_quota, names.CPU_QUOTA: cpu_quota, names.SKILLS: skills}
    settings = {key: str(value) for key, value in given.items() if value is not None}
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


@teams.command("list")
@cluster_options(namespace=False)
@output_option(*OBJECT_FORMS)
def list_teams(where: Where, output: str | None) -> None:
    """List teams: what they own, what is in use, and how many tasks run and wait."""
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


async def _teams_and_tasks(cluster: Cluster) -> tuple[list[Object], list[CollabTask]]:
    selector = {"labelSelector": f"{names.TEAM_LABEL}=true"}
    found, items = await asyncio.gather(
        cluster.client.list("/api/v1/namespaces", selector),
        cluster.client.list(path_of(names.COLLAB_TASKS)),
    )
    kind = {"apiVersion": "v1", "kind": "Namespace"}
    return [kind | item for item in found["items"]], [parsed(CollabTask, item) for item in items["items"]]


def team_rows(namespaces: list[Object], tasks: list[CollabTask]) -> list[tuple[Cell, ...]]:
    """One row for each team, from its namespace and every task of the cluster."""
    rows: list[tuple[Cell, ...]] = []
    for item in namespaces:
        metadata = item["metadata"]
        team = parse_team(metadata["name"], metadata["uid"], metadata.get("annotations") or {})
        own = [task for task in tasks if _uses_quota_of(task, team) and not has_ended(task)]
        states = [state_of(task) for task in own]
        used = sum(gpus_of(task) for task in own if holds_quota(task))
        rows.append(
            (
                team.namespace,
                str(team.gpu_quota),
                (str(used), "yellow") if used and used >= team.gpu_quota else str(used),
                "-" if team.cpu_quota is None else str(team.cpu_quota),
                str(sum(state in (State.RUNNING, State.STARTING) for state in states)),
                str(states.count(State.WAITING)),
                ("settings cannot be read", "red") if team.problems else ",".join(team.skills),
            )
        )
    return rows


def _uses_quota_of(task: CollabTask, team: Team) -> bool:
    assigned = task.status.assignment
    return (assigned.namespace if assigned else task.metadata.namespace) == team.namespace
