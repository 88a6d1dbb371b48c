"""The end without a farewell, for a process that must not do one thing more."""

import logging
import os
import threading
from typing import NoReturn

FAREWELL_SECONDS = 1.0
log = logging.getLogger(__name__)


def exit_at_once(why: str) -> NoReturn:
    """Ends the process with exit code 1 after one log line, even if the log, the event loop or both are stuck."""
    # A reader of our stderr that has stopped reading must not keep us alive.
    line = threading.Thread(target=log.critical, args=("exit at once: %s", why), daemon=True)
    line.start()
    line.join(FAREWELL_SECONDS)
    os._exit(1)
