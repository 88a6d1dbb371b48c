"""Events on the turns of a task's life, posted behind the work: best effort, bounded, never a reason to wait."""

import asyncio
import logging
import uuid
from typing import Any

from collabspace.api import names
from collabspace.api.resource import ObjectMeta
from collabspace.controller.metrics import EVENTS_DROPPED
from collabspace.core.plan import Event
from collabspace.kube import clock
from collabspace.kube.client import KubeClient, KubeError

MAX_WAITING = 1000
NOTE_LENGTH = 1024
log = logging.getLogger(__name__)


class EventPoster:
    """At most MAX_WAITING events wait; more are dropped and counted."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_WAITING)

    def post(self, kind: str, meta: ObjectMeta, event: Event) -> None:
        """Queues the event."""
        try:
            self._waiting.put_nowait(_body(kind, meta, event))
        except asyncio.QueueFull:
            EVENTS_DROPPED.inc()

    async def run(self) -> None:
        """Posts until cancelled."""
        while True:
            body = await self._waiting.get()
            namespace = body["metadata"]["namespace"]
            try:
                await self._client.create(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", body)
            except KubeError as error:
                EVENTS_DROPPED.inc()
                log.info("event in %s not posted: %s %s", namespace, error.status, error.reason)


def _body(kind: str, meta: ObjectMeta, event: Event) -> dict[str, Any]:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": meta.namespace, "name": f"{meta.name}.{uuid.uuid4().hex[:16]}"},
        "eventTime": clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": f"{names.GROUP}/operator",
        "reportingInstance": names.OPERATOR_ACCOUNT,
        "action": event.reason,
        "reason": event.reason,
        "type": "Warning" if event.warning else "Normal",
        "note": event.message[:NOTE_LENGTH],
        "regarding": {
            "apiVersion": names.API_VERSION,
            "kind": kind,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        },
    }
