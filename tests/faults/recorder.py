"""What a run of a workload consisted of: the operator's writes, the events that it was sent, and the state at the end.

The reference of all workloads is kept in reference.json: plans are made of it, and their ends are compared with it.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from naming import POD, Roles, Tally, call_name, event_name
from proxy_messages import Event, Request
from rig import Rig

REFERENCE = Path(__file__).with_name("reference.json")
Summary = dict[str, Any]


class Recorder:
    """Listens to both proxies while it is open. `calls.current` and `events.current` name what is under way."""

    def __init__(self, rig: Rig, roles: Roles) -> None:
        self.calls = Tally()
        self.events = Tally()
        self.older: dict[str, list[bytes]] = {}
        """uid -> the lines sent about an object."""
        self._rig, self._roles = rig, roles

    def open(self) -> None:
        for proxy in (self._rig.api, self._rig.broker_door):
            proxy.taps.asked.append(self._asked)
        self._rig.api.taps.came.append(self._came)

    def close(self) -> None:
        for proxy in (self._rig.api, self._rig.broker_door):
            proxy.taps.asked.remove(self._asked)
        self._rig.api.taps.came.remove(self._came)

    def _asked(self, request: Request) -> None:
        self.calls.note(call_name(request, self._roles, self._task))

    def _came(self, event: Event) -> None:
        name = event_name(event, self._roles)
        self.events.note(name)
        if name:
            self.older.setdefault(event.object["metadata"]["uid"], []).append(event.raw)

    def _task(self, uid: str) -> str:
        for (namespace, name), item in self._rig.eyes.seen["tasks"].items():
            if item["metadata"]["uid"] == uid and namespace in self._roles:
                return name
        return ""


def summary(rig: Rig, roles: Roles) -> Summary:
    """How things stand in these namespaces, without what differs from run to run: times, uids, versions, figures."""
    found: Summary = {}
    for namespace, role in roles.items():
        seen = rig.eyes
        found |= {f"task {role}/{name}": _task(item) for name, item in seen.objects("tasks", namespace).items()}
        found |= {
            f"selection {role}/{name}": _selection(i) for name, i in seen.objects("selections", namespace).items()
        }
        found |= {
            f"dataset {role}/{name}": _dataset(item) for name, item in seen.objects("datasets", namespace).items()
        }
        found |= {f"job {role}/{name}": _job(item) for name, item in seen.objects("jobs", namespace).items()}
        for name, item in seen.objects("pods", namespace).items():
            found[f"pod {role}/{POD.sub('', name)}"] = item["status"].get("phase", "")
    return found


def ledger(rig: Rig, roles: Roles) -> Summary:
    """How often which event of which attempt stands in the ledger, of the namespaces that are the plan's own; without
    what the broker's sweeper does in its own time, and without refusals, which end trainers at times. Usage stands
    there once however often it was corrected: a successor may reckon other seconds, and I6 looks at those."""
    there = {key[1] for key in rig.eyes.seen["tasks"] if key[0] in roles}
    own = {namespace: role for namespace, role in roles.items() if namespace != rig.owner}
    query = (
        "SELECT namespace, event, decision, task, attempt, CASE event WHEN 'Used' THEN 1 ELSE SUM(repeats) END "
        "FROM access "
        f"WHERE namespace IN ({', '.join('?' * len(own))}) AND event NOT IN ('Removed', 'Denied') "
        "GROUP BY namespace, event, decision, task, attempt"
    )
    with closing(sqlite3.connect(f"file:{rig.ledger}?mode=ro", uri=True, timeout=10)) as database:
        rows = database.execute(query, list(own)).fetchall()
    return {
        f"ledger {own[namespace]}/{task or ''}/{attempt or ''} {event} {decision}": count
        for namespace, event, decision, task, attempt, count in rows
        # Whether the end of an attempt or the deletion of its task is seen first is a matter of chance.
        if event != "Used" or task in there
    }


def _conditions(item: Any) -> dict[str, str]:
    found = item.get("status", {}).get("conditions") or ()
    return {each["type"]: f"{each['status']} {each['reason']}" for each in found}


def _cut_short(entry: Any) -> bool:
    return bool(entry.get("outcome") == "Interrupted")


def _task(item: Any) -> Summary:
    status = item.get("status", {})
    return {
        "reason": status.get("reason"),
        "conditions": _conditions(item),
        "attempts": [
            # Whether the code of a pod that was taken away is seen before it has gone is a matter of chance.
            [
                each["number"],
                each.get("outcome"),
                each.get("reason"),
                None if _cut_short(each) else each.get("exitCode"),
            ]
            for each in status.get("attempts") or ()
        ],
        "failed": status.get("failedAttempts", 0),
        "stored": "result" in status,
        "pins": sorted(each["name"] for each in status.get("datasets") or ()),
        "leaving": "deletionTimestamp" in item["metadata"],
    }


def _selection(item: Any) -> Summary:
    status = item.get("status", {})
    return {
        "reason": status.get("reason"),
        "conditions": _conditions(item),
        "board": [
            [each.get("rank"), each["candidate"], each["state"], each.get("reason")]
            for each in status.get("leaderboard") or ()
        ],
        "winner": (status.get("winner") or {}).get("taskName"),
        "promotion": (status.get("promotion") or {}).get("state"),
    }


def _dataset(item: Any) -> Summary:
    status = item.get("status", {})
    return {
        "conditions": _conditions(item),
        "grants": [each["state"] for each in status.get("grants") or ()],
        "versions": len(status.get("versions") or ()),
    }


def _job(item: Any) -> str:
    found = (each["type"] for each in item.get("status", {}).get("conditions") or () if each["status"] == "True")
    return " ".join(sorted(found)) + (" suspended" if item["spec"].get("suspend") else "")


def reference() -> dict[str, Summary]:
    """By workload: `writes`, `events` and `end`. Raises FileNotFoundError: `run.py --record` makes it."""
    known: dict[str, Summary] = json.loads(REFERENCE.read_text())
    return known


def merged(runs: list[Summary]) -> Summary:
    """What all runs of a workload have in common, in the order of the first. Raises ValueError when ends differ."""
    first = runs[0]
    for other in runs[1:]:
        if other["end"] != first["end"]:
            raise ValueError(f"two runs end differently: {differences(first['end'], other['end'])}")
    return {
        "writes": [each for each in first["writes"] if all(each in run["writes"] for run in runs)],
        "events": [each for each in first["events"] if all(each in run["events"] for run in runs)],
        "end": first["end"],
    }


def differences(wanted: Summary, found: Summary) -> list[str]:
    """What is not as in the reference, a line each."""
    return [
        f"{key}: {found.get(key, 'nothing')} instead of {wanted.get(key, 'nothing')}"
        for key in sorted(wanted.keys() | found.keys())
        if wanted.get(key) != found.get(key)
    ]
