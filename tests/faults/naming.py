"""Names for the operator's calls and for the watch events that it is sent, the same in every run of a workload."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from proxy_messages import Event, Request

from collabspace.api import names

WRITES = ("POST", "PUT", "PATCH", "DELETE")
PLACE = re.compile(r"/namespaces/([^/]+)(?:/(.*))?$")
BROKER = re.compile(r"^/v1/(usage|aliases)/(.+)$")
POD = re.compile(r"-[a-z0-9]{5}$")
KINDS = {
    names.SHARED_DATASETS: "dataset",
    names.COLLAB_TASKS: "task",
    names.MODEL_SELECTIONS: "selection",
    "jobs": "job",
    "pods": "pod",
    "namespaces": "namespace",
}
Roles = Mapping[str, str]
"""Namespace -> the part that it plays."""


def call_name(request: Request, roles: Roles, tasks: Callable[[str], str]) -> str:
    """Such as `PATCH team/collabtasks/t/status Training`; empty: no write in these namespaces. `tasks` knows the name
    of the task that has a uid, empty for those of others."""
    if request.method not in WRITES:
        return ""
    broker = BROKER.match(request.path)
    if broker is not None:
        return _broker_call(request.method, broker[1], broker[2].split("/"), roles, tasks)
    place = PLACE.search(request.path)
    if place is None or place[1] not in roles or request.path.endswith("/token"):
        return ""
    body = request.json()
    what = place[2] or ""
    if request.method == "POST" and isinstance(body, dict):
        name = body.get("metadata", {}).get("name", "")
        what += f"/{body['regarding']['name']}" if "regarding" in body else f"/{name}"
    return " ".join(filter(None, (request.method, f"{roles[place[1]]}/{what}", _detail(body))))


def _broker_call(method: str, what: str, parts: list[str], roles: Roles, tasks: Callable[[str], str]) -> str:
    if what == "aliases":
        return f"{method} alias {roles[parts[0]]}/{parts[1]}" if parts[0] in roles else ""
    name = tasks(parts[0])
    return f"{method} usage {name}/{parts[1]}" if name else ""


def _detail(body: Any) -> str:
    """What a body says, in a word."""
    if not isinstance(body, dict):
        return ""
    status, spec = body.get("status"), body.get("spec")
    if "regarding" in body:
        return str(body["reason"])
    if isinstance(status, dict):
        return _reason(status)
    if isinstance(spec, dict) and "suspend" in spec and "template" not in spec:
        return f"suspend={spec['suspend']}".lower()
    return ""


def _reason(status: Any) -> str:
    if status.get("reason"):
        return str(status["reason"])
    grants = "+".join(each["state"] for each in status.get("grants") or ())
    return grants or "+".join(each["reason"] for each in status.get("conditions") or () if each["type"] == "Ready")


def event_name(event: Event, roles: Roles) -> str:
    """Such as `job team/t-1 MODIFIED active`; empty: of no object in these namespaces."""
    path = event.listing.partition("|")[0]
    kind = KINDS.get(path.rpartition("/")[2], "")
    if not kind or event.kind in ("BOOKMARK", "ERROR"):
        return ""
    meta = event.object["metadata"]
    namespace = meta["name"] if kind == "namespace" else meta.get("namespace", "")
    if namespace not in roles:
        return ""
    name = "" if kind == "namespace" else f"/{POD.sub('', meta['name']) if kind == 'pod' else meta['name']}"
    return " ".join(filter(None, (kind, roles[namespace] + name, event.kind, _state(kind, event.object))))


def _state(kind: str, item: Any) -> str:
    status, meta = item.get("status") or {}, item["metadata"]
    words = ["leaving"] if meta.get("deletionTimestamp") else []
    if kind == "job":
        words += [each["type"] for each in status.get("conditions") or () if each["status"] == "True"][-1:]
        words += [word for word in ("active", "ready", "terminating") if status.get(word)]
        words += ["suspend"] if item["spec"].get("suspend") else []
    elif kind in ("pod", "namespace"):
        words += [status.get("phase", "")]
    else:
        words += [_reason(status)]
        words += ["suspend"] if (item.get("spec") or {}).get("suspend") else []
    return ",".join(filter(None, words))


class Tally:
    """Numbers equal names: `current` is the newest with its number, such as `POST team/jobs/t-1#1`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.all: list[str] = []
        self.current = ""

    def note(self, name: str) -> None:
        if name:
            self.counts[name] += 1
            self.current = f"{name}#{self.counts[name]}"
            self.all.append(self.current)
        else:
            self.current = ""
