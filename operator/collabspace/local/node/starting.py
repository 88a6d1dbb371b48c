"""Starts a pod's containers, with rests between failed tries, and knows why one waits."""

import asyncio
import datetime as dt
from collections.abc import Callable, Set
from dataclasses import dataclass

from collabspace.kube import clock
from collabspace.kube.client import KubeError
from collabspace.local.node.container import MESSAGE_BYTES, ContainerRun, LaunchError
from collabspace.local.node.decision import Start
from collabspace.local.node.environment import ConfigError
from collabspace.local.node.images import EntryPointError, UnknownImageError
from collabspace.local.node.launching import Preparation
from collabspace.local.node.manifest import Container, UnsupportedError
from collabspace.local.node.status import Waiting

FIRST_RETRY = 0.25
LONGEST_RETRY = 15.0


@dataclass(frozen=True)
class Try:
    """A start that did not come about: the how manyth in a row, why, and when the next is due."""

    number: int
    waiting: Waiting
    due: dt.datetime


class Starter:
    """Of one pod. `departing` names pods that were removed by force and still run: nothing starts beside them."""

    def __init__(
        self, launches: asyncio.Semaphore, departing: Set[str], make_run: Callable[[Container, int], ContainerRun]
    ) -> None:
        self._launches = launches
        self._departing = departing
        self._make_run = make_run
        self._tries: dict[str, Try] = {}

    @property
    def waiting(self) -> dict[str, Waiting]:
        """Why each container that should run does not."""
        return {name: last.waiting for name, last in self._tries.items()}

    def due(self, starts: tuple[Start, ...]) -> list[dt.datetime]:
        """When to try again."""
        return [self._tries[start.container.name].due for start in starts if start.container.name in self._tries]

    async def start(self, start: Start, preparation: Preparation) -> ContainerRun | None:
        """The run, once it has begun or was refused for good; None while it rests after a failed try."""
        name, now = start.container.name, clock.now()
        last = self._tries.get(name)
        if last is not None and last.due > now:
            return None
        run = self._make_run(start.container, start.attempt)
        waiting = await self._launch(start.container, run, preparation)
        if waiting is None:
            self._tries.pop(name, None)
            return run
        number = last.number + 1 if last is not None else 0
        rest = dt.timedelta(seconds=min(FIRST_RETRY * 2 ** min(number, 10), LONGEST_RETRY))
        self._tries[name] = Try(number, waiting, clock.now() + rest)
        return None

    async def _launch(self, container: Container, run: ContainerRun, preparation: Preparation) -> Waiting | None:
        """None when the run has begun or was refused for good, else why it waits."""
        if self._departing:
            return Waiting("ContainerCreating", "waiting for the end of a pod that was removed by force")
        try:
            launch = await preparation.launch(container, run)
            async with self._launches:
                await run.launch(launch)
        except EntryPointError as error:
            run.record_end(128, "StartError", str(error))
        except UnknownImageError as error:
            return Waiting("ErrImageNeverPull", str(error))
        except (ConfigError, UnsupportedError) as error:
            return Waiting("CreateContainerConfigError", str(error))
        except LaunchError as error:
            return Waiting("RunContainerError", str(error))
        except KubeError as error:
            return Waiting("ContainerCreating", f"waiting for the API server: {error.message}"[:MESSAGE_BYTES])
        return None
