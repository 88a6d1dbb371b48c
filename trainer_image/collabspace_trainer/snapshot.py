"""Between a training that runs and a checkpoint: takes all that the next step depends on, and puts it back."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from collabspace_trainer import checkpoint, optimizer_state
from collabspace_trainer.checkpoint import (
    Checkpoint,
    Circumstances,
    NumpyRandom,
    PythonRandom,
    State,
)
from collabspace_trainer.course import Course
from collabspace_trainer.errors import BrokenCheckpointError
from collabspace_trainer.keeper import Keeper
from collabspace_trainer.runtime import Meter, cpu_seconds

Tensors = dict[str, torch.Tensor]
GPU = "cuda0"
"""Name of the GPU's random state: training uses one."""


@dataclass
class Training:
    """A training in memory. `earlier` is CPU- and GPU-seconds of the attempts before; `bit_equal` of its resumes."""

    identity: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    keeper: Keeper
    course: Course
    meter: Meter
    circumstances: Circumstances
    batches_per_epoch: int
    earlier: tuple[float, float] = (0.0, 0.0)
    bit_equal: bool = True

    def write(self, folder: Path) -> None:
        """Keeps the present state. To be called where it is whole: between steps, or in evaluation."""
        tensors = {
            **_prefixed("model", self.model.state_dict()),
            **_prefixed("best", self.keeper.weights or {}),
            **_prefixed("optimizer", optimizer_state.pack(self.optimizer)),
            **_prefixed("random", _torch_random()),
        }
        checkpoint.write(Checkpoint(self._state(), tensors), folder)

    def read(self, folder: Path) -> None:
        """Puts a kept state back, whole or not at all. Raises BrokenCheckpointError."""
        kept = checkpoint.read(folder, self.identity)
        state, parts = kept.state, _parts(kept.tensors)
        self._check_place(state)
        _check_weights(self.model, parts["model"])
        if parts["best"]:
            _check_weights(self.model, parts["best"])
        if state.hyperparameters != optimizer_state.hyperparameters(self.optimizer):
            raise BrokenCheckpointError("the optimizer has other hyperparameters")
        if any(not bool(torch.isfinite(value).all()) for value in parts["optimizer"].values()):
            raise BrokenCheckpointError("the optimizer remembers a number that is not finite")
        optimizer = optimizer_state.unpack(self.optimizer, parts["optimizer"])
        _check_torch_random(parts["random"])
        # From here on nothing can fail any more.
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        self.keeper.weights = parts["best"] or None
        self.keeper.best, self.keeper.since = state.best, state.since
        for name in ("step", "epoch", "position", "finished", "stopped", "rollbacks"):
            setattr(self.course, name, getattr(state, name))
        self.course.recent, self.course.curve = list(state.recent), [dict(point) for point in state.curve]
        self.bit_equal = state.bit_equal and state.circumstances == self.circumstances and self.on_cpu
        self.earlier = (state.cpu_seconds, state.gpu_seconds)
        _set_random(state, parts["random"])

    def _check_place(self, state: State) -> None:
        whole = state.epoch * self.batches_per_epoch + state.position
        if state.step != whole or state.step > self.course.total_steps or state.position > self.batches_per_epoch:
            raise BrokenCheckpointError("step, epoch and position do not agree")
        if state.finished and not state.stopped and state.step < self.course.total_steps:
            raise BrokenCheckpointError("it claims to be finished before the last step")

    @property
    def on_cpu(self) -> bool:
        """GPUs add in an order of their own: nothing is promised to the bit there."""
        return self.circumstances.device == "cpu"

    def _state(self) -> State:
        version, words, gauss = random.getstate()
        assert version == 3  # noqa: S101 of all Pythons since 3.2
        _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
        course = self.course
        return State(
            identity=self.identity,
            step=course.step,
            epoch=course.epoch,
            position=course.position,
            finished=course.finished,
            stopped=course.stopped,
            rollbacks=course.rollbacks,
            recent=course.recent,
            curve=course.curve,
            best=self.keeper.best,
            since=self.keeper.since,
            cpu_seconds=self.earlier[0] + cpu_seconds(),
            gpu_seconds=self.earlier[1] + self.meter.gpu_seconds,
            hyperparameters=optimizer_state.hyperparameters(self.optimizer),
            circumstances=self.circumstances,
            bit_equal=self.bit_equal,
            python=PythonRandom(words=list(words), gauss=gauss),
            numpy=NumpyRandom(
                words=[int(word) for word in keys],
                position=int(position),
                has_gauss=int(has_gauss),
                gauss=float(cached),
            ),
        )


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    """Own copies of what shares memory, as the file format wants it; others as they are."""
    seen: set[int] = set()
    result: Tensors = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        if value.data_ptr() in seen or value.untyped_storage().nbytes() != value.nbytes:
            value = value.clone()
        seen.add(value.data_ptr())
        result[f"{prefix}.{name}"] = value
    return result


def _parts(tensors: Tensors) -> dict[str, Tensors]:
    parts: dict[str, Tensors] = {"model": {}, "best": {}, "optimizer": {}, "random": {}}
    for name, tensor in tensors.items():
        prefix, _, rest = name.partition(".")
        if prefix not in parts:
            raise BrokenCheckpointError("it has a tensor of no known part")
        parts[prefix][rest] = tensor
    return parts


def _check_weights(model: nn.Module, found: Tensors) -> None:
    expected = {name: (tuple(value.shape), value.dtype) for name, value in model.state_dict().items()}
    if {name: (tuple(value.shape), value.dtype) for name, value in found.items()} != expected:
        raise BrokenCheckpointError("weights have other names, shapes or types than the model")
    if any(not bool(torch.isfinite(value).all()) for value in found.values()):
        raise BrokenCheckpointError("a weight is not finite")


def _gpu_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _torch_random() -> Tensors:
    """Of the CPU, and of the GPU if training is on it: to ask a GPU that nobody uses takes memory of it."""
    states = {"cpu": torch.get_rng_state()}
    return {**states, GPU: torch.cuda.get_rng_state()} if _gpu_in_use() else states


def _check_torch_random(states: Tensors) -> None:
    """Tried on generators that nobody uses."""
    if "cpu" not in states:
        raise BrokenCheckpointError("the random state is missing")
    try:
        torch.Generator().set_state(states["cpu"])
        if GPU in states and _gpu_in_use():
            torch.Generator("cuda").set_state(states[GPU])
    except (RuntimeError, TypeError):
        raise BrokenCheckpointError("the random state cannot be used") from None


def _set_random(state: State, tensors: Tensors) -> None:
    random.setstate((3, tuple(state.python.words), state.python.gauss))
    numpy = state.numpy
    words = np.array(numpy.words, dtype=np.uint32)
    np.random.set_state(("MT19937", words, numpy.position, numpy.has_gauss, numpy.gauss))
    torch.set_rng_state(tensors["cpu"])
    if GPU in tensors and _gpu_in_use():
        torch.cuda.set_rng_state(tensors[GPU])
