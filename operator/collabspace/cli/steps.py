"""Steps of long work on stderr: a spinner and ticks on a terminal, one line for each step elsewhere."""

import time
from types import TracebackType
from typing import Self

import click

DETAIL = " — "


class Steps:
    """Hears of steps as `step` or `step — detail`; the detail may change every second and is for terminals only."""

    def __init__(self, *, live: bool) -> None:
        self._step = ""
        self._begun = 0.0
        self._status = None
        if live:
            from rich.console import Console

            self._status = Console(stderr=True, highlight=False, markup=False).status("")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
            if kind is None:
                self._tick()

    def show(self, line: str) -> None:
        step, _, detail = line.partition(DETAIL)
        if step != self._step:
            self._tick()
            self._step, self._begun = step, time.monotonic()
            if self._status is None:
                click.echo(step, err=True)
        if self._status is not None:
            self._status.start()
            self._status.update(f"{step}  {detail[:80]}")

    def _tick(self) -> None:
        if self._step and self._status is not None:
            self._status.stop()
            click.echo(f"✓ {self._step} ({time.monotonic() - self._begun:.0f} s)", err=True)
            self._step = ""
