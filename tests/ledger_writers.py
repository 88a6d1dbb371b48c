"""Many processes that write to one ledger at once, as brokers do: `python ledger_writers.py URL WRITERS N TOGETHER`."""

import os
import subprocess
import sys
import time
from pathlib import Path

from collabspace.broker.ledger import DENIED, Entry, Ledger
from collabspace.client.protocol import Decision
from collabspace.kube import clock

DATASETS = 4


def entry(number: int, writer: int, dataset: int) -> Entry:
    return Entry(
        DENIED,
        Decision.DENIED,
        "GrantMissing",
        namespace="lab",
        account=f"writer-{writer}",
        owner="hospital",
        dataset=f"notes-{dataset}",
        dataset_uid=f"uid-{dataset}",
        bytes=number,
    )


def write_at_once(url: str, writers: int, transactions: int, together: int) -> float:
    """Seconds that it took, from the moment when all were ready. Raises CalledProcessError when one of them fails."""
    numbers = [str(number) for number in (writers, transactions, together)]
    command = [sys.executable, str(Path(__file__)), url, *numbers]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def write(url: str, writer: int, transactions: int, together: int, ready: int, start: int) -> None:
    """`transactions` of `together` records each, over all datasets, in an order that differs between writers."""
    ledger = Ledger(url)
    os.write(ready, b".")
    os.read(start, 1)
    for number in range(transactions):
        direction = 1 if writer % 2 else -1
        batch = [entry(number, writer, (writer + number + step * direction) % DATASETS) for step in range(together)]
        ledger.append(batch, clock.now())
    ledger.close()


def main(url: str, writers: int, transactions: int, together: int) -> int:
    """Prints the seconds; the exit status is 1 when a writer failed."""
    (told, ready), (start, go) = os.pipe(), os.pipe()
    pids = []
    for writer in range(writers):
        pid = os.fork()
        if pid == 0:
            try:
                write(url, writer, transactions, together, ready, start)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os.write(ready, b".")
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    os.close(ready)
    for _ in range(writers):
        os.read(told, 1)
    begun = time.perf_counter()
    os.write(go, b"." * writers)
    failed = [pid for pid in pids if os.waitpid(pid, 0)[1] != 0]
    print(time.perf_counter() - begun)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
