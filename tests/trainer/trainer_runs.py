"""Runs of the real command in its own process, and generated data small enough for them."""

import csv
import io
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer_template import Forked

from collabspace.api.report import Report
from collabspace.api.run import TERMINATION_LOG_VARIABLE, EndRecord

ENCODER = {"epochs": 6, "hiddenSize": 32, "learningRate": "0.004", "maxLength": 32, "dropout": "0"}
TIMEOUT_SECONDS = 240
DRUGS = [stem + end for stem in ("alpra", "beno", "cori", "doxa", "feno", "glipi") for end in ("mab", "statin", "pril")]
DISEASES = [
    root + end for root in ("neph", "hepat", "derm", "arthr", "gastr", "mye") for end in ("itis", "oma", "osis")
]
PLACES = ["ward", "clinic", "unit", "theatre"]
TEMPLATES = [
    ("the patient with {} was given {} today", ("Disease", "Drug")),
    ("we saw {} and stopped {}", ("Disease", "Drug")),
    ("{} was found on the scan", ("Disease",)),
    ("please continue {} until the next visit", ("Drug",)),
    ("no change since the last visit", ()),
]
TERMS = {"Disease": DISEASES, "Drug": DRUGS, "Place": PLACES}


def conll(sentences: int, seed: int, templates: list[tuple[str, tuple[str, ...]]] = TEMPLATES) -> str:
    """Tagged sentences in CoNLL columns; two words precede each so that few are equal."""
    generator = random.Random(seed)
    blocks = []
    for number in range(sentences):
        template, kinds = generator.choice(templates)
        slots = iter(kinds)
        rows = [f"note\tO\nn{seed}x{number}\tO\n"]
        for word in template.split():
            if word != "{}":
                rows.append(f"{word}\tO\n")
                continue
            kind = next(slots)
            rows.append(
                f"{generator.choice(['acute', 'severe'])}\tB-{kind}\n{generator.choice(TERMS[kind])}\tI-{kind}\n"
            )
        blocks.append("".join(rows))
    return "\n".join(blocks)


def notes(
    folder: Path, seed: int, sentences: int = 240, templates: list[tuple[str, tuple[str, ...]]] = TEMPLATES
) -> Path:
    """A raw dataset with three splits."""
    folder.mkdir(parents=True)
    for index, (split, size) in enumerate(
        (("train", sentences), ("validation", sentences // 4), ("test", sentences // 4))
    ):
        (folder / f"{split}.conll").write_text(conll(size, 10 * seed + index, templates))
    return folder


def table(folder: Path, seed: int, rows: int = 400, number: bool = False) -> Path:
    """A raw table whose target follows from its columns but for some noise; a tenth of `dose` is missing."""
    generator = random.Random(seed)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["dose", "age", "site", "smoker", "outcome"])
    for _ in range(rows):
        dose, age = generator.gauss(5, 2), generator.gauss(60, 10)
        site, smoker = generator.choice(["north", "south"]), generator.choice(["true", "false"])
        risk = 0.8 * (dose - 5) + 0.1 * (age - 60) + (1.5 if site == "north" else 0) + generator.gauss(0, 0.5)
        shown = "" if generator.random() < 0.1 else f"{dose:.4f}"
        outcome = f"{risk:.4f}" if number else ("ill" if risk > 0.7 else "well")
        writer.writerow([shown, f"{age:.4f}", site, smoker, outcome])
    folder.mkdir(parents=True)
    (folder / "table.csv").write_text(text.getvalue())
    return folder


def document(task: str, method: str, datasets: list[dict[str, str]], **changes: Any) -> dict[str, Any]:
    """A run file; `parameters`, `execution` and fields of `training` may be given."""
    execution = {"threads": 1, **changes.pop("execution", {})}
    training = {"task": task, "method": method, "datasets": datasets, "seed": 3, **changes}
    return {"training": training, "execution": execution}


@dataclass(frozen=True)
class Finished:
    """A run that ended: its exit code, what it said on stdout and stderr, its termination message, its folder."""

    code: int
    events: list[dict[str, Any]]
    errors: str
    end: EndRecord
    out: Path

    @property
    def report(self) -> Report:
        return Report.model_validate_json((self.out / "metrics.json").read_bytes())

    def decisions(self, name: str) -> list[Any]:
        return [event["value"] for event in self.events if event["event"] == "decision" and event["name"] == name]


Process = subprocess.Popen[str] | Forked


class Command:
    """`collabspace-trainer train` about to run in its own process, with its files below one folder.

    A `fresh` one is started as users start it, with all its imports; others are forked from a process that has them.
    """

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder = folder
        self.fresh = fresh
        self.out = folder / "result"
        self._message = folder / "termination-message"
        self.environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(folder),
            TERMINATION_LOG_VARIABLE: str(self._message),
            "PYTHONWARNINGS": "error::DeprecationWarning:collabspace_trainer",
        }

    def start(self, *arguments: str) -> Process:
        if not self.fresh:
            return Forked(["train", *arguments], self.environment, self.folder / "stderr.txt")
        return subprocess.Popen(
            [sys.executable, "-m", "collabspace_trainer.cli", "train", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_local(
        self,
        run: dict[str, Any],
        data: dict[str, Path],
        model: Path | None = None,
        target: str | None = None,
        checkpoints: Path | None = None,
    ) -> Process:
        file = self.folder / "run.json"
        file.write_text(json.dumps(run))
        options = [f"--data={name}={path}" for name, path in data.items()]
        options += [f"--model={model}"] if model else []
        options += [f"--target={target}"] if target else []
        options += [f"--checkpoints={checkpoints}"] if checkpoints else []
        return self.start("--run", str(file), *options, "--out", str(self.out))

    def read_until(self, process: Process, text: str) -> str:
        """What the run has said when the text comes, for `finish`."""
        read = ""
        assert process.stdout is not None
        while text not in read:
            line = process.stdout.readline()
            assert line, read
            read += line
        return read

    def finish(self, process: Process, read_already: str = "") -> Finished:
        try:
            output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        finally:
            process.kill()  # only one that hangs still lives
            process.wait()
        assert process.returncode is not None
        events = [json.loads(line) for line in (read_already + output).splitlines()]
        end = EndRecord.model_validate_json(self._message.read_bytes())
        return Finished(process.returncode, events, errors, end, self.out)

    def run_local(
        self, run: dict[str, Any], data: dict[str, Path], model: Path | None = None, target: str | None = None
    ) -> Finished:
        return self.finish(self.start_local(run, data, model, target))
