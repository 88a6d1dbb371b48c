"""Log lines of our processes as JSON, one event each with named fields: no token, no data, no tenant's path gets in."""

import datetime as dt
import json
import logging
import sys
import traceback
from types import TracebackType
from typing import Any

FIELDS = "fields"
MAX_LENGTH = 2000
QUIET = ("kopf", "asyncio", "aiohttp", "kubernetes", "urllib3", "botocore", "boto3")


class JsonFormatter(logging.Formatter):
    """Our own events with their fields. Others' lines keep their text; of an exception only type and place are kept,
    since its message may quote what it could not read."""

    def format(self, record: logging.LogRecord) -> str:
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": moment, "level": record.levelname, "logger": record.name}
        line["message"] = record.getMessage()[:MAX_LENGTH]
        line.update(getattr(record, FIELDS, {}))
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["at"] = _places(record.exc_info[2])
        return json.dumps(line)


def _places(trace: TracebackType | None) -> list[str]:
    return [
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)[-8:]
    ]


def configure() -> None:
    """All loggers of this process speak JSON on stderr, from INFO on; libraries only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def say(logger: logging.Logger, event: str, level: int = logging.INFO, **fields: str | int | float | None) -> None:
    """One event with its fields."""
    logger.log(level, event, extra={FIELDS: fields})
