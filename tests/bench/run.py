"""Benchmarks by name; each prints a table and writes it to build/bench with a plot.

python tests/bench/run.py NAME [--sizes 1000 2000] [--rounds 1]
make bench BENCH=NAME
"""

import argparse
import asyncio
import signal
import sys

import lane_burst


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the control plane ends as well
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["burst"])
    parser.add_argument("--sizes", type=int, nargs="+", default=lane_burst.SIZES)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--lanes", nargs="+", default=["bare client", "operator"])
    asked = parser.parse_args()
    asyncio.run(lane_burst.main(tuple(asked.sizes), asked.rounds, tuple(asked.lanes)))


if __name__ == "__main__":
    main()
