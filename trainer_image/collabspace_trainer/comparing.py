"""Comparison: which of several stored results is best, and by how much it is ahead of each other one.

Reads counts per record of results that were measured on the same records; what it writes are figures alone.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collabspace.api.catalogue import Method, Purpose
from collabspace.api.manifest import Split
from collabspace.api.report import DatasetFacts, Report, ReportMetric
from collabspace.api.run import MetricName, RunDocument, RunResult
from collabspace_trainer import stored_results
from collabspace_trainer.errors import ConfigError, DataError
from collabspace_trainer.evaluation.evaluation import Evaluation
from collabspace_trainer.parameters import choice, integer
from collabspace_trainer.pulse import UNBOUNDED_STALL_SECONDS, each
from collabspace_trainer.registry import method, no_model
from collabspace_trainer.spec import NAME as DATASET_NAME
from collabspace_trainer.spec import Plan
from collabspace_trainer.stored_results import COUNTS, METRICS, RUN

if TYPE_CHECKING:
    import numpy as np

    from collabspace_trainer.evaluation.comparison import Counts, Outcome
    from collabspace_trainer.evaluation.countable import Arrays, Countable, Kind
    from collabspace_trainer.session import Session

NAME = "Comparison"
MAX_COUNTS_BYTES = 2 << 30
COUNTABLE = {
    "TokenClassification": [MetricName.ENTITY_MICRO_F1, MetricName.ENTITY_MACRO_F1, MetricName.LOSS],
    "TextClassification": [MetricName.ACCURACY, MetricName.MACRO_F1, MetricName.LOG_LOSS, MetricName.LOSS],
    "Tabular": [
        MetricName.ACCURACY, MetricName.MACRO_F1, MetricName.LOG_LOSS, MetricName.RMSE, MetricName.MAE, MetricName.LOSS,
    ],
}  # fmt: skip
"""The metrics that counts per record give; the others need all records at once."""


@dataclass(frozen=True)
class Measured:
    """What one result says of one split: counts of the metric, what each record came to, and which records."""

    result: RunResult
    counts: "Counts"
    outcome: "np.ndarray[Any, Any] | None"
    records: "list[tuple[str, np.ndarray[Any, Any]]]"
    """By dataset: its digest, groups and gold, equal wherever the same records were measured."""


@dataclass(frozen=True)
class Candidates:
    """The corpus of a comparison: folders of results, with nothing to learn from or to measure."""

    headline: MetricName
    folders: Mapping[str, Path]
    facts: list[DatasetFacts] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: Mapping[Split, Mapping[str, Any]] = field(default_factory=lambda: {split: {} for split in Split})


@dataclass(frozen=True)
class Compared:
    """Stands where other methods have their predictor. `text` is comparison.json; `best` the best candidate."""

    split: Split
    evaluation: Evaluation
    text: str
    best: str
    parameters: int = 0

    def save(self, folder: Path) -> None:
        """There is no model: its figures go beside the report."""
        (folder / "comparison.json").write_text(self.text)


def read(plan: Plan, folders: Mapping[str, Path]) -> Candidates:
    return Candidates(MetricName(plan.settings.choice("metric")), folders)


def compare(corpus: Candidates, session: "Session", _score: Callable[[Any], float] | None) -> Compared:
    """Raises DataError where results do not compare, ConfigError where the metric does not come of their counts."""
    from collabspace_trainer.evaluation.comparison import compare as compare_counts

    settings = session.plan.settings
    split, goal = Split(settings.choice("split")), settings.choice("goal")
    session.pulse.enter("Prepare", UNBOUNDED_STALL_SECONDS)
    with session.stop.at_once():
        candidates, countable = gather(session.plan, corpus.folders)
    first = next(iter(candidates.values()))[0]
    corpus.facts.extend(_facts(corpus.folders[first.result.name], first, split))
    session.pulse.enter("Evaluate", UNBOUNDED_STALL_SECONDS)
    draws = settings.integer("draws")
    groups = _pooled_groups(first)
    with session.stop.at_once():
        outcome = compare_counts(
            {name: [run.counts for run in runs] for name, runs in candidates.items()},
            groups,
            countable.figure,
            goal == "Maximize",
            draws,
        )
    corpus.notes.extend(_notes(outcome, candidates))
    said = {"metric": corpus.headline, "goal": goal, "split": split, "draws": draws}
    sizes = {"records": len(groups), "groups": len(set(groups.tolist()))}
    return Compared(
        split,
        Evaluation(metrics=_rows(outcome, corpus.headline, split)),
        _json({"schema": "v1alpha1", **said, **sizes}, outcome, candidates),
        outcome.best,
    )


for _task, _metrics in COUNTABLE.items():
    method(
        Method(
            name=NAME,
            description="Compares stored results on the records that all of them were measured on; learns nothing.",
            purpose=Purpose.COMPARISON,
            parameters=[
                choice("metric", [str(metric) for metric in _metrics], "What is compared, from counts of records."),
                choice("goal", ["Maximize", "Minimize"], "Whether more or less of it is better."),
                choice("split", ["test", "validation"], "Where it was measured."),
                integer("draws", 5000, 200, 50_000, "Draws of the bootstrap that intervals rest on."),
            ],
            cost=1,
        ),
        [_task],
        no_model,
        gradients=False,
    )(compare)


def gather(plan: Plan, folders: Mapping[str, Path]) -> "tuple[dict[str, list[Measured]], Countable]":
    """Runs by candidate, all on the same records, and how their counts make the figure. Raises as `compare` does."""
    split = Split(plan.settings.choice("split"))
    found = []
    for result in each(plan.document.training.results):
        found.append(_measured(result, folders[result.name], plan, split))
        _check_same_records(found[0][0], found[-1][0])
    candidates: dict[str, list[Measured]] = {}
    for measured, _ in found:
        candidates.setdefault(measured.result.candidate, []).append(measured)
    return candidates, found[0][1]


def _measured(result: RunResult, folder: Path, plan: Plan, split: Split) -> "tuple[Measured, Countable]":
    """Raises DataError naming the result, ConfigError naming the metrics that its counts give."""
    import numpy as np

    from collabspace_trainer.evaluation.comparison import Counts

    shown, task = f"result {result.name}", plan.document.training.task
    stored_results.check_complete(shown, folder)
    report = stored_results.read(shown, folder / METRICS, Report)
    document = stored_results.read(shown, folder / RUN, RunDocument)
    if report.task != task or report.scorer != plan.task.scorer:
        raise DataError(f"{shown}: it is of task {report.task[:64]!r}, or scored otherwise; compare results of {task}")
    parts = [
        (row.digest, *_read_counts(shown, folder / COUNTS / f"{row.name}-{split}.safetensors"))
        for row in sorted(report.datasets, key=lambda row: row.digest)
        if DATASET_NAME.fullmatch(row.name) and (folder / COUNTS / f"{row.name}-{split}.safetensors").is_file()
    ]
    if not parts:
        raise DataError(f"{shown}: it holds no counts of the {split} split; choose another split or leave it out")
    kind = parts[0][2]
    wanted = MetricName(plan.settings.choice("metric"))
    countable = kind.metrics.get(wanted)
    if countable is None or any(other is not kind for _, _, other in parts):
        known = ", ".join(str(metric) for metric in kind.metrics)
        raise ConfigError(f"training.parameters.metric is {wanted}, counts of {result.name} give {known}; choose one")
    try:
        counts = Counts.joined([countable.columns(arrays) for _, arrays, _ in parts])
    except ValueError as error:
        raise DataError(f"{shown}: its counts cannot be used ({error}); leave it out") from None
    outcome = np.concatenate([kind.outcome(arrays) for _, arrays, _ in parts]) if kind.outcome else None
    records = [(digest, _identity(shown, arrays, kind, document)) for digest, arrays, _ in parts]
    return Measured(result, counts, outcome, records), countable


def _read_counts(shown: str, file: Path) -> "tuple[Arrays, Kind]":
    from safetensors.numpy import load_file

    from collabspace_trainer.evaluation.countable import kind_of

    if file.stat().st_size > MAX_COUNTS_BYTES:
        raise DataError(f"{shown}: {COUNTS}/{file.name} has more than {MAX_COUNTS_BYTES} bytes; leave it out")
    try:
        arrays = load_file(file)
        return arrays, kind_of(arrays)
    except Exception as error:  # the file is anybody's: whatever a library makes of it, it cannot be used
        why = str(error) if isinstance(error, ValueError) else type(error).__name__
        raise DataError(f"{shown}: {COUNTS}/{file.name} cannot be used ({why}); leave the result out") from None


def _identity(shown: str, arrays: "Arrays", kind: "Kind", document: RunDocument) -> "np.ndarray[Any, Any]":
    """[records, 2] of group and gold; classes by a number that is the same in all results."""
    import numpy as np

    gold = arrays[kind.gold].astype(np.int64)
    if kind.gold == "gold":
        labels = document.training.labels
        if len(labels) != arrays["logProbabilities"].shape[1]:
            raise DataError(f"{shown}: {RUN} has other labels than its counts; leave the result out")
        gold = np.array([_class_number(label) for label in labels], dtype=np.int64)[gold]
    return np.stack([arrays["group"].astype(np.int64), gold], axis=1)


def _class_number(label: str) -> int:
    """The same number for a class in all results."""
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:7], "big")


def _check_same_records(first: Measured, other: Measured) -> None:
    import numpy as np

    one, two = first.result.name, other.result.name
    if [digest for digest, _ in first.records] != [digest for digest, _ in other.records]:
        raise DataError(f"result {two}: it was measured on other versions than {one}; evaluate it on the same")
    if not all(np.array_equal(a, b) for (_, a), (_, b) in zip(first.records, other.records, strict=True)):
        raise DataError(f"result {two}: its records, groups or classes are not those of {one}; evaluate it again")


def _pooled_groups(measured: Measured) -> "np.ndarray[Any, Any]":
    import numpy as np

    parts, offset = [], 0
    for _, identity in measured.records:
        parts.append(identity[:, 0] + offset)
        offset = int(parts[-1].max()) + 1
    return np.concatenate(parts)


def _facts(folder: Path, first: Measured, split: Split) -> list[DatasetFacts]:
    digests = {digest for digest, _ in first.records}
    rows = stored_results.read(first.result.name, folder / METRICS, Report).datasets
    return [
        DatasetFacts(
            name=row.name,
            owner=row.owner,
            digest=row.digest,
            role=row.role,
            records={split: row.records.get(split, 0)},
        )
        for row in rows
        if row.digest in digests
    ]


def _notes(outcome: "Outcome", candidates: Mapping[str, Sequence[Measured]]) -> list[str]:
    notes = [f"{outcome.best} is the best; differences are its figure less the other's, above 0 where it is better"]
    if all(len(runs) == 1 for runs in candidates.values()):
        notes.append("1 run each: training noise not included")
    for name, difference in outcome.differences.items():
        share = _discordance(candidates[outcome.best][0], candidates[name][0])
        differ = "" if share is None else f"differ on {100 * share:.1f} % of records; "
        notes.append(
            f"{outcome.best} and {name}: {differ}a true difference of {difference.detectable:.4f} "
            "would be found in 80 % of such comparisons"
        )
    return notes


def _discordance(one: Measured, other: Measured) -> float | None:
    """Share of records that came to something else in the first runs of two candidates; None where all do."""
    if one.outcome is None or other.outcome is None:
        return None
    return float((one.outcome != other.outcome).mean())


def _rows(outcome: "Outcome", metric: MetricName, split: Split) -> list[ReportMetric]:
    """Differences from the closest on, then the values, the best first."""
    close = sorted(outcome.differences.items(), key=lambda item: item[1].value)
    ordered = [outcome.best, *(name for name, _ in close)]
    rows = [(MetricName.DIFFERENCE, name, outcome.differences[name]) for name in ordered[1:]]
    values = [(metric, name, outcome.values[name]) for name in ordered]
    return [
        ReportMetric(name=kind, value=found.value, label=name, split=split, low=found.low, high=found.high)
        for kind, name, found in [*rows, *values]
    ]


def _json(said: dict[str, Any], outcome: "Outcome", candidates: Mapping[str, Sequence[Measured]]) -> str:
    first = candidates[outcome.best][0]
    differences = [
        {"candidate": name, **asdict(difference), "discordance": _discordance(first, candidates[name][0])}
        for name, difference in outcome.differences.items()
    ]
    listed = [
        {
            "name": name,
            **asdict(outcome.values[name]),
            "runs": [{"name": run.result.name, "uid": run.result.uid, "digest": run.result.digest} for run in runs],
        }
        for name, runs in candidates.items()
    ]
    return json.dumps({**said, "best": outcome.best, "candidates": listed, "differences": differences}, indent=2) + "\n"
