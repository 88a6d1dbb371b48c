"""What a run tells the world: JSON lines on stdout, and its progress to the broker. Never a word from the data."""

import json
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from collabspace.api.run import Progress
from collabspace.client.errors import BrokerError

MINIMUM_INTERVAL_SECONDS = 5.0
CURVE_POINTS = 32


class Events:
    """Speaks on stdout: about progress when it is due or a stage begins, about everything else at once.

    The broker hears of progress on a thread of its own, the newest only: a broker that is slow or away costs no step.
    """

    def __init__(self, send: Callable[[Progress], None] | None = None) -> None:
        self._send = send
        self._sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="progress") if send else None
        self._pending: Future[None] | None = None
        self._last = float("-inf")

    def decision(self, name: str, value: object, reason: str) -> None:
        """A value that the run chose, with its reason."""
        self._write({"event": "decision", "name": name, "value": value, "reason": reason})

    def note(self, text: str) -> None:
        """A fact that the reader of the result must know."""
        self._write({"event": "note", "text": text})

    def saved(self, step: int, seconds: float, upload_seconds: float) -> None:
        """A checkpoint is complete at the broker."""
        line = {"step": step, "seconds": round(seconds, 3), "uploadSeconds": round(upload_seconds, 3)}
        self._write({"event": "checkpoint", **line})

    @property
    def due(self) -> bool:
        """Whether 5 s have passed since progress was last told."""
        return time.monotonic() - self._last >= MINIMUM_INTERVAL_SECONDS

    def progress(self, progress: Progress) -> None:
        """Tells where the run stands. Callers ask `due` first, but for a new stage."""
        self._last = time.monotonic()
        line = {
            "stage": progress.stage,
            "step": progress.step,
            "totalSteps": progress.total_steps,
            "loss": progress.loss,
        }
        self._write({"event": "progress", **line})
        if self._sender is not None and (self._pending is None or self._pending.done()):
            self._pending = self._sender.submit(self._post, progress)

    def trace(self, error: BaseException) -> None:
        """Where an unexpected error came from: places in the code, never the text of the exception."""
        frames = [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        self._write({"event": "trace", "type": type(error).__name__, "frames": frames[-20:]})

    def end(self, reason: str, code: int, message: str) -> None:
        """The last line."""
        self._write({"event": "end", "reason": reason, "code": code, "message": message})

    def close(self) -> None:
        """Waits for the progress that is on its way."""
        if self._sender is not None:
            self._sender.shutdown()

    def _post(self, progress: Progress) -> None:
        if self._send is None:
            return
        try:
            self._send(progress)
        except BrokerError as error:
            self._write({"event": "warning", "text": f"progress did not reach the broker: {error.reason}"})

    def _write(self, line: dict[str, object]) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        sys.stdout.write(json.dumps({"time": stamp, **line}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def curve_points(losses: list[float]) -> list[str]:
    """At most 32 means over equal stretches of the losses so far, for a sparkline of the whole run."""
    stretch = max(1, -(-len(losses) // CURVE_POINTS))
    parts = [losses[start : start + stretch] for start in range(0, len(losses), stretch)]
    return [loss_text(sum(part) / len(part)) for part in parts]


def loss_text(loss: float) -> str:
    """Four digits after the point; exponents where that would grow long."""
    return f"{loss:.4f}" if abs(loss) < 1e9 else f"{loss:.4g}"
