"""A checkpoint holds all that the next step depends on; what does not fit is refused before it touches anything."""

import hashlib
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from broker_edge import Store, serving
from safetensors.torch import load_file, save_file
from torch import nn

from collabspace.api.manifest import DatasetFormat, Manifest
from collabspace.api.run import Execution, RunDocument
from collabspace.client.client import BrokerClient
from collabspace_trainer import checkpoint, loop
from collabspace_trainer.checkpoint import COMPLETE, STATE, TENSORS, Circumstances
from collabspace_trainer.checkpoints import Checkpoints, Place
from collabspace_trainer.course import Course
from collabspace_trainer.errors import BrokenCheckpointError
from collabspace_trainer.events import Events
from collabspace_trainer.keeper import Keeper
from collabspace_trainer.remote_checkpoints import RemoteCheckpoints
from collabspace_trainer.runtime import Meter
from collabspace_trainer.snapshot import Training
from collabspace_trainer.stop import Stop

IDENTITY = "a" * 64
HERE = Circumstances(device="cpu", precision="Float32", threads=1, micro_batch_size=4, processor="here")
Change = Callable[[Path], None]


def make(optimizer: str = "AdamW", circumstances: Circumstances = HERE, width: int = 8) -> Training:
    """A training of 5 epochs with 2 steps each that has not begun, with weights of its own."""
    model = nn.Sequential(nn.Linear(4, width), nn.Dropout(0.3), nn.Linear(width, 2))
    rules = loop.Recipe(5, 8, 4, 0.01, optimizer, "Constant", 0.0, 0.1, 1.0, 3, 0)
    keeper = Keeper(3, model)
    made = loop.make_optimizer(model, rules)
    return Training(IDENTITY, model, made, keeper, Course(total_steps=10), Meter(Execution()), circumstances, 2)


def steps(training: Training, count: int) -> list[float]:
    """Real steps on data drawn from all three generators."""
    losses = []
    for _ in range(count):
        inputs = torch.randn(8, 4) + random.random() + float(np.random.rand())
        loss = training.model(inputs).square().sum()
        loss.backward()
        training.optimizer.step()
        training.optimizer.zero_grad(set_to_none=True)
        course = training.course
        course.step += 1
        course.epoch, course.position = divmod(course.step, 2)
        course.recent.append(loss.item())
        losses.append(loss.item())
    training.keeper.enough(-losses[-1])
    return losses


def weights(training: Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.model.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_of_a_gpu_is_gone_on_from_where_there_is_none(tmp_path: Path) -> None:
    training = make()
    steps(training, 3)
    training.write(tmp_path / "here")
    kept = checkpoint.read(tmp_path / "here", IDENTITY)
    there = HERE.model_copy(update={"device": "cuda"})
    state = kept.state.model_copy(update={"circumstances": there})
    tensors = {**kept.tensors, "random.cuda0": torch.zeros(16, dtype=torch.uint8)}
    checkpoint.write(checkpoint.Checkpoint(state, tensors), tmp_path / "there")
    expected = steps(training, 3)
    other = make()
    other.read(tmp_path / "there")
    assert not other.bit_equal
    assert steps(other, 3) == expected
    assert equal(weights(other), weights(training))


@pytest.mark.parametrize("optimizer", ["AdamW", "Adam", "Adafactor", "SGD"])
def test_steps_after_a_checkpoint_are_the_same_to_the_bit(tmp_path: Path, optimizer: str) -> None:
    first = make(optimizer)
    steps(first, 3)
    first.write(tmp_path / "kept")
    expected = steps(first, 3)
    second = make(optimizer)
    second.read(tmp_path / "kept")
    assert (second.course.step, second.course.epoch, second.course.position) == (3, 1, 1)
    assert steps(second, 3) == expected
    assert equal(weights(first), weights(second))
    assert first.keeper.best == second.keeper.best
    assert second.bit_equal


def test_another_micro_batch_or_machine_is_resumed_but_never_again_called_equal(tmp_path: Path) -> None:
    first = make()
    steps(first, 2)
    first.write(tmp_path / "kept")
    halved = make(circumstances=HERE.model_copy(update={"micro_batch_size": 2}))
    halved.read(tmp_path / "kept")
    assert not halved.bit_equal
    halved.write(tmp_path / "again")
    third = make(circumstances=halved.circumstances)
    third.read(tmp_path / "again")
    assert not third.bit_equal


def rewrite(folder: Path, tensors: dict[str, Any] | None = None, state: dict[str, Any] | None = None) -> None:
    """The folder with changed content under hashes that fit: what somebody does who wants to be believed."""
    if tensors:
        save_file({**load_file(folder / TENSORS), **tensors}, folder / TENSORS)
    (folder / STATE).write_text(json.dumps({**json.loads((folder / STATE).read_text()), **(state or {})}))
    bless(folder)


def bless(folder: Path) -> None:
    files = [
        {"path": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(), "bytes": 1}
        for name in (STATE, TENSORS)
    ]
    (folder / COMPLETE).write_text(json.dumps({"files": files}))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    bless(path.parent)


def to_link(path: Path) -> None:
    target = path.rename(path.with_name(f"{path.name}-elsewhere"))
    path.symlink_to(target)


CLIMBING = b'{"files": [{"path": "../state.json", "sha256": "%s", "bytes": 1}]}' % (b"0" * 64)
NUMPY = {"words": [0] * 624, "position": 700, "hasGauss": 0, "gauss": 0.0}
BROKEN: dict[str, Change] = {
    "a flipped bit": lambda folder: flip(folder / TENSORS),
    "no COMPLETE": lambda folder: (folder / COMPLETE).unlink(),
    "a path that climbs": lambda folder: write(folder / COMPLETE, CLIMBING),
    "a link to a file": lambda folder: to_link(folder / TENSORS),
    "a link to the folder": to_link,
    "no JSON": lambda folder: put(folder / STATE, b"{"),
    "JSON without end": lambda folder: put(folder / STATE, b"[" * 100_000),
    "a pickle": lambda folder: put(folder / TENSORS, b"\x80\x04cos\nsystem\n."),
    "an unknown field": lambda folder: rewrite(folder, state={"run": "rm"}),
    "another training": lambda folder: rewrite(folder, state={"identity": "b" * 64}),
    "a later epoch": lambda folder: rewrite(folder, state={"epoch": 4}),
    "an early end": lambda folder: rewrite(folder, state={"finished": True}),
    "other hyperparameters": lambda folder: rewrite(folder, state={"hyperparameters": []}),
    "a loss that is no number": lambda folder: rewrite(folder, state={"recent": [float("nan")]}),
    "a random state beyond its table": lambda folder: rewrite(folder, state={"numpy": NUMPY}),
    "a random state of nobody": lambda folder: rewrite(folder, {"random.cpu": torch.zeros(9, dtype=torch.uint8)}),
    "weights of another shape": lambda folder: rewrite(folder, {"model.0.weight": torch.zeros(3, 4)}),
    "best weights of another shape": lambda folder: rewrite(folder, {"best.0.weight": torch.zeros(3, 4)}),
    "weights that are no numbers": lambda folder: rewrite(folder, {"model.0.bias": torch.full((8,), float("nan"))}),
    "one weight too many": lambda folder: rewrite(folder, {"model.extra": torch.zeros(1)}),
    "a part of nothing": lambda folder: rewrite(folder, {"code": torch.zeros(1)}),
    "an optimizer of more": lambda folder: rewrite(folder, {"optimizer.99.step": torch.zeros(())}),
    "an optimizer of another shape": lambda folder: rewrite(folder, {"optimizer.0.exp_avg": torch.zeros(1)}),
    "an optimizer without numbers": lambda folder: rewrite(folder, {"optimizer.0.step": torch.tensor(float("inf"))}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_checkpoint_is_refused_whole(tmp_path: Path, what: str) -> None:
    first = make()
    steps(first, 3)
    first.write(tmp_path / "kept")
    BROKEN[what](tmp_path / "kept")
    second = make()
    before, drawn = weights(second), torch.get_rng_state()
    with pytest.raises(BrokenCheckpointError):
        second.read(tmp_path / "kept")
    assert equal(weights(second), before)
    assert second.course.step == 0
    assert torch.equal(torch.get_rng_state(), drawn)


def test_a_rewritten_checkpoint_with_the_same_content_is_none_of_these(tmp_path: Path) -> None:
    first = make()
    steps(first, 3)
    first.write(tmp_path / "kept")
    rewrite(tmp_path / "kept", {"random.cpu": torch.get_rng_state()})
    second = make()
    second.read(tmp_path / "kept")
    assert second.course.step == 3


def checkpoints(folder: Path, place: Place = "Folder", stop: Stop | None = None, **execution: Any) -> Checkpoints:
    return Checkpoints(IDENTITY, folder, place, Execution(**execution), stop or Stop(), Events())


def test_the_next_older_one_is_used_and_the_broken_one_set_aside(tmp_path: Path) -> None:
    first = make()
    kept = checkpoints(tmp_path)
    kept.begin(first)
    for count in (2, 1):
        steps(first, count)
        kept.save()
    older, newest = sorted(tmp_path.iterdir())  # the one of the start had to go: two are kept
    assert (older.name[-6:], newest.name[-6:]) == ("step-2", "step-3")
    flip(newest / TENSORS)
    second = make()
    checkpoints(tmp_path).begin(second)
    assert second.course.step == 2
    assert any("set aside" in note for note in second.course.notes)
    assert newest.with_name(f"{newest.name}.broken").is_dir()
    flip(older / TENSORS)
    third = make()
    checkpoints(tmp_path).begin(third)
    assert third.course.step == 0


def test_half_a_write_is_no_checkpoint_and_goes(tmp_path: Path) -> None:
    first = make()
    kept = checkpoints(tmp_path)
    kept.begin(first)
    steps(first, 2)
    kept.save()
    newest = sorted(tmp_path.iterdir())[-1]
    shutil.copytree(newest, tmp_path / "000009-step-3.partial")
    (newest / COMPLETE).unlink()
    second = make()
    checkpoints(tmp_path).begin(second)
    assert second.course.step == 0
    assert not list(tmp_path.glob("*.partial"))


def test_resume_false_starts_again(tmp_path: Path) -> None:
    first = make()
    kept = checkpoints(tmp_path)
    kept.begin(first)
    steps(first, 2)
    kept.save()
    second = make()
    again = checkpoints(tmp_path, resume=False)
    again.begin(second)
    assert second.course.step == 0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    nothing = Manifest(owner_uid="d1", format=DatasetFormat.TABULAR, files=[])
    return Store(tmp_path, nothing, "token")


@pytest.fixture
def remote(store: Store) -> Iterator[RemoteCheckpoints]:
    run = {
        "task": {"namespace": "a", "name": "risk", "uid": "t1"},
        "training": {
            "task": "Tabular",
            "method": "NeuralNetwork",
            "seed": 0,
            "parameters": {},
            "datasets": [{"name": "d", "owner": "a/d", "uid": "d1", "digest": "sha256:" + "0" * 64, "role": "Train"}],
        },
    }
    with serving(store) as url:
        yield RemoteCheckpoints(
            RunDocument.model_validate(run),
            IDENTITY,
            lambda stop, patience: BrokerClient(url, lambda: "token", patience=patience, stop=stop),
        )


@pytest.fixture
def stop() -> Iterator[Stop]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    made = Stop()
    made.install()
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def test_leaving_saves_at_the_broker_and_another_process_goes_on(
    tmp_path: Path, store: Store, remote: RemoteCheckpoints, stop: Stop
) -> None:
    first, kept = make(), checkpoints(tmp_path / "one", remote, stop)
    kept.look()
    kept.begin(first)
    steps(first, 3)
    os.kill(os.getpid(), signal.SIGTERM)
    reference = kept.leave()
    assert reference is not None
    assert [(entry.step, entry.digest) for entry in store.checkpoints] == [(3, reference.digest)]
    expected = steps(first, 2)

    second, found = make(), checkpoints(tmp_path / "two", remote)
    found.look()
    assert found.complete == reference
    found.begin(second)
    assert steps(second, 2) == expected


def test_no_upload_begins_that_the_grace_does_not_allow(
    tmp_path: Path, store: Store, remote: RemoteCheckpoints, stop: Stop
) -> None:
    first, kept = make(), checkpoints(tmp_path / "one", remote, stop)
    kept.begin(first)
    steps(first, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    older = kept.leave()
    later, again = make(), checkpoints(tmp_path / "two", remote, stop := Stop())
    again.look()
    again.begin(later)
    steps(later, 2)
    stop.latency = 50
    assert again.leave() == older
    assert [entry.step for entry in store.checkpoints] == [1]


def test_wrong_bytes_at_the_broker_are_set_aside(tmp_path: Path, store: Store, remote: RemoteCheckpoints) -> None:
    first, kept = make(), checkpoints(tmp_path / "one", remote, checkpoint_seconds=1)
    kept.begin(first)
    for count in (1, 2):
        steps(first, count)
        kept.leave()
    assert [entry.step for entry in store.checkpoints] == [3, 1]
    newest = store.kept[store.checkpoints[0].digest]
    store.blobs[next(file.sha256 for file in newest.files if file.path == TENSORS)][-1] ^= 1
    second, found = make(), checkpoints(tmp_path / "two", remote)
    found.look()
    found.begin(second)
    assert second.course.step == 1
    assert found.complete is not None
    assert found.complete.step == 1
