"""The operator, on a clock that can be set: a fork server imports this in its place.

The real one reads the time in one place; here that place adds the seconds that a file holds. COLLABSPACE_TEST_CLOCK
names it; without it this is the operator as it is.
"""

import datetime as dt
import os
from pathlib import Path

from collabspace.controller import main as operator
from collabspace.kube import clock


def main() -> None:
    file = os.environ.pop("COLLABSPACE_TEST_CLOCK", None)
    if file is not None:
        real, path = clock.now, Path(file)
        clock.now = lambda: real() + dt.timedelta(seconds=float(path.read_text() or 0))
    operator.main()
