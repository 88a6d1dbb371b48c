"""Statuses as a kubelet would write them."""

import datetime as dt

from collabspace.kube import clock
from collabspace.local.node.container import Ended
from collabspace.local.node.decision import RunState, Situation, decide
from collabspace.local.node.manifest import Object, Pod, parse
from collabspace.local.node.status import Observation, Waiting, build, same

NOW = clock.parse("2026-01-01T12:00:00Z")
RUNS = RunState(0, NOW, None)


def pod(status: Object | None = None, **metadata: str) -> Pod:
    meta = {"uid": "u", "namespace": "n", "name": "p", "resourceVersion": "1", "generation": 1, **metadata}
    spec = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}
    return parse({"metadata": meta, "spec": spec, "status": status or {}})


def status(
    of: Pod, runs: dict[str, RunState], now: dt.datetime = NOW, evicted: bool = False, **waiting: Waiting
) -> Object:
    decision = decide(Situation(of, runs, now, evicted=now if evicted else None))
    return build(Observation(of, decision, runs, {}, waiting, evicted, now))


def condition(of: Object, kind: str) -> Object:
    return next(one for one in of["conditions"] if one["type"] == kind)


def test_an_unchanged_state_gives_the_same_status_later() -> None:
    first = status(pod(), {"a": RUNS})
    later = status(pod(first), {"a": RUNS}, NOW + dt.timedelta(hours=1))
    assert same(later, first)


def test_conditions_of_others_do_not_make_it_differ_but_our_own_do() -> None:
    first = status(pod(), {"a": RUNS})
    others = {**first, "conditions": [*first["conditions"], {"type": "PodScheduled", "status": "True"}]}
    assert same(status(pod(others), {"a": RUNS}), others)
    lost = {
        **first,
        "conditions": [{**one, "status": "False"} if one["type"] == "Ready" else one for one in first["conditions"]],
    }
    assert not same(status(pod(lost), {"a": RUNS}), lost)


def test_the_moment_of_a_condition_is_kept_until_it_changes() -> None:
    first = status(pod(), {"a": RUNS})
    ended = RunState(0, NOW, Ended(0, None, "Completed", "", NOW, NOW))
    last = status(pod(first), {"a": ended}, NOW + dt.timedelta(hours=1))
    assert condition(last, "Initialized")["lastTransitionTime"] == "2026-01-01T12:00:00Z"
    assert condition(last, "Ready")["lastTransitionTime"] == "2026-01-01T13:00:00Z"
    assert condition(last, "Ready")["reason"] == "PodCompleted"


def test_a_waiting_container_says_why() -> None:
    waiting = status(pod(), {}, a=Waiting("ErrImageNeverPull", "unknown"))
    assert waiting["phase"] == "Pending"
    assert waiting["containerStatuses"][0]["state"] == {
        "waiting": {"reason": "ErrImageNeverPull", "message": "unknown"}
    }


def test_a_pod_deleted_before_it_ran_ends_with_an_unknown_container() -> None:
    last = status(pod(deletionTimestamp=clock.rfc3339(NOW)), {})
    assert last["phase"] == "Failed"
    state = last["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (137, "ContainerStatusUnknown")


def test_a_node_that_shuts_down_marks_the_disruption() -> None:
    ended = RunState(0, NOW, Ended(50, None, "Error", "", NOW, NOW))
    last = status(pod(), {"a": ended}, evicted=True)
    assert (last["phase"], last["reason"]) == ("Failed", "Terminated")
    assert condition(last, "DisruptionTarget")["reason"] == "TerminationByKubelet"
