"""What the platform's programs, and people, asked of the API server while tests ran, kept for `make check-rights`.

Read from the audit log of each test cluster before it goes. A call counts as a program's own if it comes under the
program's account and bears its User-Agent: tests that act in the name of an account do so with kubectl.
"""

import datetime as dt
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import orjson

from collabspace.api import names

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "rights"
OPERATOR, BROKER, PERSON = "operator", "broker", "person"
SYSTEM, TEAM, CLUSTER = "system", "team", "cluster"
ACCOUNT = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:"
PROGRAMS = {
    ACCOUNT + names.OPERATOR_ACCOUNT: (OPERATOR, ("collabspace-operator/", "kopf/")),
    ACCOUNT + names.BROKER_ACCOUNT: (BROKER, ("collabspace-broker/",)),
}
# No pod of theirs has a token for the API server: whatever they ask there is a finding.
TEAM_ACCOUNTS = (names.TRAINER_ACCOUNT, names.PUBLISHER_ACCOUNT, names.READER_ACCOUNT)
START = dt.timedelta(seconds=10)
Event = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """`place`: cluster, system, or team for any other namespace. `role`: which role the API server let it in by, with
    its kind; empty when it was forbidden. `path` is given for what is no resource."""

    who: str
    verb: str
    group: str
    resource: str
    place: str
    name: str
    role: str
    path: str = ""

    def __str__(self) -> str:
        what = self.path or "/".join(filter(None, (self.group, self.resource)))
        return f"{self.who}: {self.verb} {what} {self.name} ({self.place})"


def keep(audit_log: Path, modules: Iterable[Path]) -> None:
    """Writes what the log holds beside what other test runs keep; `modules` are the test modules that it stands for."""
    if not audit_log.exists():
        return
    calls, forbidden = found(audit_log)
    FOLDER.mkdir(parents=True, exist_ok=True)
    body = {
        "modules": sorted({str(each.relative_to(ROOT)) for each in modules}),
        "calls": [[*astuple(call), count] for call, count in sorted(calls.items(), key=str)],
        "forbidden": forbidden,
    }
    (FOLDER / f"{time.time_ns()}-{uuid.uuid4().hex[:6]}.json").write_text(json.dumps(body, indent=0))


def found(audit_log: Path) -> tuple[Counter[Call], list[str]]:
    """The calls with their numbers; and what must not be: calls that were refused, programs under another account."""
    calls: Counter[Call] = Counter()
    refused: dict[str, tuple[Event, Call]] = {}
    strangers: set[str] = set()
    excuses = _Excuses()
    for event in _events(audit_log):
        excuses.see(event)
        strangers |= _strangers(event)
        who = _who(event)
        if who is None:
            continue
        call = _call(who, event)
        if not call.role and who != PERSON:
            refused[event["auditID"]] = event, call
        elif call.role:
            calls[call] += 1
    told = [_told(event, call) for event, call in refused.values() if not excuses.excuse(event)]
    return calls, [*sorted(strangers), *told]


def _events(audit_log: Path) -> Iterator[Event]:
    with audit_log.open("rb") as log:
        for line in log:
            # An API server that is killed leaves half a line.
            if line.endswith(b"}\n"):
                yield orjson.loads(line)


def _who(event: Event) -> str | None:
    """Whose call it is, of those that are looked at."""
    user, agent = event["user"].get("username", ""), event.get("userAgent") or ""
    if not user:  # not known to the API server, and so not let in
        return None
    if user in PROGRAMS:
        who, agents = PROGRAMS[user]
        return who if agent.startswith(agents) else None
    if user.startswith("system:serviceaccount:"):
        account = user.rsplit(":", 1)[1]
        return account if account in TEAM_ACCOUNTS else None
    if user.startswith("system:") or "system:masters" in event["user"].get("groups", ()):
        return None
    return None if "impersonatedUser" in event else PERSON


def _strangers(event: Event) -> set[str]:
    """A program of ours that runs with other rights than it has in a cluster."""
    user, agent = event["user"].get("username", ""), event.get("userAgent") or ""
    return {
        f"{who} runs as {user}"
        for account, (who, agents) in PROGRAMS.items()
        if user and agent.startswith(agents) and user != account
    }


def _call(who: str, event: Event) -> Call:
    target = event.get("objectRef") or {}
    namespace = target.get("namespace")
    place = SYSTEM if namespace == names.SYSTEM_NAMESPACE else TEAM if namespace else CLUSTER
    resource = "/".join(filter(None, (target.get("resource"), target.get("subresource"))))
    # Names matter where rights are given by name; elsewhere they would only tell the tests' objects apart.
    named = place == SYSTEM or resource == "serviceaccounts/token"
    return Call(
        who,
        event["verb"],
        target.get("apiGroup", ""),
        resource,
        place,
        target.get("name", "") if named else "",
        _role(event),
        "" if resource else event["requestURI"].split("?")[0],
    )


def _role(event: Event) -> str:
    """As in `RBAC: allowed by RoleBinding "b/n" of ClusterRole "edit" to User "ann"`."""
    notes = event.get("annotations") or {}
    if notes.get("authorization.k8s.io/decision") != "allow":
        return ""
    words = notes.get("authorization.k8s.io/reason", "").split(" of ", 1)
    return "".join(words[1].split(" to ")[0].split('"')[:2]) if len(words) > 1 else "without RBAC"


def _told(event: Event, call: Call) -> str:
    said = event.get("responseStatus", {}).get("message", "")
    return f"{call} at {event['requestReceivedTimestamp']} {event['requestURI']}: {said[:300]}"


class _Excuses:
    """Refusals that are nobody's fault: in a namespace that is no team yet, or is going with all that is in it; and by
    an API server that has just started and has not read its roles. Told by others' calls in the same log."""

    def __init__(self) -> None:
        self._bound: dict[str, str] = {}
        self._leaving: dict[str, str] = {}
        self._started: list[dt.datetime] = []

    def see(self, event: Event) -> None:
        target = event.get("objectRef") or {}
        if event.get("responseStatus", {}).get("code", 0) >= 300:
            return
        kind, verb, name = target.get("resource"), event["verb"], str(target.get("name"))
        if kind == "namespaces" and verb == "delete":
            self._leaving.setdefault(name, event["requestReceivedTimestamp"])
        elif kind == "rolebindings" and verb in ("create", "patch", "update") and name == names.OPERATOR_TEAM_ROLE:
            self._bound.setdefault(target["namespace"], event["stageTimestamp"])
        elif (kind, verb, event["user"].get("username", "")) == ("clusterrolebindings", "list", "system:apiserver"):
            # It looks over the roles that it ships, once at each start, as soon as it has read all of them.
            self._started.append(_moment(event["stageTimestamp"]))

    def excuse(self, event: Event) -> bool:
        """Ask when the whole log was seen."""
        at = event["requestReceivedTimestamp"]
        if any(dt.timedelta() <= start - _moment(at) <= START for start in self._started):
            return True
        namespace = (event.get("objectRef") or {}).get("namespace")
        if namespace is None or namespace == names.SYSTEM_NAMESPACE:
            return False
        return bool(at < self._bound.get(namespace, "9") or at > self._leaving.get(namespace, "9"))


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
