"""The machine as the run sees it: threads before torch is imported, then device, number format and seeds."""

import contextlib
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from collabspace.api.run import Execution, Precision
from collabspace_trainer.events import Events

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


def usable_threads(asked: int, cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """As many as asked for, unless the container's quota or the CPUs it is bound to are fewer; at least one."""
    return max(1, min(asked, len(os.sched_getaffinity(0)), _quota(cgroup) or asked))


def _quota(cgroup: Path) -> int | None:
    """Whole CPUs that the kernel lets this container use, of either version of cgroups; None without a bound."""
    with contextlib.suppress(OSError, ValueError):
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(quota) > 0:  # "max" and -1 are no bound
            return max(1, int(quota) // int(period))
    return None


def prepare_environment(asked: int) -> None:
    """Sets what numerical libraries read while they are imported. Raises RuntimeError when torch has read other values.

    Without it they take every core of the host, which on a busy node costs an order of magnitude.
    """
    wanted = dict.fromkeys(THREAD_VARIABLES, str(usable_threads(asked)))
    if "torch" in sys.modules and wanted.items() - os.environ.items():
        raise RuntimeError("threads must be set before torch is imported")
    os.environ.update(wanted)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"


@dataclass(frozen=True)
class Runtime:
    device: Literal["cpu", "cuda"]
    precision: Literal["Float32", "BFloat16"]
    threads: int
    simulated_gpu: bool


def choose(execution: Execution, gradients: bool, events: Events) -> Runtime:
    """Device and number format, each told with its reason. Methods without gradients have no use for torch or a GPU."""
    threads = usable_threads(execution.threads)
    enough = threads == execution.threads
    reason = "the CPUs that the pod asked for" if enough else f"{execution.threads}, of which there are fewer here"
    events.decision("threads", threads, f"execution.threads, {reason}")
    if gradients:
        return _choose_for_torch(execution, threads, events)
    events.decision("device", "cpu", "the method has no use for a GPU")
    return Runtime("cpu", "Float32", threads, simulated_gpu=False)


def _choose_for_torch(execution: Execution, threads: int, events: Events) -> Runtime:
    """Imports torch and finds the device."""
    import torch

    torch.set_num_threads(threads)
    with contextlib.suppress(
        RuntimeError
    ):  # may be set once per process only; a second run in it keeps the first value
        torch.set_num_interop_threads(1)
    # On a GPU it would plan anew for every length of a batch, which costs more than a small encoder's whole training.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if execution.gpus == 0:
        events.decision("device", "cpu", "execution.gpus is 0")
        return _cpu(threads, events, simulated_gpu=False)
    if not torch.cuda.is_available():
        events.decision("device", "cpu", f"{execution.gpus} GPU asked for, none is here: the GPU is simulated")
        return _cpu(threads, events, simulated_gpu=True)
    events.decision("device", "cuda", f"{execution.gpus} GPU asked for, {torch.cuda.device_count()} found, one is used")
    asked, able = execution.precision, torch.cuda.is_bf16_supported(including_emulation=False)
    if able and asked is not Precision.FLOAT32:
        events.decision("precision", "BFloat16", "this GPU computes in it; weights stay in Float32")
        return Runtime("cuda", "BFloat16", threads, simulated_gpu=False)
    events.decision("precision", "Float32", "execution.precision" if able else "this GPU has no BFloat16")
    return Runtime("cuda", "Float32", threads, simulated_gpu=False)


def _cpu(threads: int, events: Events, simulated_gpu: bool) -> Runtime:
    """Equal runs on a CPU are equal to the bit, which checkpoints rest on; no such promise is made for GPUs."""
    import torch

    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a debugging aid, costly
    events.decision("precision", "Float32", "CPUs are slower in BFloat16")
    return Runtime("cpu", "Float32", threads, simulated_gpu)


def cpu_seconds() -> float:
    """User and system time of this process and its ended children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_gpu_memory_bytes() -> int | None:
    """Most memory of the GPU that torch has held for tensors so far; None when it has held none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_reserved())


@dataclass
class Meter:
    """Time since the start, and whether the run's own budget is spent."""

    execution: Execution
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def gpu_seconds(self) -> float:
        """GPUs held times seconds, used or not: they were nobody else's."""
        return self.seconds * self.execution.gpus

    def budget_spent(self) -> bool:
        budget = self.execution.budget
        return (budget.cpu_seconds is not None and cpu_seconds() >= budget.cpu_seconds) or (
            budget.gpu_seconds is not None and self.gpu_seconds >= budget.gpu_seconds
        )
