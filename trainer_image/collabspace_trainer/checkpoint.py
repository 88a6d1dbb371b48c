"""A checkpoint on disk: tensors.safetensors, state.json, and COMPLETE with their hashes, written last.

Whoever reads one believes nothing: it went through other hands, and a wrong byte would train on unnoticed.
"""

import errno
import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from collabspace.api.manifest import FileEntry, Frozen
from collabspace.formats.strict_json import JSONProblem, parse
from collabspace_trainer.course import Stopped
from collabspace_trainer.errors import BrokenCheckpointError
from collabspace_trainer.file_entries import file_entries, sha256_of

TENSORS = "tensors.safetensors"
STATE = "state.json"
COMPLETE = "COMPLETE"
MAX_JSON_BYTES = 32 << 20
WORD = 2**32


class Circumstances(Frozen):
    """How a training was executed: where two differ, resuming is right but not equal to the bit."""

    device: str = Field(max_length=16)
    precision: str = Field(max_length=16)
    threads: int = Field(ge=1)
    micro_batch_size: int = Field(alias="microBatchSize", ge=1)
    processor: str = Field(max_length=256)


class PythonRandom(Frozen):
    """State of `random`."""

    words: list[int] = Field(min_length=625, max_length=625)
    gauss: float | None = None


class NumpyRandom(Frozen):
    """State of numpy's global generator (MT19937)."""

    words: list[int] = Field(min_length=624, max_length=624)
    position: int = Field(ge=0, le=624)
    has_gauss: int = Field(alias="hasGauss", ge=0, le=1)
    gauss: float


class State(Frozen):
    """All of a training that is no tensor. Names are those of Course and Keeper."""

    schema_: Literal["v1alpha1"] = Field(default="v1alpha1", alias="schema")
    identity: str = Field(pattern=r"^[0-9a-f]{64}$")
    step: int = Field(ge=0)
    epoch: int = Field(ge=0)
    position: int = Field(ge=0)
    finished: bool
    stopped: Stopped
    rollbacks: int = Field(ge=0, le=1)
    recent: list[float] = Field(max_length=1_000_000)
    curve: list[dict[str, int | float]] = Field(max_length=10_000)
    best: float
    since: int = Field(ge=0)
    cpu_seconds: float = Field(alias="cpuSeconds", ge=0, allow_inf_nan=False)
    gpu_seconds: float = Field(alias="gpuSeconds", ge=0, allow_inf_nan=False)
    hyperparameters: list[dict[str, Any]] = Field(max_length=64)
    circumstances: Circumstances
    bit_equal: bool = Field(alias="bitEqual", description="No earlier resume changed the circumstances.")
    python: PythonRandom
    numpy: NumpyRandom


class _Complete(Frozen):
    files: list[FileEntry] = Field(max_length=16)


@dataclass(frozen=True)
class Checkpoint:
    """Tensors are named `model.NAME`, `best.NAME`, `optimizer.INDEX.NAME` and `random.DEVICE`."""

    state: State
    tensors: dict[str, torch.Tensor]


def write(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes the folder, which must not exist; without COMPLETE nobody takes it for a checkpoint. Raises OSError."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        save_file(checkpoint.tensors, partial / TENSORS)
    except SafetensorError as error:  # what the disk said is in its text alone
        raise OSError(errno.EIO, TENSORS) from error
    state = checkpoint.state.model_dump(by_alias=True)
    (partial / STATE).write_text(json.dumps(state))
    for name in (TENSORS, STATE):
        _sync(partial / name)
    _sync(partial)
    partial.rename(folder)
    files = [file.model_dump(mode="json", exclude_none=True) for file in file_entries(folder)]
    unnamed = folder.with_name(f"{folder.name}.complete")
    unnamed.write_text(json.dumps({"files": files}))
    _sync(unnamed)
    unnamed.rename(folder / COMPLETE)
    _sync(folder)
    _sync(folder.parent)


def read(folder: Path, identity: str) -> Checkpoint:
    """A checkpoint of this training, with every hash checked. Raises BrokenCheckpointError."""
    for path in (folder, *(folder / name for name in (COMPLETE, STATE, TENSORS))):
        if path.is_symlink() or not path.exists() or path.is_dir() is not (path is folder):
            raise BrokenCheckpointError(f"{path.name} is missing, or a link")
    try:
        complete = _Complete.model_validate(_json(folder / COMPLETE))
        if sorted(file.path for file in complete.files) != [STATE, TENSORS]:
            raise BrokenCheckpointError(f"{COMPLETE} names other files than {STATE} and {TENSORS}")
        for file in complete.files:
            if sha256_of(folder / file.path) != file.sha256:
                raise BrokenCheckpointError(f"{file.path} has other bytes than {COMPLETE} names")
        state = State.model_validate(_json(folder / STATE))
        tensors = load_file(folder / TENSORS)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, item["loc"]))[:64] for item in error.errors()[:3])
        raise BrokenCheckpointError(f"these fields are not as they should be: {fields}") from None
    except (OSError, SafetensorError, JSONProblem, UnicodeDecodeError) as error:
        raise BrokenCheckpointError(f"a file cannot be read ({type(error).__name__})") from None
    if state.identity != identity:
        raise BrokenCheckpointError("it is of another training, or of other library versions")
    if not all(math.isfinite(loss) for loss in state.recent):
        raise BrokenCheckpointError(f"{STATE} has a loss that is not finite")
    words = [*state.python.words[:624], *state.numpy.words]
    if not all(0 <= word < WORD for word in words) or not 0 <= state.python.words[624] <= 624:
        raise BrokenCheckpointError(f"{STATE} has a random state out of range")
    return Checkpoint(state, tensors)


def _json(path: Path) -> object:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise BrokenCheckpointError(f"{path.name} is larger than {MAX_JSON_BYTES} bytes")
    return parse(path.read_text(), numbers=True)


def _sync(path: Path) -> None:
    """What is written survives a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
