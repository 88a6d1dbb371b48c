"""The trainer on a GPU: whole runs beside the same on the CPU, and its training loop beside a plain one of PyTorch.

    python tests/bench/gpu.py                       generated notes and tables; film reviews and MiniLM, fetched by pip
    python tests/bench/gpu.py --notes FOLDER --texts FOLDER --weights FOLDER       own data and weights: nothing fetched
    python tests/bench/gpu.py --only loops

Where torch can use no GPU it says so and ends. Else it prints two tables:

- runs: `collabspace-trainer train` in processes of its own, on the CPU with --threads threads, then twice on the GPU.
  The score is the task's usual metric on the test split, seconds are those of the process from start to end, `equal`
  says whether both runs on the GPU left the same weights, bit for bit. Exit code 1 when a run fails or when the score
  on the GPU lies further below that on the CPU than seeds lie apart.
- loops: texts per second of wall time on the same batches from the same weights, the best of rounds in which all take
  turns in one process. `ours` is the training loop of the trainer; `plain` is forward, backward, clipping, fused AdamW
  and nothing else; `bare` leaves clipping and AdamW away too.
"""

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "trainer"))
sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "sentiment"))

import snippets
import text_runs
import torch
import trainer_runs
from torch import nn

from collabspace_trainer import loop
from collabspace_trainer.keeper import Keeper
from collabspace_trainer.methods import encoder
from collabspace_trainer.methods.classifying import ClassLearner
from collabspace_trainer.order import batches
from collabspace_trainer.runtime import Runtime
from collabspace_trainer.session import Session
from collabspace_trainer.tasks.text_classification import Texts
from collabspace_trainer.versions import Version

SEED_NOISE = 0.02
"""Scores of one recipe over seeds lie this far apart."""
RATE, LENGTH = 1e-4, 128
WARM_UP_BATCHES = CPU_BATCHES = 10
WEIGHTS = ("model/model.safetensors", "model/adapter_model.safetensors")


@dataclass(frozen=True)
class Inputs:
    """Folders: raw tagged sentences, raw texts with classes, a raw table, an encoder."""

    notes: Path
    texts: Path
    table: Path
    weights: Path


@dataclass(frozen=True)
class Case:
    """`model`: "" for random weights, "encoder" for the given ones, else the case whose result is measured."""

    name: str
    task: str
    method: str
    data: str
    model: str
    parameters: dict[str, Any]


CASES = [
    Case("tags, random", "TokenClassification", "FullFineTuning", "notes", "", {"epochs": 3}),
    Case("tags, full", "TokenClassification", "FullFineTuning", "notes", "encoder", {"epochs": 2}),
    Case("classes, full", "TextClassification", "FullFineTuning", "texts", "encoder", {"epochs": 1}),
    Case("classes, LoRA", "TextClassification", "LoRA", "texts", "encoder", {"epochs": 1}),
    Case("classes, zero", "TextClassification", "ZeroShot", "texts", "encoder", {}),
    Case("classes, again", "TextClassification", "Evaluation", "texts", "classes, full", {}),
    Case("table, network", "Tabular", "NeuralNetwork", "table", "", {}),
    Case("table, logistic", "Tabular", "LogisticRegression", "table", "", {}),
]


def inputs(given: argparse.Namespace, folder: Path) -> Inputs:
    """What was given, else generated or fetched."""
    notes = given.notes or trainer_runs.notes(folder / "notes", 1, 2000)
    table = trainer_runs.table(folder / "table", 1, 4000)
    texts, weights = given.texts, given.weights or snippets.weights(folder)
    if texts is None:
        texts = folder / "texts"
        texts.mkdir()
        snippets.snippets(texts)
    return Inputs(notes, texts, table, weights)


# ---- runs


def run(case: Case, folder: Path, data: Inputs, results: dict[str, Path], execution: dict[str, int]) -> Any:
    """The finished run, and the seconds that its process lived."""
    command = trainer_runs.Command(folder, fresh=True)
    folder.mkdir(parents=True)
    command.environment |= {name: value for name, value in os.environ.items() if name.startswith("CUDA_")}
    role = "Evaluate" if case.method == "Evaluation" else "Train"
    wanted = trainer_runs.document(
        case.task, case.method, [{"name": "data", "role": role}], parameters=case.parameters, execution=execution
    )
    model = {"": None, "encoder": data.weights}.get(case.model, results.get(case.model))
    if model is not None:
        wanted["training"]["initialModel"] = {}
    elif case.method == "FullFineTuning":
        wanted["training"]["randomInit"] = True
    target = "outcome:Class" if case.data == "table" else None
    started = time.monotonic()
    finished = command.run_local(wanted, {"data": getattr(data, case.data)}, model, target)
    if finished.code:
        print(f"✗ {case.name}: exit code {finished.code}, {finished.end.message}\n{finished.errors[-2000:]}")
    return finished, time.monotonic() - started


def runs(cases: Sequence[Case], data: Inputs, folder: Path, threads: int) -> bool:
    """Whether every case came to its end, with a score on the GPU like that on the CPU."""
    print(f"{'run':16} {'score CPU':>9} {'GPU':>7} {'s CPU':>6} {'GPU':>6} {'MiB CPU':>8} {'of GPU run':>10} "
          f"{'on GPU':>7} {'':13} equal")  # fmt: skip
    results: dict[str, Path] = {}
    good = True
    for number, case in enumerate(cases):
        done = []
        for place, execution in (("cpu", {"threads": threads}), ("gpu", {"gpus": 1}), ("again", {"gpus": 1})):
            done.append(run(case, folder / f"{number}-{place}", data, results, execution))
        if any(finished.code for finished, _ in done):
            good = False
            continue
        (cpu, cpu_seconds), (gpu, gpu_seconds), (again, _) = done
        results[case.name] = gpu.out
        scores = [next(row.value for row in one.report.metrics if row.split == "test") for one in (cpu, gpu)]
        close = scores[1] >= scores[0] - SEED_NOISE
        good &= close
        facts = gpu.report.execution
        peaks = cpu.report.execution.peak_memory_bytes, facts.peak_memory_bytes, facts.peak_gpu_memory_bytes or 0
        least, most, held = (peak / 2**20 for peak in peaks)
        print(f"{case.name:16} {scores[0]:9.4f} {scores[1]:7.4f} {cpu_seconds:6.1f} {gpu_seconds:6.1f} {least:8.0f} "
              f"{most:10.0f} {held:7.0f} {facts.device:>4} {facts.precision:8} {equal(gpu.out, again.out):5}"
              f"{'' if close else ' ✗ score'}", flush=True)  # fmt: skip
    return good


def equal(one: Path, other: Path) -> str:
    files = [name for name in WEIGHTS if (one / name).is_file()]
    if not files:
        return "-"
    return "yes" if (one / files[0]).read_bytes() == (other / files[0]).read_bytes() else "no"


# ---- loops


@dataclass(frozen=True)
class Bench:
    folder: Path
    weights: Path
    version: Version
    records: int

    def learner(self, machine: Runtime, batch: int) -> tuple[ClassLearner, Session]:
        """An encoder about to learn the first so many texts; what it does is told to nobody."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        parameters = {"epochs": 1, "batchSize": batch, "maxLength": LENGTH}
        session, corpus = text_runs.session(
            folder, "FullFineTuning", [self.version], initialModel={}, parameters=parameters
        )
        corpus = replace(corpus, train=corpus.train[: self.records])
        assert isinstance(corpus, Texts)
        session = replace(session, runtime=machine)
        torch.manual_seed(3)
        loaded = encoder.load(self.weights, corpus.labels, 0.1, LENGTH, "Classes")
        return ClassLearner(loaded, corpus, session), session


def ours(learner: ClassLearner, session: Session, batch: int) -> None:
    rules = loop.recipe(session, RATE, "as the others")
    session.course.total_steps = -(-len(learner.lengths) // batch)
    optimizer = loop.make_optimizer(learner.model, rules)
    loop.run_epochs(learner, rules, session, None, optimizer, Keeper(0, learner.model))


def bare(learner: ClassLearner, session: Session, batch: int, after: Callable[[], None] = lambda: None) -> None:
    for chosen in batches(learner.lengths, batch, 3, 0):
        with loop.autocast(session.runtime):
            loss = learner.loss(chosen) / learner.weight(chosen)
        loss.backward()
        after()
        learner.model.zero_grad(set_to_none=True)


def plain(learner: ClassLearner, session: Session, batch: int) -> None:
    optimizer = torch.optim.AdamW(learner.model.parameters(), lr=RATE, fused=True)

    def step() -> None:
        nn.utils.clip_grad_norm_(learner.model.parameters(), 1.0)
        optimizer.step()

    bare(learner, session, batch, step)


LOOPS: dict[str, Callable[[ClassLearner, Session, int], None]] = {"ours": ours, "plain": plain, "bare": bare}


def speed(bench: Bench, name: str, machine: Runtime, batch: int) -> float:
    """Texts per second."""
    learner, session = bench.learner(machine, batch)
    learner.model.train()
    started = time.perf_counter()
    LOOPS[name](learner, session, batch)
    if machine.device == "cuda":
        torch.cuda.synchronize()
    return len(learner.lengths) / (time.perf_counter() - started)


def loops(bench: Bench, machines: Sequence[Runtime], sizes: Sequence[int], rounds: int) -> None:
    print(f"{'loop':16} {'batch':>5} " + " ".join(f"{name + '/s':>9}" for name in LOOPS) + "  ours/plain  ours/bare")
    for machine in machines:
        for batch in sizes:
            share = (
                replace(bench, records=min(bench.records, CPU_BATCHES * batch)) if machine.device == "cpu" else bench
            )
            best = dict.fromkeys(LOOPS, 0.0)
            with quiet():
                for name in LOOPS:
                    speed(replace(bench, records=WARM_UP_BATCHES * batch), name, machine, batch)
                for _ in range(rounds):
                    best = {name: max(best[name], speed(share, name, machine, batch)) for name in LOOPS}
            told = " ".join(f"{best[name]:9.0f}" for name in LOOPS)
            print(f"{machine.device:4} {machine.precision:11} {batch:5} {told} "
                  f"{best['ours'] / best['plain']:11.2f} {best['ours'] / best['bare']:10.2f}", flush=True)  # fmt: skip


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("notes", "texts", "weights"):
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER")
    parser.add_argument("--only", choices=["runs", "loops"])
    parser.add_argument("--case", default="", metavar="WORD", help="only the runs that have it in their name")
    parser.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1), help="on the CPU (8 at most)")
    parser.add_argument("--records", type=int, default=6400, help="texts of a round (6400)")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64], help="batch sizes of the loops (16 64)")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print(f"torch {torch.__version__} can use no GPU here: nothing is measured")
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}, "
          f"{given.threads} of {os.cpu_count()} CPUs", flush=True)  # fmt: skip
    torch.set_num_threads(given.threads)
    good = True
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as name:
        folder = Path(name)
        data = inputs(given, folder)
        if given.only != "loops":
            good = runs([case for case in CASES if given.case in case.name], data, folder / "runs", given.threads)
        if given.only != "runs":
            with quiet():
                version = text_runs.version(Path(shutil.copytree(data.texts, folder / "copy")))
            machines = [Runtime("cuda", "BFloat16", 1, False), Runtime("cuda", "Float32", 1, False),
                        Runtime("cpu", "Float32", given.threads, False)]  # fmt: skip
            loops(Bench(folder, data.weights, version, given.records), machines, given.batches, given.rounds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
