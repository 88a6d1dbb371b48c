"""Checks a whole ledger database without a running broker: `python -m collabspace.broker.verify sqlite:///ledger.db`,
or `postgresql+psycopg://auditor@host/name` with the password in libpq's own ways (PGPASSFILE, PGPASSWORD).

For admins and auditors who hold a copy, or may only read. Exit code 0: every chain is intact; 1: a bad record, named;
2: the database cannot be read.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from collabspace.broker.ledger import Ledger, LedgerUnavailableError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status; `arguments` are those of the process unless given."""
    parser = argparse.ArgumentParser(description="Check every chain of a ledger database, without a running broker.")
    parser.add_argument("url", help="SQLAlchemy URL, such as sqlite:///ledger.db")
    given = parser.parse_args(arguments)
    try:
        url = make_url(given.url)
    except ArgumentError:
        print("error: the URL cannot be read. Give for example sqlite:///ledger.db", file=sys.stderr)  # noqa: T201 a command
        return 2
    return _verify(url)


def _verify(url: URL) -> int:
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        print(f"error: there is no database file {url.database}. Give the path of a ledger", file=sys.stderr)  # noqa: T201
        return 2
    try:
        with closing(Ledger(url.render_as_string(hide_password=False), create=False)) as ledger:
            verdicts = [ledger.verify(chain) for chain in ledger.every_chain()]
    except LedgerUnavailableError as error:
        print(f"error: {error}. Is it a ledger of this release?", file=sys.stderr)  # noqa: T201
        return 2
    for verdict in verdicts:
        told = "records, intact" if verdict.ok else f"records intact, then {verdict.problem}"
        print(f"{verdict.chain}: {verdict.records} {told}")  # noqa: T201
    return 0 if all(verdict.ok for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
