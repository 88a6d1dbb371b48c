"""A pod's status from what its containers' runs show: pure, as a kubelet would write it."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from collabspace.kube import clock
from collabspace.local.node.container import LOST, Ended
from collabspace.local.node.decision import Decision, Phase, RunState
from collabspace.local.node.environment import POD_ADDRESS
from collabspace.local.node.manifest import Container, Object, Pod

_NO_TIME = dt.datetime.fromtimestamp(0, dt.UTC)
NEVER_RAN = Ended(137, None, LOST, "The container had not been started when the pod was terminated.", None, _NO_TIME)

_APART = ("conditions", "observedGeneration")


@dataclass(frozen=True)
class Waiting:
    """Why a container is not started yet."""

    reason: str
    message: str


@dataclass(frozen=True)
class Observation:
    """All that a status tells. Keys are container names; `previous` is the run before the newest."""

    pod: Pod
    decision: Decision
    runs: Mapping[str, RunState]
    previous: Mapping[str, RunState]
    waiting: Mapping[str, Waiting]
    evicted: bool
    now: dt.datetime


def build(seen: Observation) -> Object:
    """The fields that the node owns. Times of conditions that did not change are kept, so equal states are equal."""
    pod, decision = seen.pod, seen.decision
    started = pod.started or seen.now
    status: Object = {
        "phase": decision.phase.value,
        "startTime": clock.rfc3339(started),
        "hostIP": POD_ADDRESS,
        "hostIPs": [{"ip": POD_ADDRESS}],
        "podIP": POD_ADDRESS,
        "podIPs": [{"ip": POD_ADDRESS}],
        "conditions": _conditions(seen),
        "containerStatuses": [_container(seen, one) for one in pod.main_containers],
    }
    if pod.init_containers:
        status["initContainerStatuses"] = [_container(seen, one) for one in pod.init_containers]
    if pod.generation:
        status["observedGeneration"] = pod.generation
    if decision.over and decision.stop is not None and decision.stop.reason:
        status |= {"reason": decision.stop.reason, "message": decision.stop.message}
    return status


def same(status: Object, observed: Object) -> bool:
    """Whether writing `status` would change nothing in `observed` but the generation that was looked at."""
    known = {condition["type"]: condition for condition in observed.get("conditions") or []}
    for condition in status["conditions"]:
        other = known.get(condition["type"], {})
        if any(other.get(key) != value for key, value in condition.items()):
            return False
    return all(observed.get(key) == value for key, value in status.items() if key not in _APART)


def _container(seen: Observation, container: Container) -> Object:
    run = seen.runs.get(container.name)
    previous = seen.previous.get(container.name)
    attempt = run.attempt if run is not None else 0
    status: Object = {
        "name": container.name,
        "image": container.image,
        "imageID": container.image if run is not None else "",
        "restartCount": attempt,
        "ready": _ready(seen, container),
        "started": run is not None and run.running,
        "state": _state(seen, container),
        "lastState": _terminated(container, previous, seen.pod) if previous is not None and previous.ended else {},
    }
    if run is not None:
        status["containerID"] = _identity(seen.pod, container, attempt)
    return status


def _identity(pod: Pod, container: Container, attempt: int) -> str:
    return f"process://{pod.uid}-{container.name}-{attempt}"


def _ready(seen: Observation, container: Container) -> bool:
    run = seen.runs.get(container.name)
    if run is None:
        return False
    if container.init and not container.sidecar:
        return run.ended is not None and run.ended.exit_code == 0
    return run.running


def _state(seen: Observation, container: Container) -> Object:
    run = seen.runs.get(container.name)
    waiting = seen.waiting.get(container.name)
    if run is not None and run.running:
        return {"running": {"startedAt": clock.rfc3339(run.started or seen.now)}}
    if waiting is not None and not seen.decision.over:
        return {"waiting": {"reason": waiting.reason, "message": waiting.message}}
    if run is not None:
        return _terminated(container, run, seen.pod)
    stop = seen.decision.stop
    if seen.decision.over and stop is not None and (stop.reason or seen.pod.delete_at is not None):
        return _terminated(container, RunState(0, None, NEVER_RAN), seen.pod)
    initializing = not container.init and bool(seen.pod.init_containers)
    return {"waiting": {"reason": "PodInitializing" if initializing else "ContainerCreating"}}


def _terminated(container: Container, run: RunState, pod: Pod) -> Object:
    ended = run.ended
    if ended is None:
        return {}
    details: Object = {
        "exitCode": ended.exit_code,
        "reason": ended.reason,
        "finishedAt": clock.rfc3339(ended.finished) if ended is not NEVER_RAN else None,
        "startedAt": clock.rfc3339(ended.started) if ended.started else None,
        "containerID": _identity(pod, container, run.attempt),
    }
    if ended.signal:
        details["signal"] = ended.signal
    if ended.message:
        details["message"] = ended.message
    return {"terminated": {key: value for key, value in details.items() if value is not None}}


def _conditions(seen: Observation) -> list[Object]:
    pod, decision = seen.pod, seen.decision
    unready = [one.name for one in pod.main_containers if not _ready(seen, one)]
    begun = bool(seen.runs)
    initialized = all(
        _ready(seen, one) or (one.sidecar and one.name in seen.runs) for one in pod.init_containers
    ) or all(one.name in seen.runs for one in pod.main_containers)
    over = {Phase.SUCCEEDED: "PodCompleted", Phase.FAILED: "PodFailed"}.get(decision.phase)
    why, text = "", ""
    if unready:
        why = over or "ContainersNotReady"
        text = "" if over else f"containers with unready status: [{' '.join(unready)}]"
    waits = "" if initialized else "ContainersNotInitialized"
    facts: list[tuple[str, bool, str, str]] = [
        ("PodReadyToStartContainers", begun and not decision.over, "", ""),
        ("Initialized", initialized, "PodCompleted" if over == "PodCompleted" else waits, ""),
        ("ContainersReady", not unready, why, text),
        ("Ready", not unready, why, text),
    ]
    if seen.evicted:
        facts.append(("DisruptionTarget", True, "TerminationByKubelet", "The node shuts down."))
    return [_condition(seen, *fact) for fact in facts]


def _condition(seen: Observation, kind: str, holds: bool, reason: str, message: str) -> Object:
    value = "True" if holds else "False"
    old: Object = next((one for one in seen.pod.status.get("conditions") or [] if one["type"] == kind), {})
    since = old.get("lastTransitionTime") if old.get("status") == value else None
    return {
        "type": kind,
        "status": value,
        "reason": reason or None,
        "message": message or None,
        "lastTransitionTime": since or clock.rfc3339(seen.now),
    }
