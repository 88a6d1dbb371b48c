"""I13, I14, I15: how often operators write, which of them, and what they may. From the API server's audit log."""

from collections import Counter
from collections.abc import Callable, Iterator

from observer_evidence import Call, Evidence, where

# What the operator may ask for, as docs/concepts/security.md and its roles say: everywhere, in its own namespace, and
# in those of teams.
EVERYWHERE = {
    **{kind: {"list", "watch"} for kind in ("namespaces", "nodes", "pods")},
    **{kind: {"get", "list", "watch"} for kind in ("shareddatasets", "collabtasks", "modelselections", "jobs")},
    **{f"{kind}/status": {"patch"} for kind in ("shareddatasets", "collabtasks", "modelselections")},
    "events": {"create", "list"},
}
OF_TEAMS = {
    "jobs": {"create", "patch", "delete"},
    "collabtasks": {"create", "patch", "delete"},
    "serviceaccounts": {"get"},
}
OWN = {"leases": {"create", "get", "update"}, "serviceaccounts/token": {"create"}}
HOME = "collabspace-system"
# Everybody may ask what there is.
DISCOVERY = ("/api", "/apis", "/version", "/openapi")
FORBIDDEN = 403
MINUTE = 60.0


def quiet_at_rest(evidence: Evidence) -> Iterator[str]:
    """I13: since everything is at rest no object is written more often than once a minute."""
    if evidence.rest is None:
        return
    minutes = 1 + int((evidence.now - evidence.rest) / MINUTE)
    late = [call for call in evidence.calls if call.writes and call.at > evidence.rest and call.namespace != HOME]
    for (namespace, resource, name), times in Counter(
        (each.namespace, each.resource, each.name) for each in late
    ).items():
        if times > minutes:
            yield f"I13 {resource} {namespace}/{name} was written {times} times in {minutes} min at rest"


def one_writer(evidence: Evidence) -> Iterator[str]:
    """I14: whoever writes was the last to write the Lease. Calls of all namespaces are needed, in any order."""
    leader = ""
    for call in sorted((each for each in evidence.calls if each.writes), key=lambda each: each.at):
        if not 200 <= call.status < 300:
            continue
        if call.resource == "leases":
            leader = call.agent
        elif leader and call.agent != leader:
            yield f"I14 {call.agent} wrote {call.verb} {call.resource} {call.namespace}/{call.name}, {leader} led"


def within_rights(evidence: Evidence) -> Iterator[str]:
    """I15: nothing is asked for that was not declared, nothing is refused, and children stay with their task."""
    for call in evidence.calls:
        if not _declared(call):
            yield f"I15 the operator asked to {call.verb} {call.resource} {call.namespace}/{call.name}"
        elif not call.allowed and call.namespace in evidence.spaces and not _leaving(evidence, call):
            yield f"I15 {call.verb} {call.resource} {call.namespace}/{call.name} was forbidden to the operator"
    homes = {change.uid: change.namespace for change in evidence.history("tasks")}
    for change in evidence.history("jobs"):
        for owner in change.object["metadata"].get("ownerReferences") or ():
            home = homes.get(owner["uid"])
            if owner["kind"] == "CollabTask" and home is not None and home != change.namespace:
                yield f"I15 Job {where(change.object)} belongs to a task of namespace {home}"


def _declared(call: Call) -> bool:
    if call.resource.startswith(DISCOVERY):
        return call.verb == "get"
    allowed = set(EVERYWHERE.get(call.resource, ()))
    if call.namespace == HOME:
        allowed |= OWN.get(call.resource, set())
    elif call.namespace:
        allowed |= OF_TEAMS.get(call.resource, set())
    return call.verb in allowed


def _leaving(evidence: Evidence, call: Call) -> bool:
    """Rights go with their namespace, and come with them."""
    item = evidence.spaces[call.namespace]
    created = [change.at for change in evidence.history("spaces") if change.name == call.namespace]
    return bool(item["metadata"].get("deletionTimestamp")) or call.at < min(created) + 10.0


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (quiet_at_rest, one_writer, within_rights)
