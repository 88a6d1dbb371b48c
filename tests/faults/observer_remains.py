"""I8, I12, I16: what deleted objects leave behind, secrets where they must not be, deletions that do not end."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from observer_evidence import Evidence, is_orphan, is_taken, owners, task_of, where
from watching import Object

# A token as services sign them, and a private key.
SECRETS = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}|-----BEGIN [A-Z ]*PRIVATE KEY")


def nothing_is_left(evidence: Evidence) -> Iterator[str]:
    """I8, at rest: no Job, pod, task, process or file of what is gone; what was taken from its owner is its taker's."""
    for kind, items in (("Job", evidence.jobs), ("pod", evidence.pods)):
        for item in items.values():
            uid = task_of(item)
            if uid and uid not in evidence.tasks and not is_taken(evidence, item):
                yield f"I8 {kind} {where(item)} belongs to task {uid}, which is not there"
    selections = evidence.there("selections")
    gone = {change.uid for change in evidence.history("selections")} - selections.keys()
    for task in evidence.tasks.values():
        if gone.intersection(owners(task)):
            yield f"I8 {where(task)} belongs to a selection that is gone"
    for one in evidence.processes:
        if one.end is None and one.task_uid not in evidence.tasks and not is_orphan(evidence, one):
            yield f"I8 {one.pod} runs for task {one.task_uid}, which is not there"
    yield from _files_left(evidence)


def _files_left(evidence: Evidence) -> Iterator[str]:
    kept = _stood_for(evidence)
    doomed = {
        change.uid: where(change.object) for change in evidence.history("tasks") if change.uid not in evidence.tasks
    }
    there = {item["metadata"]["uid"] for item in evidence.datasets.values()}
    for change in evidence.history("datasets"):
        if change.uid not in there and change.object["spec"].get("deletionPolicy") == "Delete":
            doomed[change.uid] = where(change.object)
    for uid, name in doomed.items():
        left = list(files_below(evidence.store / uid)) if uid not in kept else []
        if left:
            yield f"I8 {len(left)} files of {name}, which is gone, such as {left[0].relative_to(evidence.store)}"


def files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder that may be swept away meanwhile."""
    for parent, _, files in os.walk(folder):
        yield from (Path(parent) / file for file in files)


def _stood_for(evidence: Evidence) -> set[str]:
    """uids of tasks whose results aliases stand for, or stood for last: these are kept."""
    found: set[str] = set()
    for space in evidence.spaces.values():
        for pointer in (evidence.store / space["metadata"]["uid"] / "aliases").glob("*"):
            found.update(re.findall(r'"taskUid":\s*"([^"]+)"', pointer.read_text(errors="replace")))
    return found


def deletions_end(evidence: Evidence) -> Iterator[str]:
    """I16, at rest: nothing is on its way out for ever."""
    for kind in ("tasks", "datasets", "selections", "jobs", "pods", "spaces"):
        for item in evidence.there(kind).values():
            since = item["metadata"].get("deletionTimestamp")
            if since:
                name = item["metadata"]["name"] if kind == "spaces" else where(item)
                held = item["metadata"].get("finalizers") or []
                yield f"I16 {kind[:-1]} {name} was deleted at {since} and is still there; finalizers {held}"


def secrets_stay_secret(evidence: Evidence) -> Iterator[str]:
    """I12: no token, no key, and nothing that was planted, where others can read it."""
    canaries = [re.escape(each) for each in evidence.canaries]
    found = re.compile("|".join([SECRETS.pattern, *canaries]))
    for place, text in _said(evidence):
        match = found.search(text)
        if match is not None:
            yield f"I12 {place} holds a secret at character {match.start()}"


def _said(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """All that the platform says of somebody, by place. Specs are their authors' words."""
    for kind in ("tasks", "datasets", "selections", "jobs"):
        for change in evidence.history(kind):
            item: Object = change.object
            said = {"status": item.get("status"), "annotations": item["metadata"].get("annotations")}
            if kind == "jobs":
                said["spec"] = item["spec"]
            yield f"{kind[:-1]} {where(item)} at revision {change.revision}", json.dumps(said)
    for change in evidence.history("events"):
        yield f"event {where(change.object)}", json.dumps(change.object)
    for row in evidence.access:
        yield f"ledger record {row['sequence']}", json.dumps(dict(row))
    yield from evidence.texts.items()


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (nothing_is_left, deletions_end, secrets_stay_secret)
