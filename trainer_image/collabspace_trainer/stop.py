"""SIGTERM: the first thing a run sets up, because a pod may be told to leave while it still imports or fetches."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """SIGTERM arrived: the run ends now. Like KeyboardInterrupt no error, so that no `except Exception` stops it."""


class Stop:
    """Remembers that the run was told to end.

    Training and evaluation look at it between steps (`check`), where the state is whole. While nothing of value is in
    memory (`at_once`), the signal interrupts whatever runs, waiting for the broker included.
    """

    def __init__(self) -> None:
        self.requested = threading.Event()
        self._interrupting = False

    def install(self) -> None:
        """Takes SIGTERM and SIGINT from now on. Only the main thread may call this."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def check(self) -> None:
        """Raises Terminated when the run was told to end."""
        if self.requested.is_set():
            raise Terminated

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside this block the signal raises Terminated where it finds the program."""
        self.check()
        self._interrupting = True
        try:
            yield
        finally:
            self._interrupting = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.requested.set()
        if self._interrupting:
            self._interrupting = False
            raise Terminated
