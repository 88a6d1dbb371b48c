"""One selection in one world at one moment, with what is already known of its candidates."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from collabspace.api.selection import SelectionSpec, SelectionStatus
from collabspace.api.task import PinnedDataset
from collabspace.core.observed import ObservedSelection
from collabspace.core.selection_board import Standing
from collabspace.core.selection_world import SelectionWorld


@dataclass(frozen=True, slots=True)
class Case:
    """`base` is its status with the leaderboard as it is now."""

    selection: ObservedSelection
    spec: SelectionSpec
    world: SelectionWorld
    now: dt.datetime
    pinned: Mapping[str, PinnedDataset]
    standings: tuple[Standing, ...]
    base: SelectionStatus

    @property
    def namespace(self) -> str:
        return self.selection.meta.namespace

    @property
    def name(self) -> str:
        return self.selection.meta.name
