"""Benchmarks by name; each prints a table and writes it to build/bench, most with a plot.

    make bench BENCH=NAME            or: python tests/bench/run.py NAME [--small]

Each starts a control plane of its own, in one state before every lap: nodes and pods are played by kwok, all clients
have equal and raised limits, and times come from the API server's audit log. --small shows in a minute or two that a
lane works; its figures mean little.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

import lane_admission
import lane_baseline
import lane_burst
import lane_life
import lane_noisy
import lane_peers
import lane_rate
import lane_scale
import lane_scarce


async def _admission(small: bool) -> None:
    lane_admission.main((1_000, 10_000) if small else lane_admission.SIZES)


async def _burst(small: bool) -> None:
    await lane_burst.main((100, 200) if small else lane_burst.SIZES)


async def _writes(small: bool) -> None:
    await lane_burst.main((100, 200) if small else lane_burst.SIZES, "writes", lane_burst.ALONE)


async def _rate(small: bool) -> None:
    await lane_rate.main(*(((5.0, 20.0), 5.0) if small else ()))


async def _life(small: bool) -> None:
    await lane_life.main((100,) if small else lane_life.SIZES)


async def _scale(small: bool) -> None:
    await lane_scale.main(*((200, 20.0) if small else ()))


async def _noisy(small: bool) -> None:
    await lane_noisy.main(*((200, 15.0) if small else ()))


async def _scarce(small: bool) -> None:
    await lane_scarce.main(160 if small else lane_scarce.TASKS)


async def _baseline(small: bool) -> None:
    await lane_baseline.main(20 if small else 1)


async def _peers(small: bool) -> None:
    await lane_peers.main(1 if small else lane_peers.ROUNDS)


LANES: dict[str, tuple[Callable[[bool], Awaitable[None]], str]] = {
    "admission": (_admission, "the admission pass alone, in memory, up to 100,000 waiting tasks"),
    "baseline": (_baseline, "Kueue's own baseline: 15,000 short tasks over 30 queues"),
    "burst": (_burst, "1,000 to 10,000 tasks at once, beside a bare client that makes the same two writes"),
    "life": (_life, "1,000 whole lives, from creation to deletion"),
    "noisy": (_noisy, "one team floods, the others go on"),
    "peers": (_peers, "the burst of 500 on which Kueue and Trainer were measured"),
    "rate": (_rate, "an open loop from 5 to 200 tasks a second"),
    "scale": (_scale, "a new operator among 10,000 tasks, and one at rest"),
    "scarce": (_scarce, "eight times as much work as there are GPUs"),
    "writes": (_writes, "the burst without pods: nothing but the two writes and the statuses"),
}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the control plane ends as well
    lanes = "\n".join(f"  {name:10} {words}" for name, (_, words) in LANES.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{lanes}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", choices=[*LANES], metavar="NAME")
    parser.add_argument("--small", action="store_true", help="a trial of the lane itself")
    asked = parser.parse_args()
    for name in asked.names:
        print(f"== {name}: {LANES[name][1]}", flush=True)
        asyncio.run(LANES[name][0](asked.small))


if __name__ == "__main__":
    main()
