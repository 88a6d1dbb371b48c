"""One command's conversation with the API server, and its failures in words that a person can act on."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml
from kubernetes import config as loader
from pydantic import ValidationError

from collabspace.api import names
from collabspace.api.resource import Part
from collabspace.cli.errors import CommandError, command
from collabspace.cli.options import Where
from collabspace.cli.output import plain
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError, Object

T = TypeVar("T")
P = TypeVar("P", bound=Part)

FIELD_MANAGER = "kubectl-collab"
FORBIDDEN = re.compile(r'User "([^"]*)" cannot (\w+) resource "([^"]*)" in API group "([^"]*)"(.*)', re.DOTALL)
NAMESPACE = re.compile(r'in the namespace "([^"]*)"')
SINGULAR = {
    names.SHARED_DATASETS: "shareddataset",
    names.COLLAB_TASKS: "collabtask",
    names.MODEL_SELECTIONS: "modelselection",
    "namespaces": "namespace",
}


def path_of(resource: str, namespace: str | None = None, name: str | None = None) -> str:
    """Path of one of our kinds (`collabtasks`, `shareddatasets`): one object, a namespace's list, or all of them."""
    base = f"/apis/{names.API_VERSION}" + (f"/namespaces/{namespace}" if namespace else "")
    return f"{base}/{resource}" + (f"/{name}" if name else "")


class Cluster:
    """An open connection and the namespace that the command acts in."""

    def __init__(self, client: KubeClient, where: Where) -> None:
        self.client = client
        self.where = where
        self.namespace = where.namespace or client.access.namespace

    @property
    def scope(self) -> str | None:
        """The namespace to list; None: all of them."""
        return None if self.where.all_namespaces else self.namespace

    async def find(self, resource: str, name: str, namespace: str | None = None) -> Object:
        """One object of our kinds. Raises CommandError when there is none."""
        owner = namespace or self.namespace
        try:
            return await self.client.get(path_of(resource, owner, name))
        except KubeError as error:
            if error.status == 404 and error.reason == "NotFound":
                what = f"{SINGULAR[resource]} {name} not found in namespace {owner}"
                raise CommandError(what, f"See what is there: kubectl get {resource} -n {owner}.") from error
            raise

    async def every(self, resource: str, params: dict[str, str] | None = None) -> list[Object]:
        """The objects of one of our kinds in scope, in order of namespace and name."""
        answer = await self.client.list(path_of(resource, self.scope), params)
        items: list[Object] = answer["items"]
        return sorted(items, key=lambda item: (item["metadata"].get("namespace", ""), item["metadata"]["name"]))

    async def existing_namespace(self, name: str) -> Object:
        """A live namespace. Raises CommandError when there is none."""
        try:
            return await self.client.get(f"/api/v1/namespaces/{name}")
        except KubeError as error:
            if error.status == 404:
                remedy = f"Check the name, or an admin makes it: {command(f'teams add {name}')}."
                raise CommandError(f"namespace {name} not found", remedy) from error
            raise


def parsed(kind: type[P], item: Object) -> P:
    """The typed form of an object. Raises CommandError that names the field whose value cannot be read."""
    try:
        return kind.model_validate(item)
    except ValidationError as error:
        raise _unreadable(kind, item, error) from error


def readable(kind: type[P], items: Iterable[Object]) -> list[P]:
    """The typed forms of those that can be read; one line on stderr for each of the others, so that a list goes on."""
    found = []
    for item in items:
        try:
            found.append(parsed(kind, item))
        except CommandError as error:
            click.echo(f"note: {error.what}. {error.remedy}", err=True)
    return found


def _unreadable(kind: type[Part], item: Object, error: ValidationError) -> CommandError:
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    wrong = "is missing" if first["type"] == "missing" else "holds a value that cannot be read"
    if isinstance(first["input"], str | int | float):
        wrong += f": {plain(str(first['input'])[:40])}"
    name, namespace = item["metadata"].get("name"), item["metadata"].get("namespace")
    place = f"{kind.__name__.lower()} {name} -n {namespace}"
    return CommandError(
        f"{kind.__name__} {namespace}/{name} cannot be read: field {field} {wrong}",
        f"Correct it: kubectl edit {place}; or delete it: kubectl delete {place}.",
    )


def run(where: Where, action: Callable[[Cluster], Awaitable[T]]) -> T:
    """Runs a command's work on an open connection. Raises CommandError for all that can be expected to fail."""
    access = _access(where)

    async def session() -> T:
        async with KubeClient(access) as client:
            return await action(Cluster(client, where))

    try:
        return asyncio.run(session())
    except KubeError as error:
        raise explained(error) from error


def explained(error: KubeError) -> CommandError:
    """The failure with its remedy."""
    if error.status == 0:
        return CommandError(
            f"the API server does not answer ({error.message})",
            "Check the cluster and the kubeconfig: kubectl cluster-info; for the local one: collabspace local status.",
        )
    if error.status == 401:
        return CommandError("the API server does not know you (401)", "Sign in again, or choose another --context.")
    if error.status == 403:
        return _forbidden(error)
    if error.status == 404 and error.reason != "NotFound":
        remedy = "Start a local cluster with `collabspace local up`, or an admin installs the chart."
        return CommandError("this cluster does not serve collabspace's kinds", remedy)
    if error.transient:
        return CommandError(f"the API server could not do it now: {error.message or error.status}", "Try again.")
    return CommandError(error.message or f"the API server answered {error.status}", "Nothing was changed.")


def _forbidden(error: KubeError) -> CommandError:
    found = FORBIDDEN.search(error.message)
    if found is None:
        return CommandError(f"not allowed: {error.message}", "Ask an admin of the cluster.")
    user, verb, resource, group, rest = found.groups()
    kind = f"{resource}.{group}" if group else resource
    inside = NAMESPACE.search(rest)
    place, flag = (f" in namespace {inside[1]}", f" -n {inside[1]}") if inside else (" in the whole cluster", "")
    return CommandError(
        f"not allowed: needs verb {verb} on {kind}{place}",
        f"You are {user}; ask an admin for the right, and test it: kubectl auth can-i {verb} {kind}{flag}.",
    )


def _access(where: Where) -> config.Access:
    try:
        return config.load(where.kubeconfig, where.context)
    except config.NoClusterError as error:
        raise CommandError(str(error)) from error
    except (yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CommandError(
            f"the kubeconfig cannot be used ({type(error).__name__}: {str(error)[:200]})",
            "Correct it, or name another one with --kubeconfig.",
        ) from error


def context_names(kubeconfig: Path | None) -> list[str]:
    """For completion: contexts of the kubeconfig, none when there is no readable one."""
    try:
        contexts, _ = loader.list_kube_config_contexts(config_file=str(kubeconfig) if kubeconfig else None)
    except (loader.ConfigException, yaml.YAMLError, OSError):
        return []
    return [str(entry["name"]) for entry in contexts]


def names_for_completion(where: Where, resource: str, seconds: float) -> list[str]:
    """For completion: names of one of our kinds in the namespace, or of the objects at a path; none when in doubt."""

    async def ask(cluster: Cluster) -> list[Any]:
        path = resource if resource.startswith("/") else path_of(resource, cluster.namespace)
        async with asyncio.timeout(seconds):
            return list((await cluster.client.list(path))["items"])

    try:
        return [str(item["metadata"]["name"]) for item in run(where, ask)]
    except (CommandError, TimeoutError):
        return []
