"""What the API server says at this moment. Nothing is cached: a decision about data rests on what is true now."""

import asyncio
import re
from typing import TypeVar

from pydantic import ValidationError

from collabspace.api import names
from collabspace.api.dataset import SharedDataset
from collabspace.api.resource import Part
from collabspace.api.task import CollabTask
from collabspace.broker.refusal import Undecided
from collabspace.kube.client import KubeClient, KubeError, Object

P = TypeVar("P", bound=Part)
OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
MAX_NAME = 253
API = f"/apis/{names.API_VERSION}"


class Cluster:
    """Live reads. None means that there is no such object; Undecided is raised when that could not be found out."""

    def __init__(self, kube: KubeClient) -> None:
        self.kube = kube

    async def dataset(self, namespace: str, name: str) -> SharedDataset | None:
        return _parse(SharedDataset, await self._find(API, namespace, names.SHARED_DATASETS, name))

    async def task(self, namespace: str, name: str) -> CollabTask | None:
        return _parse(CollabTask, await self._find(API, namespace, names.COLLAB_TASKS, name))

    async def pod(self, namespace: str, name: str) -> Object | None:
        return await self._find("/api/v1", namespace, "pods", name)

    async def job(self, namespace: str, name: str) -> Object | None:
        return await self._find("/apis/batch/v1", namespace, "jobs", name)

    async def namespace_uid(self, name: str) -> str | None:
        """uid of the namespace; None when it is gone or going."""
        if not _is_name(name):
            return None
        found = await self.get(f"/api/v1/namespaces/{name}")
        if found is None or found["metadata"].get("deletionTimestamp"):
            return None
        return str(found["metadata"]["uid"])

    async def dataset_and_namespace(
        self, namespace: str, name: str, asking: str
    ) -> tuple[SharedDataset | None, str | None]:
        """The dataset and the uid of the namespace that asks, read side by side."""
        return await asyncio.gather(self.dataset(namespace, name), self.namespace_uid(asking))

    async def uid_of(self, plural: str, namespace: str, name: str) -> str | None:
        """uid of the object of ours that bears this name now, whether it can be read or not; None: there is none."""
        found = await self._find(API, namespace, plural, name)
        return None if found is None else str(found["metadata"]["uid"])

    async def every(self, plural: str) -> list[Object]:
        """All objects of a kind of ours, of all namespaces. Complete, or Undecided is raised."""
        try:
            listed = await self.kube.list(f"{API}/{plural}")
        except KubeError as error:
            raise _undecided(error) from error
        return list(listed["items"])

    async def get(self, path: str) -> Object | None:
        try:
            return await self.kube.get(path)
        except KubeError as error:
            if error.status == 404:
                return None
            raise _undecided(error) from error

    async def _find(self, api: str, namespace: str, plural: str, name: str) -> Object | None:
        """The path is built from names only: nobody's words can lead to another object or kind."""
        if not (_is_name(namespace) and _is_name(name)):
            return None
        return await self.get(f"{api}/namespaces/{namespace}/{plural}/{name}")


def _is_name(text: str) -> bool:
    return len(text) <= MAX_NAME and OBJECT_NAME.fullmatch(text) is not None


def _parse(kind: type[P], item: Object | None) -> P | None:
    """An object that cannot be read (written past the schema) gives nobody access: it counts as not there."""
    if item is None:
        return None
    try:
        return kind.model_validate(item)
    except ValidationError:
        return None


def _undecided(error: KubeError) -> Undecided:
    """403 means that the broker lacks a right: that is our fault, and still no answer about the caller."""
    return Undecided(
        "ClusterUnavailable", f"the API server gave no answer to rely on (status {error.status}); try again soon"
    )
