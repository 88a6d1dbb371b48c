"""Result folders of classifiers as runs leave them, made from what they would have predicted."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from collabspace.api.manifest import Split
from collabspace.api.report import DatasetFacts, ExecutionFacts, Report
from collabspace.api.run import MetricName, Role
from collabspace_trainer import registry, spec
from collabspace_trainer.evaluation import classes

LABELS = ["bad", "good"]
VERSION = "sha256:" + "7" * 64
EXECUTION = ExecutionFacts(
    device="cpu", simulated_gpu=False, precision="Float32", threads=1, attempt=1, seconds=1, cpu_seconds=1,
    gpu_seconds=0, peak_memory_bytes=1, parameters=1, steps=0, total_steps=0, batch_size=0, micro_batch_size=0,
)  # fmt: skip


def log_probabilities(right: NDArray[np.bool_], gold: NDArray[np.intp], sure: float = 0.9) -> NDArray[np.float64]:
    """[records, 2] of a classifier that is right where `right` says so, always equally sure."""
    guess = np.where(right, gold, 1 - gold)
    return np.log(np.where(np.arange(2) == guess[:, None], sure, 1 - sure))


def store(
    folder: Path,
    gold: NDArray[np.intp],
    logs: NDArray[np.float64],
    labels: Sequence[str] = LABELS,
    digest: str = VERSION,
    groups: NDArray[np.int64] | None = None,
) -> Path:
    """The result of a text classifier measured on the test split of one dataset."""
    registry.load()
    measured = classes.evaluate(
        {"films": (gold, logs)}, labels, Split.TEST, True, None if groups is None else {"films": groups}
    )
    records = {Split.TEST: len(gold)}
    facts = DatasetFacts(name="films", owner="team/films", digest=digest, role=Role.TRAIN, records=records)
    report = Report(
        task="TextClassification", method="LogisticRegression", seed=1, headline=MetricName.ACCURACY, datasets=[facts],
        scorer=registry.TASKS["TextClassification"].scorer, metrics=measured.metrics, losses=[], execution=EXECUTION,
    )  # fmt: skip
    (folder / "counts").mkdir(parents=True)
    (folder / "metrics.json").write_text(report.model_dump_json(by_alias=True))
    dataset = {"name": "films", "owner": "team/films", "uid": "u", "digest": digest, "role": "Train"}
    training: dict[str, Any] = {"task": "TextClassification", "method": "LogisticRegression", "seed": 1}
    training |= {"parameters": {}, "labels": list(labels), "datasets": [dataset]}
    document = {"task": {"namespace": "team", "name": "run", "uid": "r"}, "training": training}
    (folder / "run.json").write_text(spec.parse(json.dumps(document)).model_dump_json(by_alias=True, exclude_none=True))
    save_file(measured.counts["films"], folder / "counts" / "films-test.safetensors")
    finish(folder)
    return folder


def finish(folder: Path) -> None:
    """Writes DONE, as the last file of a result."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "DONE"]
    listed = [
        {
            "path": path.relative_to(folder).as_posix(),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in files
    ]
    (folder / "DONE").write_text(json.dumps({"files": listed}))
