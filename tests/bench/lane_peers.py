"""The burst on which Kueue and Kubeflow Trainer were measured on such a machine: 500 tasks, 130 nodes, 50 teams.

The peers' figures are 32.0 s (Kueue) and 33.4 s (Trainer) where the bare client took 4.2 s; they are scaled here by
what the bare client takes in the same run, without our admission policies as there.
"""

import statistics

from bench_rig import Shape, rig
from lane_burst import COLUMNS, measure
from report import Report

TASKS, ROUNDS = 500, 3
BARE_THEN, KUEUE_THEN, TRAINER_THEN = 4.2, 32.0, 33.4
LANES = ("plain Jobs, no policies", "bare client, no policies", "bare client", "operator")


async def main(rounds: int = ROUNDS) -> None:
    report, times = Report("peers", COLUMNS), {lane: [] for lane in LANES}
    async with rig(Shape(nodes=130)) as made:
        for turn in range(rounds):
            for lane in LANES[turn % 4 :] + LANES[: turn % 4]:
                times[lane].append(await measure(made, report, lane, TASKS))
    plain, naked, bare, ours = (statistics.median(times[lane]) for lane in LANES)
    scale = naked / BARE_THEN
    report.note(f"medians: plain Jobs {plain:.1f} s, bare client {naked:.1f} s, with our policies {bare:.1f} s, "
                f"operator {ours:.1f} s")  # fmt: skip
    report.note(f"operator / bare client = {ours / bare:.2f}, both with our policies")
    report.note(f"without them the bare client takes {scale:.2f} of its time in the peers' run ({BARE_THEN} s)")
    for peer, then in (("Kueue", KUEUE_THEN), ("Trainer", TRAINER_THEN)):
        report.note(f"operator / {peer}, scaled to this run = {ours / (then * scale):.2f}")
    report.save()
