"""Training on a real GPU: it learns as on a CPU, survives a kill, hands its checkpoints on, and knows short memory."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from trainer_runs import ENCODER, Command, Finished, Process, document, notes, table

from collabspace.api.run import Execution
from collabspace_trainer import checkpoint, loop
from collabspace_trainer.checkpoint import Circumstances
from collabspace_trainer.course import Course
from collabspace_trainer.errors import BrokenCheckpointError
from collabspace_trainer.keeper import Keeper
from collabspace_trainer.runtime import Meter
from collabspace_trainer.snapshot import Training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")

GPU = {"gpus": 1, "checkpointSeconds": 3}
WEIGHTS = "model/model.safetensors"
TARGET = "outcome:Class"
IDENTITY = "a" * 64
F1_NOISE = 0.05


def tagging(optimizer: str = "AdamW", **execution: Any) -> dict[str, Any]:
    parameters = {**ENCODER, "epochs": 40, "dropout": "0.1", "optimizer": optimizer}
    ward = [{"name": "ward"}]
    return document(
        "TokenClassification", "FullFineTuning", ward, randomInit=True, parameters=parameters, execution=execution
    )


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"ward": notes(tmp_path_factory.mktemp("data") / "ward", 1)}


def attempt(folder: Path, run: dict[str, Any], data: dict[str, Path]) -> tuple[Command, Process]:
    """A process of its own, with checkpoints in `folder`."""
    command = Command(folder / f"attempt{len(list(folder.glob('attempt*')))}", fresh=True)
    command.folder.mkdir(parents=True)
    return command, command.start_local(run, data, checkpoints=folder / "checkpoints")


def whole(folder: Path, run: dict[str, Any], data: dict[str, Path]) -> Finished:
    command, process = attempt(folder, run, data)
    finished = command.finish(process)
    assert finished.code == 0, (finished.end, finished.errors)
    return finished


def killed(folder: Path, run: dict[str, Any], data: dict[str, Path]) -> None:
    """Without a warning, a while after its first steps."""
    command, process = attempt(folder, run, data)
    command.read_until(process, '"loss": "')
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def score(finished: Finished) -> float:
    return finished.report.metrics[0].value


@pytest.fixture(scope="module")
def on_the_gpu(tmp_path_factory: pytest.TempPathFactory, ward: dict[str, Path]) -> Finished:
    return whole(tmp_path_factory.mktemp("gpu"), tagging(**GPU), ward)


@pytest.fixture(scope="module")
def on_the_cpu(tmp_path_factory: pytest.TempPathFactory, ward: dict[str, Path]) -> Finished:
    return whole(tmp_path_factory.mktemp("cpu"), tagging(), ward)


def test_a_run_on_a_gpu_says_so_and_learns_as_on_the_cpu(on_the_gpu: Finished, on_the_cpu: Finished) -> None:
    facts = on_the_gpu.report.execution
    assert (facts.device, facts.simulated_gpu) == ("cuda", False)
    assert facts.peak_gpu_memory_bytes
    assert on_the_cpu.report.execution.device == "cpu"
    assert on_the_cpu.report.execution.peak_gpu_memory_bytes is None
    assert score(on_the_gpu) == pytest.approx(score(on_the_cpu), abs=F1_NOISE)


def test_a_run_killed_on_a_gpu_goes_on_from_its_checkpoint(
    tmp_path: Path, ward: dict[str, Path], on_the_gpu: Finished
) -> None:
    killed(tmp_path, tagging(**GPU), ward)
    resumed = whole(tmp_path, tagging(**GPU), ward)
    assert resumed.decisions("resume")[0] > 0
    assert any("bitEqualResume: false" in note for note in resumed.report.notes)
    one, other = (load_file(finished.out / WEIGHTS) for finished in (on_the_gpu, resumed))
    print("resumed at", resumed.decisions("resume"), "largest difference",
          max(float((one[name] - other[name]).abs().max()) for name in one))  # fmt: skip
    assert score(resumed) == pytest.approx(score(on_the_gpu), abs=F1_NOISE)


@pytest.mark.parametrize("optimizer", ["AdamW", "Adam", "Adafactor", "SGD"])
def test_what_is_put_back_on_a_gpu_goes_on_as_what_was_kept(optimizer: str, tmp_path: Path) -> None:
    """Dropout as well: the random state of the GPU is part of it."""
    one, other = made(optimizer), made(optimizer)
    steps(one, 3)
    one.write(tmp_path / "kept")
    expected = steps(one, 3)
    other.read(tmp_path / "kept")
    assert other.course.step == 3
    assert steps(other, 3) == pytest.approx(expected, rel=1e-5)
    assert not other.bit_equal


def test_a_random_state_that_the_gpu_refuses_is_found_before_anything_changes(tmp_path: Path) -> None:
    training = made("AdamW")
    steps(training, 1)
    training.write(tmp_path / "kept")
    kept = checkpoint.read(tmp_path / "kept", IDENTITY)
    kept.tensors["random.cuda0"] = torch.full_like(kept.tensors["random.cuda0"], 255)
    checkpoint.write(kept, tmp_path / "forged")
    before = [weight.clone() for weight in training.model.parameters()]
    with pytest.raises(BrokenCheckpointError, match="random state"):
        training.read(tmp_path / "forged")
    assert all(torch.equal(*pair) for pair in zip(before, training.model.parameters(), strict=True))


def made(optimizer: str) -> Training:
    """A training of 10 steps that has not begun, with weights of its own."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 2)).cuda()
    rules = loop.Recipe(5, 8, 4, 0.01, optimizer, "Constant", 0.0, 0.1, 1.0, 3, 0)
    here = Circumstances(device="cuda", precision="Float32", threads=1, micro_batch_size=8, processor="here")
    made = loop.make_optimizer(model, rules)
    return Training(IDENTITY, model, made, Keeper(3, model), Course(total_steps=10), Meter(Execution()), here, 2)


def steps(training: Training, count: int) -> list[float]:
    losses = []
    for _ in range(count):
        loss = training.model(torch.randn(8, 4, device="cuda")).square().sum()
        loss.backward()
        training.optimizer.step()
        training.optimizer.zero_grad(set_to_none=True)
        training.course.step += 1
        training.course.epoch, training.course.position = divmod(training.course.step, 2)
        losses.append(loss.item())
    training.keeper.enough(-losses[-1])
    return losses


def test_float32_is_computed_in_where_the_run_asks_for_it(tmp_path: Path) -> None:
    run = document(
        "Tabular", "NeuralNetwork", [{"name": "ward"}], parameters={"epochs": 2},
        execution={"gpus": 1, "precision": "Float32"},
    )  # fmt: skip
    finished = Command(tmp_path, fresh=True).run_local(run, {"ward": table(tmp_path / "ward", 1)}, None, TARGET)
    assert finished.code == 0, finished.errors
    assert (finished.report.execution.device, finished.report.execution.precision) == ("cuda", "Float32")


def test_a_checkpoint_goes_from_the_gpu_to_the_cpu_and_back(
    tmp_path: Path, ward: dict[str, Path], on_the_gpu: Finished
) -> None:
    whole(tmp_path, tagging(**GPU, stopAfterSteps=50), ward)
    assert whole(tmp_path, tagging(stopAfterSteps=100), ward).decisions("resume") == [50]
    resumed = whole(tmp_path, tagging(**GPU), ward)
    assert resumed.decisions("resume") == [100]
    assert any("bitEqualResume: false" in note for note in resumed.report.notes)
    assert score(resumed) == pytest.approx(score(on_the_gpu), abs=F1_NOISE)


def test_a_run_without_a_gpu_leaves_the_one_of_the_machine_alone(tmp_path: Path) -> None:
    """What it takes there is missing to the run that was promised it."""
    data = {"ward": table(tmp_path / "ward", 1)}
    run = document("Tabular", "NeuralNetwork", [{"name": "ward"}], parameters={"epochs": 2})
    command = Command(tmp_path, fresh=True)
    finished = command.run_local(run, data, target=TARGET)
    assert finished.code == 0, finished.errors
    assert finished.report.execution.peak_gpu_memory_bytes is None


def test_memory_of_the_gpu_that_runs_out_ends_with_30_and_names_half_the_batch(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    long = " ".join(["word"] * 600)
    lines = (f'{{"text": "{long} {number}", "label": "{"good" if number % 2 else "bad"}"}}\n' for number in range(1500))
    (folder / "texts.jsonl").write_text("".join(lines))
    parameters = {"hiddenSize": 1024, "layers": 24, "heads": 16, "maxLength": 512, "batchSize": 1024}
    run = document(
        "TextClassification", "FullFineTuning", [{"name": "films"}], randomInit=True, parameters=parameters,
        execution={"gpus": 1},
    )  # fmt: skip
    finished = Command(tmp_path, fresh=True).run_local(run, {"films": folder})
    assert finished.code == 30, (finished.end, finished.errors)
    assert finished.end.suggested_micro_batch == 512
    print(finished.end)
