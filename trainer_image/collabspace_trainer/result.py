"""The result folder: every file of a run, and DONE with their hashes last, so that half a result is known as such."""

import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from collabspace.api.catalogue import Purpose
from collabspace.api.manifest import Manifest, Split
from collabspace.api.report import Report
from collabspace_trainer import card, report_text
from collabspace_trainer.errors import ConfigError
from collabspace_trainer.evaluation.evaluation import Evaluation
from collabspace_trainer.file_entries import file_entries
from collabspace_trainer.identity import processor
from collabspace_trainer.registry import Predictor
from collabspace_trainer.session import Session
from collabspace_trainer.spec import parents

DONE = "DONE"
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "scikit-learn", "numpy", "pyarrow", "collabspace")


def write_result(
    folder: Path, session: Session, report: Report, measured: Mapping[Split, Evaluation], predictor: Predictor
) -> Manifest:
    """Writes the folder, which must be missing or empty, and returns the manifest under which it is published."""
    check_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    document = session.plan.document
    match session.plan.purpose:
        case Purpose.TRAINING:
            (folder / "model").mkdir()
            predictor.save(folder / "model")
            (folder / "card.md").write_text(card.render(report, document))
        case Purpose.COMPARISON:
            predictor.save(folder)
    _write_json(folder / "run.json", document.model_dump(mode="json", by_alias=True, exclude_none=True))
    _write_json(folder / "metrics.json", report.model_dump(mode="json", by_alias=True, exclude_none=True))
    _write_json(folder / "environment.json", environment())
    (folder / "report.txt").write_text(report_text.render(report))
    _write_lines(folder / "curve.jsonl", session.course.curve)
    for split, evaluation in measured.items():
        _write_records(folder, split, evaluation)
    files = file_entries(folder)
    done = {"files": [{"path": file.path, "sha256": file.sha256, "bytes": file.bytes} for file in files]}
    _write_json(folder / DONE, done)
    return Manifest(
        owner_uid=document.task.uid,
        format="Result",
        files=file_entries(folder),
        labels=list(document.training.labels),
        parents=parents(document),
    )


def check_empty(folder: Path) -> None:
    """Raises ConfigError when the folder exists with something in it: results never mix."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out {folder.name} is not empty; name a new folder")


def environment() -> dict[str, Any]:
    """Versions and machine type, on which bit-equal results depend; nothing that names a host or a person."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }


def _write_records(folder: Path, split: Split, evaluation: Evaluation) -> None:
    if evaluation.counts:
        for name in ("predictions", "counts"):
            (folder / name).mkdir(exist_ok=True)
    for dataset, rows in evaluation.predictions.items():
        _write_lines(folder / "predictions" / f"{dataset}-{split}.jsonl", rows)
    for dataset, arrays in evaluation.counts.items():
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, folder / "counts" / f"{dataset}-{split}.safetensors")


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w") as sink:
        for row in rows:
            sink.write(json.dumps(row, ensure_ascii=False) + "\n")
