"""I4, I5, I9, I10: reads under grants, versions that do not change, results and promotions that stand for something."""

import hashlib
import json
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path

from observer_evidence import Evidence, Row, holds, key_of, run_of, seconds, status, task_of, where
from observer_truth import covering
from watching import Change, Object

# A grant that was taken back counts for so long (the promise is 5 s), one that was given from so much before we heard.
REVOKED_SECONDS = 7.0
HEARD_SECONDS = 5.0


def reads_are_granted(evidence: Evidence) -> Iterator[str]:
    """I4: each reading that was let in had a grant of that very dataset for that very namespace just then."""
    datasets: dict[str, list[Change]] = {}
    for change in evidence.history("datasets"):
        datasets.setdefault(change.uid, []).append(change)
    spaces: dict[str, list[Change]] = {}
    for change in evidence.history("spaces"):
        spaces.setdefault(change.name, []).append(change)
    for row in evidence.access:
        if row["event"] != "Opened" or row["decision"] != "Allowed" or not row["dataset_uid"]:
            continue
        if row["owner"] == row["namespace"]:
            continue
        at = seconds(row["time"])
        held = _around(datasets.get(row["dataset_uid"], []), at)
        homes = {change.uid for change in _around(spaces.get(row["namespace"], []), at)}
        needed = (row["use"] or "").split("+")
        for use in needed:
            if not any(covering(each.object, row["namespace"], uid, use, at) for each in held for uid in homes):
                yield (
                    f"I4 record {row['sequence']}: {row['namespace']} was let read {row['owner']}/{row['dataset']} for "
                    f"{use} at {row['time']} under grant {row['grant']}, and no grant of then says so"
                )


def _around(changes: list[Change], at: float) -> list[Change]:
    """As the object was at any time between REVOKED_SECONDS before and HEARD_SECONDS after."""
    found = [change for change in changes if at - REVOKED_SECONDS <= change.at <= at + HEARD_SECONDS]
    before = [change for change in changes if change.at < at - REVOKED_SECONDS]
    return [change for change in [*before[-1:], *found] if not change.gone]


def pins_do_not_change(evidence: Evidence) -> Iterator[str]:
    """I5: every attempt of a task, and every state of it, names the same versions."""
    pinned: dict[tuple[str, str], tuple[str, str]] = {}

    def told(uid: str, who: str, name: str, version: tuple[str, str]) -> Iterator[str]:
        known = pinned.setdefault((uid, name), version)
        if known != version:
            yield f"I5 {who} has version {version} of {name}, it was {known}"

    for kind in ("jobs", "tasks"):
        for change in evidence.history(kind):
            item = change.object
            if kind == "jobs" and task_of(item):
                for each in run_of(item).get("training", {}).get("datasets", ()):
                    yield from told(task_of(item), f"Job {where(item)}", each["name"], (each["uid"], each["digest"]))
            elif kind == "tasks":
                for each in status(item).get("datasets") or ():
                    if each["name"] != "modelFrom":
                        yield from told(change.uid, where(item), each["name"], (each.get("uid", ""), each["digest"]))


def versions_are_whole(evidence: Evidence) -> Iterator[str]:
    """I5: what is stored under a hash has that hash; of what is named by a status all is there."""
    for key, dataset in evidence.datasets.items():
        folder = evidence.store / dataset["metadata"]["uid"]
        if folder.is_dir():
            yield from _wrong_files(folder)
        for version in status(dataset).get("versions") or ():
            if not (folder / "versions" / f"{_hash(version['digest'])}.json").is_file():
                yield f"I9 {'/'.join(key)} tells of version {version['digest']}, which is not in the store"
    for uid in evidence.tasks:
        if (evidence.store / uid).is_dir():
            yield from _wrong_files(evidence.store / uid)


def _wrong_files(folder: Path) -> Iterator[str]:
    for path in (*folder.glob("versions/*.json"), *folder.glob("blobs/*")):
        if path.name.startswith("."):
            continue
        try:
            sha256 = _sha256(path, path.stat().st_mtime_ns)
        except FileNotFoundError:
            continue  # swept just now
        if sha256 != path.name.removesuffix(".json"):
            yield f"I5 {folder.name}/{path.parent.name}/{path.name} holds something else: {sha256}"


@lru_cache(maxsize=100_000)
def _sha256(path: Path, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def successes_have_results(evidence: Evidence) -> Iterator[str]:
    """I9: Succeeded means that the broker committed this result, and that every file of it is in the store."""
    for uid, task in evidence.tasks.items():
        if not holds(task, "Succeeded"):
            continue
        digest = str((status(task).get("result") or {}).get("digest", ""))
        wrong = _flaw(evidence, uid, digest)
        if wrong:
            yield f"I9 {where(task)} succeeded with {digest or 'no result'}: {wrong}"
        kept = [
            row for row in evidence.attempts if row["task_uid"] == uid and digest and digest in (row["result"] or "")
        ]
        # Equal attempts have equal results, so that several may have stored it.
        if not kept:
            yield f"I9 {where(task)} succeeded with {digest}, of which the broker has no record"


def _flaw(evidence: Evidence, uid: str, digest: str) -> str:
    manifest = evidence.store / uid / "versions" / f"{_hash(digest)}.json"
    if not manifest.is_file():
        return "its manifest is not in the store"
    content = manifest.read_bytes()
    if hashlib.sha256(content).hexdigest() != _hash(digest):
        return "the manifest in the store is another"
    blobs = evidence.store / uid / "blobs"
    absent = [file["path"] for file in json.loads(content)["files"] if not (blobs / file["sha256"]).is_file()]
    return f"{len(absent)} files are not in the store, such as {absent[0]}" if absent else ""


def _hash(digest: str) -> str:
    return digest.removeprefix("sha256:")


def promoted_once(evidence: Evidence) -> Iterator[str]:
    """I10: one record for each key; what was promoted is a whole result; what is no number never wins."""
    seen: dict[str, Row] = {}
    for row in evidence.access:
        if row["event"] != "Promoted":
            continue
        key = row["purpose"]
        if key in seen or row["repeats"] != 1:
            yield f"I10 records {seen.get(key, row)['sequence']} and {row['sequence']} both promote for {key}"
        seen[key] = row
        wrong = _flaw(evidence, row["task_uid"], row["version"])
        if wrong and row["task_uid"] in evidence.tasks:
            yield f"I10 record {row['sequence']} promoted {row['version']}: {wrong}"
    for uid, selection in evidence.there("selections").items():
        yield from _promotion_is_true(uid, selection, seen)


def _promotion_is_true(uid: str, selection: Object, promoted: dict[str, Row]) -> Iterator[str]:
    told = status(selection)
    winner, promotion = told.get("winner"), told.get("promotion") or {}
    if winner is not None and not _is_number(winner.get("metricValue", "")):
        yield f"I10 {where(selection)}: {winner['candidate']} won with {winner.get('metricValue')!r}"
    if promotion.get("state") == "Promoted" and winner is not None:
        ours = [row for key, row in promoted.items() if key.startswith(f"{uid}/")]
        others = [row for row in promoted.values() if row["version"] == promotion.get("resultDigest")]
        if not ours and not others:
            yield f"I10 {where(selection)} says Promoted, the ledger does not"
        if promotion.get("resultDigest") != winner["resultDigest"]:
            won = winner["resultDigest"]
            yield f"I10 {where(selection)} promoted {promotion.get('resultDigest')}, its winner is {won}"


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def statuses_name_their_own(evidence: Evidence) -> Iterator[str]:
    """I9: no status tells of a dataset that its spec does not name."""
    for task in evidence.tasks.values():
        named = {each["name"] for each in task["spec"]["datasets"]} | {"modelFrom"}
        foreign = [each["name"] for each in status(task).get("datasets") or () if each["name"] not in named]
        if foreign:
            yield f"I9 {'/'.join(key_of(task))} tells of datasets {foreign} that it does not name"


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    reads_are_granted,
    pins_do_not_change,
    versions_are_whole,
    successes_have_results,
    promoted_once,
    statuses_name_their_own,
)
