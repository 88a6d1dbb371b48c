"""One or two operators that are killed, frozen, joined and put on a clock of their own."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from rig import ForkServer, Program, Rig, free_port


class Operators:
    """One or two operator processes, of which some may be away for a while."""

    def __init__(self, rig: Rig, server: ForkServer, folder: Path) -> None:
        self.clock = folder / "clock"
        self.step_clock(0.0)
        self.programs = [self._program(rig, server, number) for number in range(2)]
        self._absent: dict[int, asyncio.Task[None]] = {}
        self.unasked = 0
        """Ends that nobody asked for."""

    def _program(self, rig: Rig, server: ForkServer, number: int) -> Program:
        changes = {
            "COLLABSPACE_METRICS_PORT": str(free_port()),
            "COLLABSPACE_INSTANCE": f"random-{number}",
            "COLLABSPACE_TEST_CLOCK": str(self.clock),
        }
        return Program(server, rig.operator.environment | changes, rig.folder / f"operator-{number}.log")

    def step_clock(self, seconds: float) -> None:
        new = self.clock.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.clock)

    async def away(self, number: int, seconds: float, leave: Callable[[], None], back: Callable[[], None]) -> None:
        """Until it is back; one that is away is left alone."""
        if number in self._absent or not self.programs[number].running():
            return

        async def absence() -> None:
            await asyncio.to_thread(leave)
            await asyncio.sleep(seconds)
            back()
            del self._absent[number]

        self._absent[number] = asyncio.create_task(absence())

    async def settle(self) -> None:
        """Whoever is away is back; the first one runs, and the clock is right."""
        self.step_clock(0.0)
        await asyncio.gather(*list(self._absent.values()))
        self.revive()

    def revive(self) -> None:
        """What ended by itself, as a deposed leader may, is started again, as a cluster does."""
        for number, program in enumerate(self.programs):
            if program.starts and number not in self._absent and not program.running() and number == 0:
                self.unasked += 1
                program.start()
