"""What `explain` needs to know of a task, read from the cluster, and its answer printed."""

import asyncio
import dataclasses
import datetime as dt
import re
from typing import Any

import click

from collabspace.api import names
from collabspace.api.task import CollabTask
from collabspace.api.team import Team, parse_team
from collabspace.cli.cluster import Cluster, parsed, path_of, readable, run
from collabspace.cli.errors import command
from collabspace.cli.explain import Answer, answer
from collabspace.cli.options import Where
from collabspace.cli.output import age, plain, print_document
from collabspace.cli.task_facts import Facts
from collabspace.kube import clock
from collabspace.kube.client import KubeError, Object

WARNINGS_SHOWN = 5


def show(where: Where, task: str, output: str | None) -> None:
    """Prints the answer as text, JSON or YAML."""
    found = answer(run(where, lambda cluster: _facts(cluster, task)))
    shown = dataclasses.replace(found, next_commands=tuple(_typed(words) for words in found.next_commands))
    if output:
        print_document(_document(shown), output)
    else:
        click.echo(as_text(shown))


def as_text(found: Answer) -> str:
    """The answer as paragraphs; empty ones are left out."""
    lines = [plain(found.headline)]
    if found.message:
        lines.append(f"  {plain(found.message)}")
    lines += ["", plain(found.meaning)]
    if found.next_commands:
        lines += ["", f"Next, by {found.who}:" if found.who else "Next:"]
        lines += [f"  {plain(words)}" for words in found.next_commands]
    parts = (
        ("Attempts:", found.attempts),
        ("Numbers:", found.numbers),
        ("What blocks:", found.blockers),
        ("Last warnings:", found.warnings),
    )
    for title, items in parts:
        if items:
            lines += ["", title, *(f"  {plain(item)}" for item in items)]
    return "\n".join(lines)


def _typed(words: str) -> str:
    return words if words.startswith(("kubectl ", "collabspace ")) else command(words)


def _document(found: Answer) -> dict[str, Any]:
    return {
        "task": found.headline.partition(":")[0],
        "state": found.headline.partition(": ")[2],
        "message": found.message,
        "meaning": found.meaning,
        "attempts": list(found.attempts),
        "numbers": list(found.numbers),
        "blockers": list(found.blockers),
        "who": found.who,
        "next": list(found.next_commands),
        "warnings": list(found.warnings),
    }


async def _facts(cluster: Cluster, name: str) -> Facts:
    task = parsed(CollabTask, await cluster.find(names.COLLAB_TASKS, name))
    now = clock.now()
    team, neighbours, warnings = await asyncio.gather(
        _team(cluster),
        cluster.client.list(path_of(names.COLLAB_TASKS, cluster.namespace)),
        _warnings(cluster, name),
    )
    items = [item for item in neighbours["items"] if item["metadata"]["name"] != name]
    taken = frozenset(item["metadata"]["name"] for item in items)
    newest = sorted(warnings, key=_last_seen)[-WARNINGS_SHOWN:]
    lines = [_warning_line(event, now) for event in newest]
    return Facts(task, team, readable(CollabTask, items), lines, now, taken)


def _warning_line(event: Object, now: dt.datetime) -> str:
    involved = event["involvedObject"]
    about = f"{involved.get('kind')}/{involved.get('name')}"
    return f"{age(_last_seen(event), now)} ago  {about}  {event.get('reason')}: {event.get('message', '')[:300]}"


async def _team(cluster: Cluster) -> Team | None:
    """None for a person who may not read the namespace: the numbers of the quota are then left out."""
    try:
        metadata = (await cluster.client.get(f"/api/v1/namespaces/{cluster.namespace}"))["metadata"]
    except KubeError as error:
        if error.status == 403:
            return None
        raise
    return parse_team(cluster.namespace, metadata["uid"], metadata.get("annotations") or {})


async def _warnings(cluster: Cluster, task: str) -> list[Object]:
    """Warning events of the task, its Jobs and their pods; none for a person who may not read events."""
    path = f"/api/v1/namespaces/{cluster.namespace}/events"
    try:
        found = await cluster.client.list(path, {"fieldSelector": "type=Warning"})
    except KubeError as error:
        if error.status == 403:
            return []
        raise
    return [event for event in found["items"] if _concerns(event["involvedObject"], task)]


def _concerns(involved: Object, task: str) -> bool:
    name = str(involved.get("name", ""))
    if involved.get("kind") == "CollabTask":
        return name == task
    shape = {"Job": "", "Pod": "-[a-z0-9]{5}"}.get(str(involved.get("kind")))
    return shape is not None and re.fullmatch(rf"{re.escape(task)}-[0-9]+{shape}", name) is not None


def _last_seen(event: Object) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or ""
