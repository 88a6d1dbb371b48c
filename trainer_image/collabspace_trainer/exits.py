"""The one place where an exception becomes an exit code, and where the end record is written."""

import errno
import hashlib
import os
import traceback
from dataclasses import dataclass
from pathlib import Path

from collabspace.api.run import (
    MAX_TERMINATION_BYTES,
    TERMINATION_LOG,
    TERMINATION_LOG_VARIABLE,
    EndRecord,
    ExitCode,
)
from collabspace.client.errors import AccessRefused, BrokerError, BrokerUnavailable
from collabspace.formats import FormatError
from collabspace_trainer import runtime
from collabspace_trainer.errors import RunError
from collabspace_trainer.stop import Terminated

DEFAULT_TERMINATION_LOG = Path(TERMINATION_LOG)
MAX_MESSAGE_BYTES = 512

REASONS: dict[ExitCode, str] = {
    ExitCode.OK: "Completed",
    ExitCode.CONFIG: "ConfigError",
    ExitCode.DATA: "DataError",
    ExitCode.ACCESS_REFUSED: "AccessRefused",
    ExitCode.OUT_OF_MEMORY: "OutOfMemory",
    ExitCode.TRANSIENT: "Transient",
    ExitCode.PREEMPTED: "Preempted",
    ExitCode.PREEMPTED_UNSAVED: "PreemptedUnsaved",
    ExitCode.GATE_NOT_MET: "GateNotMet",
    ExitCode.DIVERGED: "Diverged",
    ExitCode.BUDGET_SPENT: "BudgetSpent",
    ExitCode.BUG: "Bug",
}
SHORT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Said by torch's allocator on the CPU, by the driver of a GPU, and by its libraries, none with a type of its own."""
BROKEN_BYTES = frozenset({"HashMismatch", "DigestMismatch", "UnsafePath"})


@dataclass(frozen=True)
class Ending:
    """How a run ends. `signature` tells one bug from another across attempts."""

    code: ExitCode
    message: str = ""
    signature: str | None = None

    @property
    def reason(self) -> str:
        return REASONS[self.code]


def ending_of(error: BaseException) -> Ending:
    """The ending that an exception means. Texts of libraries are dropped: they may quote data."""
    match error:
        case RunError():
            return Ending(error.code, error.message)
        case FormatError():
            return Ending(ExitCode.DATA, str(error))
        case Terminated() | KeyboardInterrupt():
            return Ending(ExitCode.PREEMPTED_UNSAVED, "told to end before a checkpoint was complete")
        case AccessRefused():
            return Ending(
                ExitCode.ACCESS_REFUSED, f"the broker refused access ({error.reason}); ask the owner for a grant"
            )
        case BrokerUnavailable():
            return Ending(ExitCode.TRANSIENT, str(error))
        case BrokerError():
            return Ending(ExitCode.DATA if error.reason in BROKEN_BYTES else ExitCode.TRANSIENT, str(error))
    return _ending_of_foreign(error)


def preempted(step: int | None) -> Ending:
    """The ending on SIGTERM, with the step of the newest checkpoint that outlives the process, if there is one."""
    if step is None:
        return ending_of(Terminated())
    return Ending(ExitCode.PREEMPTED, f"told to end; the checkpoint of step {step} is complete")


def _ending_of_foreign(error: BaseException) -> Ending:
    if is_out_of_memory(error):
        return Ending(ExitCode.OUT_OF_MEMORY, _memory(error))
    if isinstance(error, OSError):
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        return Ending(ExitCode.TRANSIENT, f"input or output failed ({name})", signature(error))
    mark = signature(error)
    return Ending(ExitCode.BUG, f"unexpected {type(error).__name__}; report it with the signature {mark[:12]}", mark)


def is_out_of_memory(error: BaseException) -> bool:
    """MemoryError, torch's own type (known by name: torch need not be there), and what allocators beside it say."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORT_OF_MEMORY)


def _memory(error: BaseException) -> str:
    """Of which memory there was too little. Other processes on the GPU take from it what this one cannot see."""
    if "CUDA" not in str(error):
        return "memory ran out; a smaller micro-batch or more memory helps"
    held = (runtime.peak_gpu_memory_bytes() or 0) >> 20
    return (
        f"memory of the GPU ran out when this run held {held} MiB of it; a smaller micro-batch helps, "
        "or a GPU with more that is free"
    )


def signature(error: BaseException) -> str:
    """sha256 of the exception's type and our innermost three frames (file and function), hexadecimal."""
    own = Path(__file__).parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(own)]
    parts = [f"{Path(frame.filename).relative_to(own)}:{frame.name}" for frame in frames[-3:]]
    return hashlib.sha256("\n".join([type(error).__qualname__, *parts]).encode()).hexdigest()


def shortened(message: str) -> str:
    """At most 512 bytes of printable text in one line."""
    clean = "".join(char if char.isprintable() else " " for char in message)
    return clean.encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")


def write_termination_message(record: EndRecord) -> None:
    """One in-place write to the container's termination message; metrics are left out from the end until it fits."""
    path = os.environ.get(TERMINATION_LOG_VARIABLE)
    if path is None and not Path(TERMINATION_LOG).exists():
        return  # no container: there is nobody to read it
    fitting = record
    while len(text := fitting.model_dump_json(by_alias=True, exclude_none=True).encode()) > MAX_TERMINATION_BYTES:
        fitting = fitting.model_copy(update={"metrics": fitting.metrics[:-1]})
    descriptor = os.open(path or TERMINATION_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)
