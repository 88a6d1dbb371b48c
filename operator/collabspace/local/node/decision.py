"""What to do next with a pod: pure, from its manifest, what its containers' runs show, and the time."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from collabspace.local.node.container import Ended
from collabspace.local.node.manifest import Container, Pod

FIRST_BACK_OFF = dt.timedelta(seconds=10)
LONGEST_BACK_OFF = dt.timedelta(seconds=300)
# A pod object that vanished was deleted by force: its successor may be on its way, so no long good-bye.
FORCED_GRACE = dt.timedelta(seconds=2)
# A node that shuts down has less patience than its pods: whoever stops it waits for it.
SHUTDOWN_GRACE = dt.timedelta(seconds=10)


class Phase(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True)
class RunState:
    """The newest run of a container: it runs while `ended` is None. `attempt` counts from 0."""

    attempt: int
    started: dt.datetime | None
    ended: Ended | None

    @property
    def running(self) -> bool:
        return self.ended is None


@dataclass(frozen=True)
class Start:
    """Run number `attempt` of a container is due."""

    container: Container
    attempt: int


@dataclass(frozen=True)
class Stop:
    """Everything in the pod has to end, by force at `kill_at`. Reason and message go into the pod's status."""

    kill_at: dt.datetime
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Situation:
    """What a decision rests on. `gone` and `evicted` are since when the object is deleted, or the node shuts down."""

    pod: Pod
    runs: Mapping[str, RunState]
    now: dt.datetime
    gone: dt.datetime | None = None
    evicted: dt.datetime | None = None

    def run(self, container: Container) -> RunState | None:
        return self.runs.get(container.name)


@dataclass(frozen=True)
class Decision:
    """Names to signal now, runs to start now, how the pod stands, and when to decide again without other cause.

    `over`: nothing runs and nothing will be started any more.
    """

    phase: Phase
    over: bool
    start: tuple[Start, ...] = ()
    terminate: frozenset[str] = frozenset()
    kill: frozenset[str] = frozenset()
    stop: Stop | None = None
    again: dt.datetime | None = None


def decide(situation: Situation) -> Decision:
    """The next step. Signals are named again at each call until the container has ended."""
    stop = _stop(situation)
    if stop is None:
        due, complete, again = _progress(situation)
        if not complete:
            deadline = _deadline(situation.pod)
            return Decision(
                phase=_living_phase(situation),
                over=False,
                start=due,
                again=min((moment for moment in (again, deadline) if moment is not None), default=None),
            )
        stop = Stop(_last_end(situation) + dt.timedelta(seconds=situation.pod.grace_seconds))
    return _stopping(situation, stop)


def back_off(attempt: int) -> dt.timedelta:
    """How long a container rests after its run number `attempt` ended."""
    return min(FIRST_BACK_OFF * (1 << min(attempt, 10)), LONGEST_BACK_OFF)


def _deadline(pod: Pod) -> dt.datetime | None:
    if pod.active_deadline_seconds is None or pod.started is None:
        return None
    return pod.started + dt.timedelta(seconds=pod.active_deadline_seconds)


def _stop(situation: Situation) -> Stop | None:
    """Why everything must end, the most pressing cause first."""
    pod, now = situation.pod, situation.now
    if situation.gone is not None:
        return Stop(situation.gone + FORCED_GRACE)
    if pod.terminal:
        return Stop(now)
    if pod.delete_at is not None:
        return Stop(pod.delete_at)
    grace = dt.timedelta(seconds=pod.grace_seconds)
    if situation.evicted is not None:
        return Stop(
            situation.evicted + min(grace, SHUTDOWN_GRACE),
            "Terminated",
            "Pod was terminated because its node shuts down.",
        )
    deadline = _deadline(pod)
    if deadline is not None and now >= deadline:
        message = f"Pod was active on the node longer than activeDeadlineSeconds, {pod.active_deadline_seconds}."
        return Stop(deadline + grace, "DeadlineExceeded", message)
    return None


def _progress(situation: Situation) -> tuple[tuple[Start, ...], bool, dt.datetime | None]:
    """Runs that are due, whether all is done (well or not), and when a resting container is due again."""
    policy = situation.pod.restart_policy
    due: list[Start] = []
    rests: list[dt.datetime] = []
    for container in situation.pod.init_containers:
        again = _again(container, situation.run(container), "Always" if container.sidecar else policy)
        _queue(container, situation, again, due, rests)
        run = situation.run(container)
        if container.sidecar and run is not None:
            continue  # it only has to have been started
        if run is None or run.running or again is not None:
            return tuple(due), False, min(rests, default=None)
        if run.ended is not None and run.ended.exit_code != 0:
            return (), True, None
    finals = 0
    for container in situation.pod.main_containers:
        run = situation.run(container)
        again = _again(container, run, policy)
        _queue(container, situation, again, due, rests)
        finals += run is not None and not run.running and again is None
    return tuple(due), finals == len(situation.pod.main_containers), min(rests, default=None)


def _again(container: Container, run: RunState | None, policy: str) -> dt.datetime | None:
    """When an ended container has to run again; None when it has not, or has not ended."""
    if run is None or run.ended is None:
        return None
    failed = run.ended.exit_code != 0
    restarts = (policy == "Always" and (failed or not container.init or container.sidecar)) or (
        policy == "OnFailure" and failed
    )
    return run.ended.finished + back_off(run.attempt) if restarts else None


def _queue(
    container: Container, situation: Situation, again: dt.datetime | None, due: list[Start], rests: list[dt.datetime]
) -> None:
    run = situation.run(container)
    if run is None:
        due.append(Start(container, 0))
    elif again is not None and again <= situation.now:
        due.append(Start(container, run.attempt + 1))
    elif again is not None:
        rests.append(again)


def _stopping(situation: Situation, stop: Stop) -> Decision:
    """Main containers end first, sidecars after them; at `kill_at` all of them."""
    running = [one for one in situation.pod.containers if (run := situation.run(one)) is not None and run.running]
    if not running:
        return Decision(phase=_final_phase(situation, stop), over=True, stop=stop)
    first = [one for one in running if not one.sidecar] or running
    late = situation.now >= stop.kill_at
    return Decision(
        phase=_living_phase(situation),
        over=False,
        terminate=frozenset(one.name for one in first),
        kill=frozenset(one.name for one in running) if late else frozenset(),
        stop=stop,
        again=None if late else stop.kill_at,
    )


def _living_phase(situation: Situation) -> Phase:
    begun = all(situation.run(container) is not None for container in situation.pod.main_containers)
    return Phase.RUNNING if begun else Phase.PENDING


def _final_phase(situation: Situation, stop: Stop) -> Phase:
    if situation.pod.terminal:
        return Phase(situation.pod.status["phase"])
    ends = [run.ended for one in situation.pod.main_containers if (run := situation.run(one)) is not None]
    whole = len(ends) == len(situation.pod.main_containers)
    good = whole and all(end is not None and end.exit_code == 0 for end in ends)
    return Phase.SUCCEEDED if good and not stop.reason else Phase.FAILED


def _last_end(situation: Situation) -> dt.datetime:
    return max((run.ended.finished for run in situation.runs.values() if run.ended), default=situation.now)
