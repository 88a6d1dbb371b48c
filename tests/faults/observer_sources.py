"""Where the observer's evidence is read from: audit log, ledger, journal and logs, each only as far as it is new."""

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
from observer_evidence import Call, Process, Row, seconds
from sqlalchemy import URL, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool
from watching import Object

CONTENTS = ("create", "update", "patch", "delete", "deletecollection", "get", "list", "watch")


class Lines:
    """A file to which whole lines are appended; each call tells the new ones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> Iterator[Object]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                # A process that was killed may leave half a line before the next one begins.
                if line.endswith(b"}\n") and (found := _parsed(line)) is not None:
                    yield found


class AuditLog:
    """The answered requests of the operators, by namespace; "" stands for those that concern no namespace."""

    def __init__(self, path: Path, users: Iterable[str]) -> None:
        self._lines = Lines(path)
        self._users = frozenset(users)
        self.calls: dict[str, list[Call]] = {}

    def read(self) -> None:
        for event in self._lines.new():
            if event.get("stage") == "ResponseComplete" and event["user"].get("username") in self._users:
                call = call_of(event)
                self.calls.setdefault(call.namespace, []).append(call)


def call_of(event: Object) -> Call:
    target = event.get("objectRef") or {}
    agent = str(event.get("userAgent") or "")
    resource = "/".join(filter(None, (target.get("resource"), target.get("subresource"))))
    return Call(
        at=seconds(event["requestReceivedTimestamp"]),
        user=event["user"]["username"],
        # As in `collabspace-operator/0.1.0 (host_uuid)`: which of several processes it was.
        agent=agent.rsplit("(", 1)[-1].rstrip(")"),
        verb=event["verb"],
        resource=resource or event["requestURI"].partition("?")[0],
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        status=(event.get("responseStatus") or {}).get("code", 0),
        allowed=(event.get("annotations") or {}).get("authorization.k8s.io/decision") != "forbid",
    )


class LedgerReader:
    """The ledger's tables, read and never written. `place` is an SQLite file or an SQLAlchemy URL."""

    def __init__(self, place: Path | str) -> None:
        self._place = place
        self._read = 0
        self.checkpoints: dict[tuple[str, str], dict[str, Any]] = {}
        """Every row that was ever there: rows go when the task has succeeded."""

    @property
    def place(self) -> str:
        """As the auditors' command takes it."""
        return self._place if isinstance(self._place, str) else f"sqlite:///{self._place}"

    @property
    def url(self) -> URL:
        if isinstance(self._place, str):
            return make_url(self._place)
        return make_url(f"sqlite:///file:{self._place.absolute()}?mode=ro&uri=true")

    def tables(self) -> dict[str, list[Row]]:
        """All of one moment; of `access` the records that are new, of `seals` every record's number and hash.

        Raises sqlalchemy.exc.SQLAlchemyError when the database is away.
        """
        engine = create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        begin = "BEGIN" if self.url.get_backend_name() == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ"
        queries = {
            "access": f"SELECT * FROM access WHERE sequence > {self._read} ORDER BY sequence",
            "seals": "SELECT sequence, hash FROM access",
            "attempts": "SELECT * FROM attempts",
            "chains": "SELECT * FROM chains",
            "checkpoints": "SELECT * FROM checkpoints",
        }
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(begin)
                found = {
                    name: [dict(row) for row in connection.execute(text(query)).mappings()]
                    for name, query in queries.items()
                }
                connection.exec_driver_sql("COMMIT")
        finally:
            engine.dispose()
        self._read = max((row["sequence"] for row in found["access"]), default=self._read)
        return found

    def remember(self, rows: Iterable[Row], now: float) -> None:
        for row in rows:
            self.checkpoints.setdefault((row["task_uid"], row["digest"]), {**row, "seen": now})


class Journal:
    """The journal of processes: lines `start` and `end`, with more said in between."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)
        self._starts: dict[tuple[str, ...], Object] = {}
        self._ends: dict[tuple[str, ...], Object] = {}
        self._resumed: dict[tuple[str, ...], int] = {}

    def processes(self) -> list[Process]:
        for line in self._lines.new():
            if line.get("container", "trainer") != "trainer" or not line.get("taskUid"):
                continue
            run = tuple(str(line.get(name, "")) for name in ("uid", "container", "run"))
            match line["event"]:
                case "start":
                    self._starts[run] = line
                case "end":
                    self._ends[run] = line
                case "resume":
                    self._resumed[run] = int(line["step"])
        return [self._process(run, start) for run, start in self._starts.items()]

    def _process(self, run: tuple[str, ...], start: Object) -> Process:
        end = self._ends.get(run)
        return Process(
            task_uid=start["taskUid"],
            attempt=int(start["attempt"]),
            namespace=start["namespace"],
            pod=start["pod"],
            start=seconds(start["at"]),
            end=None if end is None else seconds(end["at"]),
            exit_code=None if end is None else end.get("exitCode"),
            rank=int(start.get("rank", 0)),
            resumed=self._resumed.get(run),
        )


class Tail:
    """The new text of a log, whole lines only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def new(self) -> str:
        if not self.path.exists():
            return ""
        with closing(self.path.open("rb")) as file:
            file.seek(self._offset)
            found = file.read()
        whole = found[: found.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode(errors="replace")


def _parsed(line: bytes) -> Object | None:
    try:
        found: Object = orjson.loads(line)
    except json.JSONDecodeError:
        return None
    return found
