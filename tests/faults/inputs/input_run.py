"""Tries cases in batches and judges what came of each; no batch waits for a fixed time."""

import asyncio
import itertools
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bad_input import (
    ALARM,
    ANY,
    DATASET,
    GONE,
    JOB,
    MAYBE,
    OK,
    PLURALS,
    POD,
    SELECTION,
    STORAGE,
    TASK,
    UNTOUCHED,
    UPDATE,
    Case,
)
from input_stage import FOLLOWED, JOBS, PODS, Place, Stage, api_path, owned
from input_ways import Trial, Tries
from transitions import Transition

from collabspace.api.conditions import Outcome, Reason
from collabspace.kube.client import Object

REASONS = {each.value: each for each in Reason}
NO_VERSION = Reason.NO_VERSION.value
HEALTHY_SECONDS, SETTLE_SECONDS, DELETE_SECONDS = 30.0, 30.0, 60.0
# What the operator may ask about one object and its children, beside four writes for each edit of it.
MOST_WRITES, MOST_READS = 8, 40
Row = tuple[Case | Transition, str]
COLUMNS = ("refused", "terminal", "waiting", "alarm", "harmless")


@dataclass
class Verdict:
    trial: Trial
    column: str
    word: str
    wrong: str = ""


@dataclass
class Report:
    verdicts: list[Verdict] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    healthy: list[float] = field(default_factory=list)
    deleted: list[float] = field(default_factory=list)
    writes: int = 0
    reads: int = 0
    unreached: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return bool(self.wrong) or any(each.wrong for each in self.verdicts)

    def table(self) -> str:
        """Class and way by what came of it."""
        rows: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for each in self.verdicts:
            rows[each.trial.case.group, each.trial.way][each.column] += 1
            rows["all", ""][each.column] += 1
        lines = [f"{'class':<14}{'way':<9}" + "".join(f"{column:>10}" for column in COLUMNS)]
        for (group, way), found in sorted(rows.items(), key=lambda row: (row[0][0] == "all", row[0])):
            lines.append(f"{group:<14}{way:<9}" + "".join(f"{found[column]:>10}" for column in COLUMNS))
        return "\n".join(lines)

    def summary(self) -> str:
        healthy, deleted = max(self.healthy, default=0), max(self.deleted, default=0)
        wrong = [f"{each.trial.case.id} ({each.trial.way}): {each.wrong}" for each in self.verdicts if each.wrong]
        return "\n".join(
            [
                self.table(),
                f"{len(self.verdicts)} inputs in {self.seconds:.0f} s",
                f"a good task then had its Job after {healthy:.1f} s, all was deleted after {deleted:.1f} s, at most",
                f"the operator wrote {self.writes} times and read {self.reads} times on one object, at most",
                f"{self.unreached} requests of the operator to the API server had no answer and were made again",
                f"findings: {len(wrong) + len(self.wrong)}",
                *wrong,
                *(f"{count} x {each}" for each, count in Counter(self.wrong).most_common(40)),
            ]
        )

    def data(self) -> dict[str, Any]:
        return {
            "inputs": [
                {
                    "case": each.trial.case.id,
                    "way": each.trial.way,
                    "outcome": each.column,
                    "word": each.word,
                    "object": f"{each.trial.namespace}/{each.trial.name}",
                    "wrong": each.wrong,
                }
                for each in self.verdicts
            ],
            "wrong": self.wrong,
            "seconds": round(self.seconds, 1),
            "writes": self.writes,
            "reads": self.reads,
        }


async def run(stage: Stage, trials: Sequence[Row], most: int = 250) -> Report:
    """All of it. Objects of one batch share a namespace, and go while the next batch is tried."""
    return await in_batches(stage, _batches(trials, most), FOLLOWED)


async def in_batches(stage: Stage, batches: Iterable[Sequence[Row]], kinds: Sequence[str]) -> Report:
    """`kinds`: those of which nothing may be left in the end."""
    report, start = Report(), time.monotonic()
    going = []
    for some in batches:
        namespace = await stage.team()
        report.verdicts += await _batch(stage, namespace, some, report)
        report.wrong += _checked(stage)
        by_hand = any(case.kind in (JOB, POD) for case, _ in some)
        going.append(asyncio.create_task(_delete(stage, namespace, report, kinds, by_hand)))
    await asyncio.gather(*going)
    await stage.reckon()
    report.wrong += _checked(stage)
    report.unreached = stage.unreached
    report.seconds = time.monotonic() - start
    return report


def _batches(trials: Sequence[Row], most: int) -> Iterator[Sequence[Row]]:
    """Cases written by hand name objects, so that one way follows the other; generated ones are mixed."""
    for _, group in itertools.groupby(trials, lambda each: "" if each[0].group == "generated" else each[1]):
        found = list(group)
        parts = math.ceil(len(found) / most)
        size = math.ceil(len(found) / parts)
        yield from (found[at : at + size] for at in range(0, len(found), size))


def _checked(stage: Stage) -> list[str]:
    stage.check()
    found, stage.wrong = stage.wrong, []
    return found


async def _batch(stage: Stage, namespace: str, trials: Sequence[Row], report: Report) -> list[Verdict]:
    tries = Tries(stage, namespace)
    await tries.prepare(_needed(trials))
    await stage.reckon()
    stage.calls.clear()
    gate = asyncio.Semaphore(8)

    async def one(case: Case | Transition, way: str) -> Trial:
        async with gate:
            return await tries.apply(case, way)

    tried = await asyncio.gather(*(one(case, way) for case, way in trials))
    await _healthy(stage, namespace, report)
    sure = [each for each in tried if each.refused is None and each.settles and not _may_stay(each)]
    await stage.view.until(lambda: stage.listen() or all(_settled(stage, each) for each in sure), SETTLE_SECONDS)
    verdicts = [judge(stage, each) for each in tried]
    await stage.reckon()
    for each in verdicts:
        _calls(stage, each, report)
    return verdicts


def _needed(trials: Iterable[Row]) -> dict[str, int]:
    """Good objects to make in advance: one for each that is written over, and some to be refused updates."""
    wanted = Counter({TASK: 4, DATASET: 2, SELECTION: 2})
    for case, way in trials:
        kind = TASK if case.kind in (JOB, POD) else case.kind
        if kind not in PLURALS:
            continue
        over = case.running if isinstance(case, Case) else way != "create"
        wanted[kind] += over and (way == STORAGE or isinstance(case, Transition) or case.kind in (JOB, POD))
        wanted[kind] += way == UPDATE and isinstance(case, Case) and not case.refused and case.kind in PLURALS
    return dict(wanted)


async def _healthy(stage: Stage, namespace: str, report: Report) -> None:
    """A good spec works after all that, and stands behind it in the operator's queue."""
    start = time.monotonic()
    await stage.teams.task(namespace, "healthy")
    there = lambda: stage.view.get(JOBS, namespace, "healthy-1") is not None  # noqa: E731
    if not await stage.view.until(there, HEALTHY_SECONDS):
        report.wrong.append(f"a good task in {namespace} got no Job within {HEALTHY_SECONDS:.0f} s")
    report.healthy.append(time.monotonic() - start)


def _may_stay(trial: Trial) -> bool:
    return UNTOUCHED in trial.case.ends


def _settled(stage: Stage, trial: Trial) -> bool:
    """A dataset that was accepted has a version, of which the broker tells a moment later."""
    word = _word(stage, trial)
    return word not in {"", NO_VERSION} or word in trial.case.ends


def _word(stage: Stage, trial: Trial) -> str:
    """What the operator says about it by now; empty: nothing."""
    place = (PLURALS[trial.kind], trial.namespace, trial.name)
    if place in stage.alarms:
        return ALARM
    item = stage.view.items.get(place)
    if item is None:
        return GONE
    if trial.uid and item["metadata"]["uid"] != trial.uid and trial.existed:
        return GONE
    status = item.get("status")
    if not isinstance(status, dict) or status.get("observedGeneration") != item["metadata"].get("generation"):
        return ""
    return _reason(item, status)


def _reason(item: Object, status: Object) -> str:
    if item["kind"] == DATASET:
        found = status.get("conditions")
        ready = [each for each in found if each.get("type") == "Ready"] if isinstance(found, list) else []
        return str(ready[0].get("reason")) if ready else ""
    return str(status.get("reason") or "")


def _is_ok(word: str) -> bool:
    known = REASONS.get(word)
    return known is not None and (known.outcome is Outcome.ACTIVE or known is Reason.PODS_PENDING)


def judge(stage: Stage, trial: Trial) -> Verdict:
    """What came of it, and what of that should not be."""
    case = trial.case
    if trial.code >= 500:
        return Verdict(trial, "refused", "refused", f"the API server failed: {trial.code} {trial.refused}")
    if trial.refused is not None:
        return Verdict(trial, "refused", "refused", _misspoken(trial))
    word = _word(stage, trial) or UNTOUCHED
    verdict = Verdict(trial, _column(word), word)
    if isinstance(case, Case) and case.refused not in ("", MAYBE) and trial.way != STORAGE:
        verdict.wrong = f"was accepted: {word}"
        return verdict
    if case.kind in (JOB, POD) and word == UNTOUCHED:
        word = OK
    if ANY not in case.ends and word not in case.ends and not (OK in case.ends and _is_ok(word)) and word != OK:
        verdict.wrong = f"ended as {word}; expected {', '.join(case.ends)}"
    children = owned(stage.view, trial.kind, trial.namespace, trial.uid) if trial.uid else []
    if children and not trial.existed and verdict.column in ("terminal", "alarm"):
        verdict.wrong = f"has a child: {children[0]['metadata']['name']} ({word})"
    live = [each for each in children if trial.kind == TASK and _is_live(each)]
    if len(live) > 1:
        verdict.wrong = f"has {len(live)} Jobs that run at once"
    return verdict


def _misspoken(trial: Trial) -> str:
    """What is wrong with the words of a refusal."""
    case, words = trial.case, trial.refused or ""
    if isinstance(case, Transition) or case.refused == MAYBE or case.kind in (JOB, POD):
        return ""
    if "metadata/name" in case.change:
        return ""
    if trial.way == UPDATE and any(f"spec.{each} is frozen" in words for each in case.fields):
        return ""
    if trial.way == UPDATE and "format cannot change" in words:
        return ""
    if not case.refused:
        return f"was refused: {words[:300]}"
    return "" if case.refused in words else f"the refusal does not name {case.refused}: {words[:300]}"


def _column(word: str) -> str:
    if word == ALARM:
        return "alarm"
    known = REASONS.get(word)
    if known is None or _is_ok(word):
        return "harmless"
    return "terminal" if known.outcome in (Outcome.TERMINAL,) else "waiting"


def _is_live(job: Object) -> bool:
    ended = any(each.get("status") == "True" for each in (job.get("status") or {}).get("conditions") or ())
    return not ended and job["spec"].get("suspend") is not True


def _calls(stage: Stage, verdict: Verdict, report: Report) -> None:
    trial = verdict.trial
    found: Counter[str] = Counter()
    for (namespace, name, lane), count in stage.calls.items():
        if namespace == trial.namespace and (name == trial.name or name.startswith(f"{trial.name}-")):
            found[lane] += count
    report.writes, report.reads = max(report.writes, found["writes"]), max(report.reads, found["reads"])
    if found["writes"] > MOST_WRITES + 4 * trial.edits or found["reads"] > MOST_READS:
        verdict.wrong = verdict.wrong or f"the operator wrote {found['writes']} and read {found['reads']} times"


async def _delete(stage: Stage, namespace: str, report: Report, kinds: Sequence[str], by_hand: bool) -> None:
    """Everything of ours in it is deleted, and all goes; finalizers of strangers are theirs to remove. `by_hand`: Jobs
    that were made to know no owner are deleted too."""
    for plural in FOLLOWED:
        for item in stage.view.of(plural, namespace):
            if any("/" in each and "collabspace" not in each for each in item["metadata"].get("finalizers") or ()) and (
                by_hand or plural != PODS
            ):
                path = api_path(plural, namespace, item["metadata"]["name"])
                await stage.door.merge(path, {"metadata": {"finalizers": None}})
    for plural in (PLURALS[SELECTION], PLURALS[TASK], PLURALS[DATASET], *([JOBS, PODS] if by_hand else [])):
        await stage.door.send("DELETE", api_path(plural, namespace))

    start = time.monotonic()

    def left() -> list[Place]:
        return [place for place in stage.view.items if place[1] == namespace and place[0] in kinds]

    if not await stage.view.until(lambda: not left(), DELETE_SECONDS):
        report.wrong.append(f"{len(left())} objects did not go within {DELETE_SECONDS:.0f} s: {left()[:6]}")
    report.deleted.append(time.monotonic() - start)
    for place in [each for each in stage.alarms if each[1] == namespace]:
        stage.alarms.discard(place)
