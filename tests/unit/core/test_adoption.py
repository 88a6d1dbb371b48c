"""A Job found under our name is ours only when it is the very one to create."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from core_facts import NOW, at, task, text, world

from collabspace.core import adoption
from collabspace.core.admission import ADMITTED
from collabspace.core.plan import Creation
from collabspace.core.task import decide_task

Change = Callable[[dict[str, Any]], None]


def planned(seconds: float = 0, **spec: Any) -> Creation:
    creation = decide_task(task(**spec), world(verdict=ADMITTED), at(seconds)).create
    assert creation is not None
    return creation


def stored(creation: Creation) -> dict[str, Any]:
    """As the API server gives it back: with its own fields and defaults."""
    body = copy.deepcopy(creation.job)
    body["metadata"] |= {"uid": "uid-job", "creationTimestamp": text(NOW)}
    body["spec"] |= {"suspend": False, "completionMode": "NonIndexed"}
    pod = body["spec"]["template"]["spec"]
    pod |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    pod["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    pod["volumes"][1]["projected"]["defaultMode"] = 420
    return body


def test_the_job_of_an_answer_that_was_lost_is_known_again_also_when_its_deadline_was_reckoned_earlier() -> None:
    found = stored(planned(activeDeadlineSeconds=600))
    assert adoption.is_of(found, planned(30, activeDeadlineSeconds=600))


def _container(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["spec"]["template"]["spec"]["containers"][0]
    return found


HOSTILE: dict[str, Change] = {
    "another image": lambda body: _container(body).update(image="evil"),
    "another command": lambda body: _container(body).update(command=["sh"]),
    "one more variable": lambda body: _container(body)["env"].append({"name": "LD_PRELOAD", "value": "x"}),
    "another broker": lambda body: _container(body)["env"][1].update(value="https://evil"),
    "a second container": lambda body: body["spec"]["template"]["spec"]["containers"].append({"name": "x"}),
    "an init container": lambda body: body["spec"]["template"]["spec"].update(initContainers=[{"name": "x"}]),
    "one more volume": lambda body: body["spec"]["template"]["spec"]["volumes"].append({"name": "x"}),
    "another owner": lambda body: body["metadata"]["ownerReferences"][0].update(uid="x"),
    "labels alone": lambda body: body["metadata"].pop("ownerReferences"),
    "on its way out": lambda body: body["metadata"].update(deletionTimestamp=text(NOW)),
    "less than asked": lambda body: _container(body)["resources"]["limits"].update(cpu="100m"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_whatever_else_bears_our_name_is_nobodys(change: Change) -> None:
    found = stored(planned())
    assert adoption.is_of(found, planned())
    change(found)
    assert not adoption.is_of(found, planned())


def test_the_job_of_another_attempt_or_another_training_is_not_it() -> None:
    assert not adoption.is_of(stored(planned(seed=1)), planned())
    assert not adoption.is_of({"metadata": {}}, planned())
