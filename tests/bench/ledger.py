"""What a chain costs on PostgreSQL: several writers at once, beside a bare loop of INSERT and COMMIT.

    python tests/bench/ledger.py [--writers 8] [--records 10000] [--together 1]

The server is the tests' own, with fsync on. Both lanes write rows of the same size; the bare one is a single connection
that inserts and commits as often as the writers do. `--together` is how many records share a transaction, as those do
that wait for a busy broker at the same time. At the end every chain is verified.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from collabspace.broker.entries import values_of
from collabspace.broker.ledger import Ledger
from collabspace.kube import clock
from ledger_writers import entry, write_at_once
from postgres_server import PostgresSchema, running


def bare(schema: PostgresSchema, transactions: int, together: int) -> float:
    """Seconds for as many transactions of plain rows."""
    values = {name: value for name, value in values_of(entry(1, 1, 1), clock.now()).items() if value is not None}
    columns, marks = ", ".join(f'"{name}"' for name in values), ", ".join(["%s"] * len(values))
    with schema.connect() as connection:
        connection.execute("CREATE TABLE bare (sequence BIGSERIAL PRIMARY KEY, hash VARCHAR(64), previous VARCHAR(64))")
        for name, value in values.items():
            kind = "BIGINT" if isinstance(value, int) else "VARCHAR(500)"
            connection.execute(f'ALTER TABLE bare ADD COLUMN "{name}" {kind}')  # type: ignore[call-overload]
        connection.autocommit = False
        statement = f"INSERT INTO bare ({columns}, hash, previous) VALUES ({marks}, %s, %s)"
        begun = time.perf_counter()
        for _ in range(transactions):
            for _ in range(together):
                connection.execute(statement, [*values.values(), "0" * 64, "0" * 64])  # type: ignore[call-overload]
            connection.commit()
        return time.perf_counter() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description="Records per second on PostgreSQL, and their ratio to bare INSERTs.")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--together", type=int, default=1)
    asked = parser.parse_args()
    each = asked.records // (asked.writers * asked.together)
    records = each * asked.writers * asked.together
    with running(fsync="on") as server:
        schema = server.schema()
        alone = bare(schema, records // asked.together, asked.together)
        seconds = write_at_once(schema.url, asked.writers, each, asked.together)
        ledger = Ledger(schema.url, create=False)
        verdicts = [ledger.verify(chain) for chain in ledger.every_chain()]
        ledger.close()
    for verdict in verdicts:
        print(f"{verdict.chain}: {verdict.records} records, {verdict.problem or 'one unbroken chain'}")
    print(f"bare INSERT and COMMIT, one connection: {records / alone:8.0f} records/s")
    print(f"chained, {asked.writers} writers at once:          {records / seconds:8.0f} records/s")
    print(f"ratio: {alone / seconds:.2f}")
    whole = all(verdict.ok for verdict in verdicts) and sum(verdict.records for verdict in verdicts) == records
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
