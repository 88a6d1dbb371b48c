"""`teams`: make a namespace a team, and see what each team owns and uses."""

import re

import click

from collabspace.api import names
from collabspace.cli.errors import CommandError
from collabspace.cli.options import Where, cluster_options, output_option
from collabspace.cli.output import OBJECT_FORMS
from collabspace.cli.parameters import NameType, WholeNumber

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
@click.option("--gpu-quota", type=WholeNumber(0, 999_999), help="GPUs that the team owns.")
@click.option("--cpu-quota", type=WholeNumber(0, 999_999), help="CPUs that the team owns; no limit when not given.")
@click.option("--skills", type=SkillsType(), help="What the team is good at, for automatic assignment: nlp,tabular.")
@click.option("--member", "people", multiple=True, help="A user who works in the team, with role edit; once for each.")
@cluster_options(namespace=False)
def add(
    where: Where, name: str, gpu_quota: int | None, cpu_quota: int | None, skills: str | None, people: tuple[str, ...]
) -> None:
    """Make namespace NAME a team: quota, accounts, the operator's rights there, the broker's address, Pod Security
    level restricted, and a NetworkPolicy by which trainers reach the broker alone.

    Needs the rights of an admin of the cluster. Doing it again changes only what is given; other settings stay.
    Members are taken out again with kubectl edit rolebinding collabspace-members -n NAME.
    """
    if name in RESERVED or name.startswith("kube-"):
        raise CommandError(f"namespace {name} belongs to the cluster and cannot be a team", "Choose another name.")
    given = {names.GPU_QUOTA: gpu_quota, names.CPU_QUOTA: cpu_quota, names.SKILLS: skills}
    settings = {key: str(value) for key, value in given.items() if value is not None}
    from collabspace.cli import team_setup

    team_setup.add(where, name, settings, people)


@teams.command()
@click.argument("name", type=NameType())
@cluster_options(namespace=False)
def remove(where: Where, name: str) -> None:
    """Make team NAME an ordinary namespace again: what `add` made is taken away.

    Datasets, tasks, results and the Pod Security level stay. Refused while a task has not ended.
    """
    from collabspace.cli import team_setup

    team_setup.remove(where, name)


@teams.command("list")
@cluster_options(namespace=False)
@output_option(*OBJECT_FORMS)
def list_teams(where: Where, output: str | None) -> None:
    """List teams: what they own, what is in use, and how many tasks run and wait."""
    from collabspace.cli import team_setup

    team_setup.show(where, output)
