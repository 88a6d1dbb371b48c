"""Tasks of two teams while operator, broker and node agent are killed at random moments, again and again.

    python tests/bench/chaos.py --runs 10 --seed 1

Prints a table: one line for each run, its seed first, and under it whatever the observer found wrong.
Exit code 1 when it found anything.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from chaos_driver import Plan, Stage


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the next has the next number")
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--kills", type=int, default=3, help="of each part, in each run")
    parser.add_argument("--deletions", type=int, default=2, help="tasks deleted in each run")
    parser.add_argument("--evictions", type=int, default=2, help="pods of running attempts deleted in each run")
    parser.add_argument("--window", type=float, default=60.0, help="seconds over which faults are spread")
    parser.add_argument("--verbose", action="store_true", help="say each fault")
    parser.add_argument("--keep", type=Path, help="folder for the cluster's state; it is kept when something was wrong")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return perform(given, given.keep or Path(folder))


def perform(given: argparse.Namespace, home: Path) -> int:
    stage = Stage("chaos", home, (lambda line: print(f"  {line}", flush=True)) if given.verbose else (lambda _: None))
    known: set[str] = set()
    try:
        stage.open()
        print("seed  tasks  kills  deleted  attempts  overlaps  seconds  violations", flush=True)
        for seed in range(given.seed, given.seed + given.runs):
            plan = Plan(seed, given.tasks, given.kills, given.deletions, given.window, given.evictions)
            found = stage.play(plan)
            new = [line for line in found.violations if line not in known]
            known |= set(found.violations)
            print(
                f"{seed:4}  {plan.tasks:5}  {found.kills:5}  {found.deleted:7}  {found.attempts:8}  {found.overlaps:8}"
                f"  {found.seconds:7.0f}  {len(new):10}",
                *(f"\n      {line}" for line in new),
                flush=True,
            )
    finally:
        if known and given.keep:
            stage.observer.close()
            stage.cluster.down()
            print(f"state kept in {stage.cluster.state}")
        else:
            stage.close()
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
