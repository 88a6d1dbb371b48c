"""Ends that we know. Each carries its exit code and a message without data: field, value found, remedy."""

from typing import ClassVar

from collabspace.api.run import ExitCode


class RunError(Exception):
    """A known end of a run. `message` goes into the termination message: it names fields and files, never content."""

    code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigError(RunError):
    """The run document asks for something that cannot be done."""

    code = ExitCode.CONFIG


class DataError(RunError):
    """The data cannot be used as it is."""

    code = ExitCode.DATA


class DivergedError(RunError):
    """The loss or a gradient is not a number any more."""

    code = ExitCode.DIVERGED


class BrokenCheckpointError(Exception):
    """Why a checkpoint is not used, in words that hold none of its content. No end: an older one is, or none."""
