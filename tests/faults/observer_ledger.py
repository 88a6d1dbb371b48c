"""I6: the ledger's chains, sessions and counts of usage.

Seals are computed anew, as docs/concepts/ledger.md says: sha256 over a record's place, its content and the seal before.
What was seen once must stay as it was.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from observer_evidence import Evidence, Row, grouped

GENESIS = "0" * 64
OUTSIDE = {"sequence", "chain", "position", "previous", "hash"}


class Chains:
    """What the ledger held at every earlier look; tells what does not follow from it."""

    def __init__(self) -> None:
        self._heads: dict[str, tuple[int, str]] = {}
        self._sealed: dict[int, str] = {}

    def faults(self, new: Iterable[Row], seals: Iterable[Row], chains: Iterable[Row]) -> Iterator[str]:
        """`new` are the records since the last look, in order; of the older ones only number and hash are asked."""
        for row in new:
            yield from self._append(row)
        there = {row["sequence"]: row["hash"] for row in seals}
        for sequence, sealed in self._sealed.items():
            if there.get(sequence) != sealed:
                yield f"I6 record {sequence} was there and is gone or changed"
        self._sealed = there
        counted = {row["chain"]: (row["records"], row["head"]) for row in chains}
        for chain, (position, head) in self._heads.items():
            if counted.get(chain) != (position, head):
                yield f"I6 chain {chain} has {position} records, the table of chains says {counted.get(chain)}"

    def _append(self, row: Row) -> Iterator[str]:
        position, head = self._heads.get(row["chain"], (0, GENESIS))
        said = {name: value for name, value in row.items() if name not in OUTSIDE and value is not None}
        text = json.dumps([row["position"], row["previous"], said], sort_keys=True, separators=(",", ":"))
        if row["position"] != position + 1 or row["previous"] != head:
            yield f"I6 record {row['sequence']} does not follow record {position} of chain {row['chain']}"
        if hashlib.sha256(text.encode()).hexdigest() != row["hash"]:
            yield f"I6 record {row['sequence']} does not fit its seal"
        self._heads[row["chain"]] = row["position"], row["hash"]


def sessions_are_paired(evidence: Evidence) -> Iterator[str]:
    """I6: every reading that ended had begun, and ended once."""
    opened = {row["session"] for row in evidence.access if row["event"] == "Opened"}
    closed = Counter(row["session"] for row in evidence.access if row["event"] == "Closed")
    for session, times in closed.items():
        if session not in opened:
            yield f"I6 session {session} is closed and was never opened"
        if times > 1:
            yield f"I6 session {session} is closed {times} times"


def attempts_are_counted(evidence: Evidence) -> Iterator[str]:
    """I6, at rest: an attempt that ended is in the ledger once; what was committed was recorded before."""
    used = grouped(
        (row for row in evidence.access if row["event"] == "Used"), lambda row: (row["task_uid"], row["attempt"])
    )
    for (uid, attempt), rows in used.items():
        figures = {(row["gpu_seconds"], row["cpu_seconds"], row["reason"]) for row in rows}
        if len(figures) < sum(row["repeats"] for row in rows):
            yield f"I6 task {uid} attempt {attempt} was used {len(rows)} times with the same figures"
    for one in evidence.processes:
        ended = one.end is not None and one.task_uid in evidence.tasks
        if ended and (one.task_uid, one.attempt) not in used:
            yield f"I6 {one.pod} ran and is not in the ledger"
    published = {(row["task_uid"], row["version"]) for row in evidence.access if row["event"] == "Published"}
    for row in evidence.attempts:
        digest = json.loads(row["result"])["digest"] if row["result"] else None
        if digest is not None and (row["task_uid"], digest) not in published:
            yield f"I6 the result {digest} of task {row['task_uid']} was committed without a record"
    successes = {(row["task_uid"], row["attempt"]) for row in evidence.attempts if row["result"]}
    read = {(row["task_uid"], row["attempt"]) for row in evidence.access if row["event"] == "Opened"}
    for uid, attempt in successes - read:
        yield f"I6 attempt {attempt} of task {uid} stored a result and read nothing on record"


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (sessions_are_paired, attempts_are_counted)
