"""Short opinions in three classes, and trainings of them inside the test's own process: no start-up to pay for."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sklearn.ensemble  # noqa: F401 its threads are limited below
import torch
from threadpoolctl import threadpool_limits

from collabspace.api.manifest import DatasetFormat
from collabspace.api.run import Role
from collabspace.formats import SplitRule, prepare
from collabspace_trainer import spec
from collabspace_trainer.checkpoints import Checkpoints
from collabspace_trainer.course import Course
from collabspace_trainer.events import Events
from collabspace_trainer.pulse import Pulse
from collabspace_trainer.runtime import Meter, Runtime
from collabspace_trainer.session import Session
from collabspace_trainer.stop import Stop
from collabspace_trainer.versions import Version

# More threads than there are cores to spare cost an order of magnitude; a run sets them before it imports anything.
torch.set_num_threads(1)
threadpool_limits(1)
HERE = Runtime("cpu", "Float32", 1, simulated_gpu=False)
WORDS = {
    "good": ["superb", "moving", "witty", "graceful"],
    "bad": ["dull", "clumsy", "hollow", "tedious"],
    "mixed": ["uneven", "long", "curious", "odd"],
}
FILLERS = ["the", "film", "is", "and", "a", "story", "of", "its", "actors", "scenes"]
RARE = "Zyxgrub"
Records = list[dict[str, Any]]


def opinions(count: int, seed: int, labels: Sequence[str] = tuple(WORDS)) -> Records:
    """Each has two words of its class among fillers, and a number that makes it unlike all others."""
    generator = random.Random(seed)
    records = []
    for number in range(count):
        label = labels[number % len(labels)]
        words = generator.choices(FILLERS, k=generator.randint(3, 12)) + generator.choices(WORDS[label], k=2)
        generator.shuffle(words)
        records.append({"text": f"{' '.join(words)}, {seed}x{number}.", "label": label, "group": f"p{number // 2}"})
    return records


def write(folder: Path, splits: Mapping[str, Records]) -> Path:
    """A raw dataset."""
    folder.mkdir(parents=True)
    for name, records in splits.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def films(folder: Path, seed: int, labels: Sequence[str] = tuple(WORDS)) -> Path:
    """Three splits; four training texts name somebody."""
    train = opinions(150, 10 * seed, labels)
    for record in train[:4]:
        record["text"] += f" by {RARE}"
    return write(folder, {"train": train, "dev": opinions(30, 10 * seed + 1, labels),
                          "test": opinions(60, 10 * seed + 2, labels)})  # fmt: skip


def version(source: Path, role: Role = Role.TRAIN) -> Version:
    canonical = source.parent / f"{source.name}-canonical"
    made = prepare(source, DatasetFormat.TEXT_CLASSIFICATION, canonical, owner_uid="d1", split=SplitRule())
    return Version(source.name, f"ward/{source.name}", role, canonical, made.manifest)


def session(folder: Path, method: str, versions: Sequence[Version], **changes: Any) -> tuple[Session, Any]:
    """A run about to train, and its corpus."""
    training = {"task": "TextClassification", "method": method, "seed": 3, **changes}
    training["datasets"] = [{"name": one.name, "role": one.role} for one in versions]
    file = folder / f"{method}.json"
    file.write_text(json.dumps({"training": training, "execution": {"threads": 1}}))
    document = spec.complete(spec.from_file(file), {one.name: one.manifest for one in versions}, None)
    plan, events, course, stop = spec.plan(document), Events(), Course(), Stop()
    made = Session(
        plan=plan,
        runtime=HERE,
        events=events,
        pulse=Pulse(events, course),
        stop=stop,
        meter=Meter(document.execution),
        course=course,
        checkpoints=Checkpoints("a" * 64, folder / "checkpoints", "Nowhere", document.execution, stop, events),
        model_folder=None,
    )
    return made, plan.task.implementation.load(plan, versions)
