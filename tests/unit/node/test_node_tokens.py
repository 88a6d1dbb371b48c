"""When tokens are replaced, and that volume paths stay inside."""

import datetime as dt
from pathlib import Path

import pytest

from collabspace.kube import clock
from collabspace.local.node.manifest import UnsupportedError
from collabspace.local.node.volumes import inside, rotation_time

ISSUED = clock.parse("2026-01-01T12:00:00Z")


@pytest.mark.parametrize(("lifetime", "rotated"), [(600, 480), (3600, 2880), (30 * 86400, 86400)])
def test_a_token_is_replaced_at_80_percent_of_its_life_and_after_a_day(lifetime: int, rotated: int) -> None:
    due = rotation_time(ISSUED, ISSUED + dt.timedelta(seconds=lifetime))
    assert due == ISSUED + dt.timedelta(seconds=rotated)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd"])
def test_a_path_that_leaves_its_volume_is_refused(path: str) -> None:
    with pytest.raises(UnsupportedError, match="leads out of its volume"):
        inside(Path("/n/v/one"), path)


def test_a_path_inside_its_volume_is_taken() -> None:
    assert inside(Path("/n/v/one"), "a/b") == Path("/n/v/one/a/b")
