"""What passes through the fault proxy: requests, replies and watch events, and the rules that meet them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson

BROKEN = (OSError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.LimitOverrunError)


@dataclass(slots=True)
class Request:
    """`path` is without the query; `query` holds the first value of each parameter."""

    method: str
    target: str
    head: bytes
    body: bytes
    reader: asyncio.StreamReader

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(self.target.partition("?")[2]).items()}

    @property
    def watch(self) -> bool:
        return "watch=" in self.target

    @property
    def listing(self) -> str:
        """The list that is asked for, or watched: path and selectors. Empty: neither."""
        if self.method != "GET":
            return ""
        known = self.query
        chosen = {name: known[name] for name in ("labelSelector", "fieldSelector") if name in known}
        return "|".join([self.path, *(f"{name}={value}" for name, value in chosen.items())])

    def json(self) -> Any:
        """The body; None when it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    async def hung_up(self) -> None:
        """Returns when the client gives up: it sends nothing before it has its reply."""
        with suppress(*BROKEN):
            await self.reader.read(1)


@dataclass(slots=True)
class Reply:
    """`stream` instead of a `body` where the server sends chunks as they come. After `cut` bytes the connection breaks;
    `pace` is bytes a second; with `frozen` nothing comes after `cut`, and the connection stays."""

    status: int
    headers: bytes = b""
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    cut: int | None = None
    pace: float | None = None
    frozen: bool = False


Forward = Callable[[], Awaitable[Reply]]
Fault = Callable[[Request, Forward], Awaitable[Reply | None]]


@dataclass(slots=True)
class Rule:
    """Applies `fault` to the requests that are meant, `times` of them at most. `fired` counts."""

    meant: Callable[[Request], bool]
    fault: Fault
    times: int | None = 1
    fired: int = 0


class Event:
    """One line of a watch."""

    __slots__ = ("_parsed", "listing", "raw")

    def __init__(self, raw: bytes, listing: str) -> None:
        self.raw = raw
        self.listing = listing
        self._parsed: dict[str, Any] | None = None

    @property
    def parsed(self) -> dict[str, Any]:
        if self._parsed is None:
            self._parsed = orjson.loads(self.raw)
        return self._parsed

    @property
    def kind(self) -> str:
        return str(self.parsed["type"])

    @property
    def object(self) -> dict[str, Any]:
        found: dict[str, Any] = self.parsed["object"]
        return found


class Stream:
    """One open watch."""

    def __init__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self.listing = request.listing
        self.over = False
        self.held: list[bytes] = []
        self._writer = writer

    def emit(self, line: bytes) -> None:
        if not self.over:
            self._writer.write(b"%x\r\n%s\r\n" % (len(line), line))

    def end(self, *, gone: bool = False) -> None:
        """Ends as the server ends it when its time is over; `gone`: the version asked for is too old, list anew."""
        if self.over:
            return
        for line in self.held:
            self.emit(line)
        if gone:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired"}
            self.emit(orjson.dumps({"type": "ERROR", "object": status | {"message": "of the test"}}) + b"\n")
        self._writer.write(b"0\r\n\r\n")
        self._finish()

    def cut(self) -> None:
        """Breaks the connection."""
        self._finish()

    def _finish(self) -> None:
        self.over = True
        self._writer.close()


EventFault = Callable[[Stream, Event], Awaitable[list[bytes]]]
"""What goes out in place of the event: lines, each whole but where that is the fault."""


@dataclass(slots=True)
class EventRule:
    """Applies `fault` to the events that are meant, `times` of them at most. `fired` counts."""

    meant: Callable[[Event], bool]
    fault: EventFault
    times: int | None = 1
    fired: int = 0


@dataclass(slots=True)
class Taps:
    """Who listens: to each request before any rule, to each reply that goes back, to each watch event before any
    rule."""

    asked: list[Callable[[Request], None]] = field(default_factory=list)
    replied: list[Callable[[Request, Reply], None]] = field(default_factory=list)
    came: list[Callable[[Event], None]] = field(default_factory=list)
