"""A ledger on PostgreSQL: how a broker is told of it, and how it is checked and read without one."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from collabspace.broker import verify
from postgres_server import PASSWORD, PostgresSchema


def settings(schema: PostgresSchema, folder: Path) -> dict[str, str]:
    """The password is in a file; the URL, which others may see in the environment, has none."""
    file = folder / "password"
    file.write_text(PASSWORD)
    url = schema.url.replace(f"passfile={str(schema.server.passfile).replace('/', '%2F')}&", "")
    return {"COLLABSPACE_BROKER_LEDGER": url, "COLLABSPACE_BROKER_LEDGER_PASSWORD_FILE": str(file)}


def rows(schema: PostgresSchema, columns: str, where: str = "true") -> list[tuple[object, ...]]:
    """Records read straight from the database, not through any code of ours."""
    with schema.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM access WHERE {where} ORDER BY sequence").fetchall()  # type: ignore[call-overload,no-any-return]


def checked(url: str) -> tuple[int, str]:
    """What the check without a broker says of a ledger in whatever database, and its exit status."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        status = verify.main([url])
    return status, said.getvalue().strip()


def verified(url: str) -> tuple[int, str]:
    """The same, as an auditor starts it."""
    command = [sys.executable, "-m", "collabspace.broker.verify", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()
