"""Why a Job has no running pod: asked of the cluster only for a Job that is not running after half a minute."""

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
        return _of_pod(owned[0])
    return NotRunning(False, await _of_job(client, facts))


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
