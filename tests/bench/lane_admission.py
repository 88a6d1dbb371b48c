"""The admission pass alone, in memory: how it grows with the number of tasks that wait."""

import datetime as dt
import math
import time
from dataclasses import replace

from report import Line, Report

from collabspace.core.admission import Decision, Holding, Node, Quota, Waiting, decide
from collabspace.core.quantity import Amount

SIZES = (1_000, 10_000, 100_000)
TEAMS, NODES, ROUNDS = 50, 1_300, 3
GIB = 2**30
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
COLUMNS = {"lane": "s", "waiting": "d", "s a pass": ".3f", "us a task": ".1f", "admitted": "d", "bare loop s": ".3f"}


def main(sizes: tuple[int, ...] = SIZES) -> None:
    report = Report("admission", COLUMNS)
    nodes = [Node(f"node-{number}", Amount(8, 96_000, 768 * GIB)) for number in range(NODES)]
    drained = [replace(node, usable=number % 2 == 0) for number, node in enumerate(nodes)]
    # The third: all GPUs were taken when half of the nodes began to be drained.
    for lane, gpus, there, running in (("plenty", 10**6, nodes, 20), ("scarce", 40, nodes, 20),
                                       ("half drained", 10**6, drained, 8 * NODES // TEAMS)):  # fmt: skip
        took = {}
        for size in sizes:
            queue = [
                Waiting(f"uid-{n}", f"team-{n % TEAMS}", Amount(1 + n % 4, 4_000, 16 * GIB), n % 3,
                        NOW - dt.timedelta(seconds=n % 999))
                for n in range(size)
            ]  # fmt: skip
            held = {Holding(f"team-{n}", Amount(1, 4_000, 16 * GIB)): running for n in range(TEAMS)}
            quotas = {f"team-{n}": Quota(gpus) for n in range(TEAMS)}
            verdicts, passes, floors = {}, [], []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                verdicts = decide(queue, held, quotas, there, NOW)
                passes.append(time.perf_counter() - began)
                began = time.perf_counter()
                bare(queue)
                floors.append(time.perf_counter() - began)
            took[size] = min(passes)
            admitted = sum(each.decision is Decision.ADMIT for each in verdicts.values())
            report.row(lane=lane, waiting=size, took=took[size], each=took[size] / size * 1e6, admitted=admitted,
                       floor=min(floors))  # fmt: skip
        low, high = min(took), max(took)
        if low < high:
            report.note(f"{lane}: N^{math.log(took[high] / took[low]) / math.log(high / low):.2f}")
    report.save("waiting", [Line(lane, "s a pass") for lane in ("plenty", "scarce", "half drained")], log=True)


def bare(queue: list[Waiting]) -> dict[str, int]:
    """What no pass can do without: the order, and one look at each task."""
    sums: dict[str, int] = {}
    for each in sorted(queue, key=lambda each: (-each.priority, each.created, each.uid)):
        sums[each.team] = sums.get(each.team, 0) + each.amount.gpus
    return sums
