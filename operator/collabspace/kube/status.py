"""The only writer of /status: one merge patch, only onto the version that was judged, and every refusal is an alarm."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from collabspace.api import names
from collabspace.api.resource import ObjectMeta
from collabspace.kube.client import KubeClient, KubeError

CONFLICT, NOT_FOUND = 409, 404
# Of who asks, not of what is asked: it passes when rights or tokens are mended, and no object is at fault.
NOT_ALLOWED = frozenset({401, 403})
log = logging.getLogger(__name__)


class Write(StrEnum):
    WRITTEN = "Written"
    CONFLICT = "Conflict"
    GONE = "Gone"
    REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a write; `object` is the object as it is now, when it was written or when that was a conflict."""

    write: Write
    object: dict[str, Any] | None = None


class StatusWriter:
    """Writes statuses of one of our kinds. `refused` is called for answers that somebody must look into."""

    def __init__(self, client: KubeClient, plural: str, refused: Callable[[str, int], None]) -> None:
        self._client = client
        self._plural = plural
        self._refused = refused

    async def write(self, meta: ObjectMeta, status: BaseModel) -> Written:
        """Replaces the status, provided that the object is still the version in `meta`. Raises KubeError when the API
        server cannot be reached, asks to come back or knows us not."""
        path = f"/apis/{names.API_VERSION}/namespaces/{meta.namespace}/{self._plural}/{meta.name}"
        body = {"metadata": {"resourceVersion": meta.resource_version}, "status": merge_body(status)}
        try:
            return Written(Write.WRITTEN, await self._client.merge(f"{path}/status", body))
        except KubeError as error:
            if error.status == CONFLICT:
                return await self._reread(path)
            if _is_gone(error):
                return Written(Write.GONE)
            if error.transient or error.status == NOT_FOUND:
                raise
            self._refused(self._plural, error.status)
            if error.status in NOT_ALLOWED:
                raise
            log.error("status of %s %s/%s refused: %s", self._plural, meta.namespace, meta.name, error.message[:500])
            return Written(Write.REFUSED)

    async def _reread(self, path: str) -> Written:
        """After a conflict: a watch may lag for long, and what it tells by then would be refused again and again."""
        try:
            return Written(Write.CONFLICT, await self._client.get(path))
        except KubeError as error:
            if _is_gone(error):
                return Written(Write.GONE)
            raise


def _is_gone(error: KubeError) -> bool:
    """Of an object; a server that does not serve its kind, or not yet, gives no reason."""
    return error.status == NOT_FOUND and error.reason == "NotFound"


def merge_body(status: BaseModel) -> Any:
    """The status as a merge patch that leaves nothing of the old one: absent fields are null, except within lists,
    which a merge patch replaces whole."""
    return _convert(status.model_dump(mode="json", by_alias=True), in_list=False)


def _convert(value: Any, *, in_list: bool) -> Any:
    if isinstance(value, dict):
        return {key: _convert(each, in_list=in_list) for key, each in value.items() if not (in_list and each is None)}
    if isinstance(value, list):
        return [_convert(each, in_list=True) for each in value]
    return value
