"""Whether a Job found under the name of one to create is that very Job: nothing is taken for ours by its labels."""

import copy
from collections.abc import Mapping
from typing import Any

from collabspace.api.run import RUN_VARIABLE
from collabspace.core import job
from collabspace.core.plan import Creation


def is_of(raw: Mapping[str, Any], creation: Creation) -> bool:
    """Whether it is the Job to create, made by a call whose answer was lost on the way.

    The moment of the deadline may differ: it was reckoned at another time.
    """
    if job.read(raw) is None or raw["metadata"].get("deletionTimestamp") is not None:
        return False
    planned, found = creation.run, job.document(raw)
    execution = found.execution.model_copy(update={"deadline": planned.execution.deadline})
    if found.model_copy(update={"execution": execution}) != planned:
        return False
    wanted, there = _without_run(creation.job), _without_run(raw)
    return _covers(wanted["spec"]["template"], there["spec"]["template"])


def _without_run(raw: Mapping[str, Any]) -> Any:
    copied = copy.deepcopy(dict(raw))
    for each in copied["spec"]["template"]["spec"]["containers"][0]["env"]:
        if each["name"] == RUN_VARIABLE:
            del each["value"]
    return copied


def _covers(planned: Any, found: Any) -> bool:
    """Whether all that was planned is there; the API server adds defaults, and never to a list."""
    if isinstance(planned, dict):
        return isinstance(found, dict) and all(key in found and _covers(planned[key], found[key]) for key in planned)
    if isinstance(planned, list):
        return (
            isinstance(found, list)
            and len(planned) == len(found)
            and all(_covers(*pair) for pair in zip(planned, found, strict=True))
        )
    return bool(planned == found)
