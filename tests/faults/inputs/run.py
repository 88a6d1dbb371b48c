"""Bad inputs on a control plane of their own, with one operator for all: none may stop it, or touch another team.

    python tests/faults/inputs/run.py [--case ID] [--way create|update|storage] [--generated 2000 [--seed 1]] [--list]

Without a case: all that are written by hand, in all three ways, and as many generated ones as asked for. A generated
case is tried again by its number, as in --case generated.1-17. Writes build/faults/inputs.json. Exit code 1 when
something was found.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "tests" / "integration" / "operator"), str(Path(__file__).parent)]

import corpus  # noqa: E402
import generated  # noqa: E402
import input_run  # noqa: E402
from bad_input import WAYS, Case  # noqa: E402
from input_stage import stage  # noqa: E402
from transitions import Transition  # noqa: E402

from collabspace.local import binaries  # noqa: E402
from collabspace.local.cluster import LocalCluster  # noqa: E402
from collabspace.local.state import Options  # noqa: E402

RESULT = ROOT / "build" / "faults" / "inputs.json"


def main() -> int:
    arguments = _arguments()
    trials = _trials(arguments)
    if arguments.list:
        print("\n".join(f"{case.id:<48}{way}" for case, way in trials))
        return 0
    binaries.ensure(progress=print)
    with tempfile.TemporaryDirectory() as folder:
        cluster = LocalCluster(f"inputs-{os.getpid()}", Path(folder) / "state", print)
        try:
            cluster.start_control_plane(Options(audit=True))
            cluster.install()
            report = asyncio.run(_run(cluster, Path(folder), trials, arguments.log))
        finally:
            cluster.down(wipe=True)
    print(report.summary())
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(report.data(), indent=1))
    return 1 if report.failed else 0


async def _run(
    cluster: LocalCluster, folder: Path, trials: list[tuple[Case | Transition, str]], log: Path | None
) -> input_run.Report:
    async with stage(cluster, folder, log) as found:
        return await input_run.run(found, trials)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--case", action="append", default=[], help="only this one; may be given again")
    parser.add_argument("--way", choices=WAYS, help="only this way")
    parser.add_argument("--generated", type=int, default=0, metavar="N", help="so many generated cases as well")
    parser.add_argument("--seed", type=int, default=1, help="of the generated cases")
    parser.add_argument("--only-generated", action="store_true", help="none that are written by hand")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--log", type=Path, help="where to leave the operator's log")
    return parser.parse_args()


def _trials(arguments: argparse.Namespace) -> list[tuple[Case | Transition, str]]:
    ways = (arguments.way,) if arguments.way else WAYS
    if arguments.case:
        return [trial for way in ways for each in arguments.case for trial in _named(each, way, arguments.way)]
    trials = [] if arguments.only_generated else corpus.in_ways(ways)
    made = (generated.case(arguments.seed, number) for number in range(arguments.generated))
    return trials + [(case, way) for case, way in made if way in ways]


def _named(name: str, way: str, wanted: str | None) -> list[tuple[Case | Transition, str]]:
    if name in corpus.BY_ID:
        return [(corpus.BY_ID[name], way)]
    if name.startswith("generated."):
        seed, _, number = name.removeprefix("generated.").partition("-")
        case, own = generated.case(int(seed), int(number))
        return [(case, way)] if way == (wanted or own) else []
    raise SystemExit(f"--case {name}: there is none; --list names them")


if __name__ == "__main__":
    sys.exit(main())
