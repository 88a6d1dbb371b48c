"""A name that a person gives may be a task's or a selection's: found out here, then shown or explained."""

from collabspace.api import names
from collabspace.cli import diagnosis, selection_views, task_views
from collabspace.cli.cluster import Cluster, path_of, run
from collabspace.cli.errors import CommandError, command
from collabspace.cli.options import Where
from collabspace.cli.selection_follow import watch_live
from collabspace.kube.client import KubeError


def show(where: Where, kind: str | None, name: str, output: str | None) -> None:
    """Prints it as it is now."""
    (selection_views if _is_selection(where, kind, name) else task_views).show_one(where, name, output)


def watch(where: Where, kind: str | None, name: str) -> None:
    """Shows it live until it has ended."""
    if _is_selection(where, kind, name):
        watch_live(where, (run(where, _namespace), name))
    else:
        task_views.watch_one(where, name)


def explain(where: Where, kind: str | None, name: str, output: str | None) -> None:
    """Says why it stands where it does."""
    (selection_views.explain if _is_selection(where, kind, name) else diagnosis.show)(where, name, output)


def is_there(where: Where, resource: str, name: str) -> bool:
    """Whether an object of ours has that name in the namespace."""

    async def look(cluster: Cluster) -> bool:
        try:
            await cluster.client.get(path_of(resource, cluster.namespace, name))
        except KubeError as error:
            if error.status == 404 and error.reason == "NotFound":
                return False
            raise
        return True

    return run(where, look)


def _is_selection(where: Where, kind: str | None, name: str) -> bool:
    """Raises CommandError when the name is nobody's."""
    if kind is not None:
        return kind == "selection"
    if is_there(where, names.COLLAB_TASKS, name):
        return False
    if is_there(where, names.MODEL_SELECTIONS, name):
        return True
    namespace = run(where, _namespace)
    what = f"collabtask {name} not found in namespace {namespace}, nor a modelselection of that name"
    both = f"{command(f'list -n {namespace}')}, {command(f'list selections -n {namespace}')}"
    raise CommandError(what, f"See what is there: {both}.")


async def _namespace(cluster: Cluster) -> str:
    return cluster.namespace
