"""What a new process must catch up on that no watch tells it."""

import datetime as dt
from typing import Any

from collabspace.api import names, timestamp
from collabspace.client.protocol import Usage
from collabspace.controller.broker import Broker
from collabspace.controller.metrics import ENDED, state_of
from collabspace.controller.queue import WorkKey
from collabspace.controller.world import DRAIN, World
from collabspace.core import quantity
from collabspace.core.task import is_final
from collabspace.kube import clock
from collabspace.kube.client import KubeClient

RESEND = dt.timedelta(hours=1)
RUNNING = {"labelSelector": names.TASK_UID_LABEL, "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}


async def hold_stragglers(client: KubeClient, world: World) -> list[WorkKey]:
    """Pods of deleted Jobs that still stop hold quota until they are gone; the keys that watch over them."""
    found = []
    async for page in client.pages("/api/v1/pods", RUNNING):
        for pod in page["items"]:
            uid = pod["metadata"]["labels"][names.TASK_UID_LABEL]
            if not world.holdings.active(uid):
                namespace = pod["metadata"]["namespace"]
                world.holdings.hold(uid, namespace, _amount(pod))
                found.append(WorkKey(DRAIN, namespace, uid))
    return found


def _amount(pod: dict[str, Any]) -> quantity.Amount:
    """What the pod's container may use; nothing when it does not say so, as a pod that is not ours may not."""
    limits = pod["spec"]["containers"][0].get("resources", {}).get("limits") or {}
    gpu = limits.get(names.GPU_RESOURCE, "0")
    try:
        return quantity.amount(cpu=limits.get("cpu", "0"), memory=limits.get("memory", "0"), gpu=gpu)
    except ValueError:
        return quantity.Amount()


def resend_usage(world: World, broker: Broker) -> None:
    """Usage of attempts that ended lately, once more: the process before may have ended before it could say so."""
    since = clock.now() - RESEND
    for packed in world.tasks.values():
        if state_of(packed.reason) not in ENDED:
            continue
        task = packed.unpack()
        status = task.status
        if not is_final(status) or status.usage is None or not status.attempts or not status.completion_time:
            continue
        if timestamp.parse(status.completion_time) >= since:
            last = status.attempts[-1]
            usage = Usage(
                namespace=task.meta.namespace,
                task=task.meta.name,
                gpu_seconds=status.usage.gpu_seconds,
                cpu_seconds=status.usage.cpu_seconds,
                outcome=last.reason,
            )
            broker.spend(task.meta.uid, last.number, usage)
