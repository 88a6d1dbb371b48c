"""What a new process must catch up on that no watch tells it."""

import datetime as dt
import re
from typing import Any

from collabspace.api import names
from collabspace.controller.broker import Broker
from collabspace.controller.queue import WorkKey
from collabspace.controller.world import World, drain_key
from collabspace.core import attempt, quantity
from collabspace.kube import clock
from collabspace.kube.client import KubeClient

# Longer than a night without an operator, or a clock that was wrong by hours.
RESEND = dt.timedelta(days=1)
ATTEMPT = re.compile(r"^[1-9][0-9]{0,8}$")
RUNNING = {"labelSelector": names.TASK_UID_LABEL, "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}


async def hold_stragglers(client: KubeClient, world: World) -> list[WorkKey]:
    """Pods of deleted Jobs that still stop hold quota until they are gone; the keys that watch over them."""
    found = []
    async for page in client.pages("/api/v1/pods", RUNNING):
        for pod in page["items"]:
            labels, namespace = pod["metadata"]["labels"], pod["metadata"]["namespace"]
            uid, number = labels[names.TASK_UID_LABEL], str(labels.get(names.ATTEMPT_LABEL))
            numbered = int(number) if ATTEMPT.match(number) else 1
            if not world.holdings.attempt(uid):
                world.holdings.hold(uid, numbered, namespace, _amount(pod))
                found.append(drain_key(namespace, uid, numbered))
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
        if packed.has_ended_attempts:
            task = packed.unpack()
            for spent in attempt.spent_since(task, since):
                broker.spend(task.meta, spent)
