"""Runs fault plans: `python tests/faults/run.py`, all of them; `--help` tells how to choose.

Each plan that fails is printed with the command that repeats it. Verdicts are appended to build/faults/verdicts.jsonl
as they come; after a stop, `--resume build/faults/verdicts.jsonl` goes on where it was. A plan mostly waits: several
processes may each run a part (`--part 1/3`), and one that resumes from the verdicts of all sums them up. Exit code 1: a
plan failed.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from judges import Judge, judged
from plans import KINDS, Plan, UnknownPlanError, chosen, generated, sampled
from play import Verdict, record
from recorder import REFERENCE, Summary, merged, reference
from rig import Rig
from workloads import WORKLOADS

BUILD = Path(__file__).parents[2] / "build" / "faults"
RECORDINGS = 3


def main() -> int:
    # Whoever stops it leaves no cluster behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = _arguments()
    if arguments.record:
        return _record(arguments.workload or list(WORKLOADS))
    known = reference()
    try:
        plans = _choose(arguments, known)
    except UnknownPlanError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if arguments.list:
        for plan in plans:
            print(f"{plan.id:42} {plan.target}")
        print(f"{len(plans)} plans")
        return 0
    part, parts = arguments.part
    name = f"verdicts-{part}.jsonl" if parts > 1 else "verdicts.jsonl"
    return _run(plans[part - 1 :: parts], known, arguments.resume, BUILD / name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run fault plans against the operator.")
    parser.add_argument("--plan", action="append", metavar="ID", help="this one, such as revoked/crash-after/W4")
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS), help="only plans of this workload")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only plans with this kind of fault")
    parser.add_argument("--sample", type=int, metavar="N", help="only N plans, as many of each kind of fault")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--list", action="store_true", help="print the plans and run none")
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="K/N", help="every Nth plan, from the Kth on")
    parser.add_argument(
        "--resume", type=Path, action="append", metavar="FILE", help="leave out what has a verdict in this file"
    )
    parser.add_argument("--record", action="store_true", help="run without faults and write the reference anew")
    return parser.parse_args()


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    found = int(part), int(parts)
    if not 1 <= found[0] <= found[1]:
        raise ValueError(text)
    return found


def _choose(arguments: argparse.Namespace, known: dict[str, Summary]) -> list[Plan]:
    if arguments.plan:
        return chosen(known, arguments.plan)
    plans = [
        plan
        for plan in generated(known)
        if plan.workload in (arguments.workload or WORKLOADS) and plan.kind in (arguments.kind or KINDS)
    ]
    return sampled(plans, arguments.sample, arguments.seed) if arguments.sample else plans


def _record(workloads: list[str]) -> int:
    known = reference() if REFERENCE.exists() else {}
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder), _quiet) as rig:
        rig.call(record(rig, "train"))  # makes the dataset that all use
        for workload in workloads:
            known[workload] = merged([rig.call(record(rig, workload)) for _ in range(RECORDINGS)])
            print(f"{workload:16} {len(known[workload]['writes'])} writes, {len(known[workload]['events'])} events")
    ordered = {name: known[name] for name in WORKLOADS if name in known}
    REFERENCE.write_text(json.dumps(ordered, indent=1) + "\n")
    return 0


def _run(plans: list[Plan], known: dict[str, Summary], resume: list[Path] | None, log: Path) -> int:
    BUILD.mkdir(parents=True, exist_ok=True)
    verdicts = {name: verdict for file in resume or () for name, verdict in _read(file).items()}
    if resume is None:
        log.unlink(missing_ok=True)
    begun = time.monotonic()
    if left := [plan for plan in plans if plan.id not in verdicts]:
        _play(left, known, verdicts, log)
    _summarise(list(verdicts.values()), time.monotonic() - begun)
    return 1 if any(verdict.violations for verdict in verdicts.values()) else 0


def _play(left: list[Plan], known: dict[str, Summary], verdicts: dict[str, Verdict], log: Path) -> None:
    """Adds a verdict for each of these plans."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Rig(Path(folder), _quiet) as rig,
        Judge(rig) as judge,
        log.open("a") as sink,
    ):
        rig.call(record(rig, "train"))  # makes the dataset that all use
        for number, plan in enumerate(left, 1):
            verdict = judged(rig, judge, plan, known[plan.workload])
            verdicts[plan.id] = verdict
            sink.write(json.dumps(verdict.line()) + "\n")
            sink.flush()
            _tell(verdict, number, len(left), rig)


def _read(file: Path) -> dict[str, Verdict]:
    lines = file.read_text().splitlines()
    return {line["plan"]: Verdict(**line) for line in map(json.loads, lines)}


def _tell(verdict: Verdict, number: int, total: int, rig: Rig) -> None:
    if sys.stdout.isatty() or number % 50 == 0:
        print(f"{number}/{total} {verdict.plan} {verdict.seconds:.1f} s", flush=True)
    if verdict.violations:
        print(f"FAILED {verdict.plan}: python tests/faults/run.py --plan {verdict.plan}", flush=True)
        for line in verdict.violations[:10]:
            print(f"    {line[:500]}", flush=True)
        kept = BUILD / f"{verdict.plan.replace('/', '_')}.log"
        kept.write_text(rig.operator.words(40_000))


def _summarise(verdicts: list[Verdict], seconds: float) -> None:
    workloads = list(dict.fromkeys(verdict.workload for verdict in verdicts))
    print(f"{'':16}" + "".join(f"{kind:>14}" for kind in KINDS) + f"{'seconds':>9}")
    for workload in workloads:
        cells = "".join(
            f"{_cell(v for v in verdicts if (v.workload, v.kind) == (workload, kind)):>14}" for kind in KINDS
        )
        took = [verdict.seconds for verdict in verdicts if verdict.workload == workload]
        print(f"{workload:16}{cells}{sum(took) / len(took):9.1f}")
    cells = "".join(f"{_cell(v for v in verdicts if v.kind == kind):>14}" for kind in KINDS)
    print(f"{'all':16}{cells}{sum(v.seconds for v in verdicts) / max(1, len(verdicts)):9.1f}")
    failed = [verdict.plan for verdict in verdicts if verdict.violations]
    missed = sum(not verdict.fired for verdict in verdicts)
    print(f"{len(verdicts)} plans, {missed} whose step did not come, {len(failed)} failed, {seconds:.0f} s")
    result = {"plans": len(verdicts), "missed": missed, "failed": failed, "verdicts": [v.line() for v in verdicts]}
    (BUILD / "results.json").write_text(json.dumps(result, indent=1) + "\n")


def _cell(verdicts: Iterable[Verdict]) -> str:
    """Plans, of which +missed and !failed."""
    counts = Counter("failed" if v.violations else "good" if v.fired else "missed" for v in verdicts)
    if not counts:
        return "-"
    more = [f"+{counts['missed']}" if counts["missed"] else "", f"!{counts['failed']}" if counts["failed"] else ""]
    return f"{counts['good']}{''.join(more)}"


def _quiet(_line: str) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
