"""SIGTERM: the first thing a run sets up, because a pod may be told to leave while it still imports or fetches."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_SECONDS = 60.0
"""From SIGTERM to SIGKILL, as the pod template sets it."""
END_SECONDS = 10.0
"""Kept of the grace for the termination message and the end record."""


class Terminated(BaseException):
    """SIGTERM arrived: the run ends now. Like KeyboardInterrupt no error, so that no `except Exception` stops it."""


class Stop:
    """Remembers that the run was told to end.

    Training looks at it between steps (`check`), where the state is whole. Where no state changes (`at_once`: data
    preparation, evaluation, publishing), the signal interrupts whatever runs, waiting for the broker included.
    """

    def __init__(self) -> None:
        self.requested = threading.Event()
        self.latency = 0.0
        """Seconds by which a signal may be heard late: Python hears none inside a call of a library, such as a step."""
        self._since = math.inf
        self._interrupting = False

    def install(self) -> None:
        """Takes SIGTERM and SIGINT from now on. Only the main thread may call this."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def ignore(self) -> None:
        """The end is told: a signal must not make another one of it while the interpreter closes down."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)

    def check(self) -> None:
        """Raises Terminated when the run was told to end."""
        if self.requested.is_set():
            raise Terminated

    @property
    def grace_left(self) -> float:
        """Seconds that remain for saving; all of the grace while nobody has asked to end."""
        passed = time.monotonic() - self._since if self.requested.is_set() else 0.0
        return GRACE_SECONDS - END_SECONDS - self.latency - passed

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside this block the signal raises Terminated where it finds the program."""
        self._interrupting = True
        try:
            self.check()
            yield
        finally:
            self._interrupting = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested.is_set():
            return  # a second signal changes nothing: the run is leaving already
        self._since = time.monotonic()
        self.requested.set()
        if self._interrupting:
            raise Terminated
