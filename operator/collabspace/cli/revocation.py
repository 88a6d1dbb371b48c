"""What the tasks that run on a dataset do when a grant on it is taken back, as far as the owner may see them."""

import asyncio
from collections.abc import Iterable, Sequence

from collabspace.api import names
from collabspace.api.dataset import Use
from collabspace.api.task import CollabTask
from collabspace.cli.cluster import Cluster, path_of, readable
from collabspace.cli.task_facts import sources
from collabspace.cli.task_state import holds_quota
from collabspace.kube.client import KubeError, Object

SHOWN = 5
OF_TASKS = frozenset({Use.TRAIN, Use.EVALUATE})
DEFAULT = "Stop"
WHAT_FOLLOWS = {
    "Stop": "are stopped and end with AccessRevoked",
    "Finish": "go on with what they have read (onRevoke Finish)",
}


async def consequences(
    cluster: Cluster, dataset: Object, removed: Sequence[Object], kept: Sequence[Object]
) -> list[str]:
    """A line for each namespace that lost a grant: which of its running tasks read the dataset, and what they do.

    `removed` and `kept` hold no grant that had ended before. Raises nothing: the grant is gone already.
    """
    spaces = sorted({grant["namespace"] for grant in removed})
    return list(await asyncio.gather(*(_line(cluster, dataset, space, lost(space, removed, kept)) for space in spaces)))


def lost(namespace: str, removed: Iterable[Object], kept: Iterable[Object]) -> frozenset[str]:
    """The uses of tasks that the namespace has no more."""
    left = {use for grant in kept if grant["namespace"] == namespace for use in grant["uses"]}
    given = {use for grant in removed if grant["namespace"] == namespace for use in grant["uses"]}
    return frozenset(OF_TASKS & given - left)


async def _line(cluster: Cluster, dataset: Object, namespace: str, uses: frozenset[str]) -> str:
    if not uses:
        return f"Tasks of {namespace} that run on it go on: no use of theirs was taken back."
    policy = dataset["spec"].get("onRevoke")
    follows = WHAT_FOLLOWS.get(policy or DEFAULT, f"do as onRevoke {policy} says")
    try:
        found = await cluster.client.list(path_of(names.COLLAB_TASKS, namespace))
    except KubeError as error:
        why = "only its members may see" if error.status == 403 else f"is not known ({error.message or error.status})"
        return f"Tasks of {namespace} that run on it {follows}; how many, {why}."
    place = (dataset["metadata"]["namespace"], dataset["metadata"]["name"])
    running = reading(readable(CollabTask, found["items"]), place, uses)
    more = f" and {len(running) - SHOWN} more" if len(running) > SHOWN else ""
    which = f" ({', '.join(running[:SHOWN])}{more}): they {follows}" if running else ""
    return f"Tasks of {namespace} that run on it: {len(running)}{which}."


def reading(tasks: Iterable[CollabTask], dataset: tuple[str, str], uses: frozenset[str]) -> list[str]:
    """Names of the tasks under way that read the dataset (namespace, name) for one of these uses."""
    return [
        task.metadata.name
        for task in tasks
        if holds_quota(task)
        and any((each.namespace, each.name) == dataset and each.use in uses for each in sources(task))
    ]
