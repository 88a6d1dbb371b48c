"""Why a Job has no running pod, and whether one is left: asked of the cluster only where the caches cannot tell."""

from dataclasses import replace
from typing import Any

from collabspace.api import names
from collabspace.core.observed import JobFacts, NotRunning
from collabspace.kube.client import KubeClient, KubeError

IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
)
FORBIDDEN = 403
MAX_WORDS = 500


async def inspect(client: KubeClient, facts: JobFacts) -> NotRunning:
    """The cluster's words about the Job's pod, or about why there is none. Raises KubeError."""
    selector = f"{names.TASK_UID_LABEL}={facts.task_uid},{names.ATTEMPT_LABEL}={facts.attempt}"
    pods = await client.list(f"/api/v1/namespaces/{facts.namespace}/pods", {"labelSelector": selector})
    owned = [pod for pod in pods["items"] if _controller(pod) == facts.uid]
    if owned:
        stuck = next((pod for pod in owned if is_leaving(pod)), None)
        node = str(stuck["spec"].get("nodeName") or "") if stuck is not None else ""
        return replace(_of_pod(stuck or owned[0]), stuck_on=node)
    return NotRunning(False, await _of_job(client, facts))


async def none_left(client: KubeClient, namespace: str, task_uid: str, attempt: int) -> bool:
    """Whether no pod of the attempt can be running any more, read from the cluster itself. Raises KubeError."""
    selector = f"{names.TASK_UID_LABEL}={task_uid},{names.ATTEMPT_LABEL}={attempt}"
    query = {"labelSelector": selector, "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
    return not (await client.list(f"/api/v1/namespaces/{namespace}/pods", query))["items"]


def is_leaving(pod: dict[str, Any]) -> bool:
    """Whether the pod was told to go and has not ended."""
    phase = (pod.get("status") or {}).get("phase")
    return pod["metadata"].get("deletionTimestamp") is not None and phase not in ("Succeeded", "Failed")


def _controller(pod: dict[str, Any]) -> str:
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((str(each["uid"]) for each in owners if each.get("controller")), "")


def _of_pod(pod: dict[str, Any]) -> NotRunning:
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            words = f"{waiting['reason']}: {waiting.get('message') or ''}"[:MAX_WORDS]
            return NotRunning(waiting["reason"] in IMAGE_REASONS, words)
    for condition in status.get("conditions") or ():
        if condition.get("status") == "False" and condition.get("message"):
            return NotRunning(False, f"{condition.get('reason')}: {condition['message']}"[:MAX_WORDS])
    return NotRunning(False, f"the pod is {status.get('phase') or 'not seen by any node yet'}")


async def _of_job(client: KubeClient, facts: JobFacts) -> str:
    """The newest event of a Job without a pod, such as a refusal by a ResourceQuota."""
    unseen = "the Job controller has made no pod yet"
    try:
        events = await client.list(
            f"/api/v1/namespaces/{facts.namespace}/events",
            {"fieldSelector": f"involvedObject.uid={facts.uid},type=Warning"},
        )
    except KubeError as error:
        if error.status != FORBIDDEN:
            raise
        return f"{unseen}; its events say why: kubectl describe job {facts.name}"
    newest = max(events["items"], key=lambda each: each["metadata"]["creationTimestamp"], default=None)
    return f"{newest.get('reason')}: {newest.get('message') or ''}"[:MAX_WORDS] if newest is not None else unseen
