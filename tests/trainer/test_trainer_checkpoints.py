"""A training that is stopped goes on as if nothing had happened: the same weights to the bit."""

import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from trainer_runs import Command, Finished, document, notes, table

RISK = [{"name": "ward"}]
NETWORK = {"epochs": 25, "batchSize": 32, "dropout": "0.2", "earlyStoppingPatience": 50}
WEIGHTS = "model/model.safetensors"


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("data") / "ward", 1)


def network(**execution: Any) -> dict[str, Any]:
    return document("Tabular", "NeuralNetwork", RISK, parameters=NETWORK, execution={"microBatchSize": 16, **execution})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, ward: Path) -> Finished:
    finished = Command(tmp_path_factory.mktemp("whole")).run_local(network(), {"ward": ward}, target="outcome:Class")
    assert finished.code == 0, finished.errors
    return finished


def attempt(
    folder: Path, run: dict[str, Any], data: Path, stage: str | None = None, pause: float = 0, target: str | None = None
) -> Finished:
    """One attempt with checkpoints in `folder`; SIGTERM comes, twice, `pause` seconds after a stage has begun."""
    number = len(list(folder.glob("attempt*")))
    command = Command(folder / f"attempt{number}")
    command.folder.mkdir(parents=True)
    process = command.start_local(run, {"ward": data}, target=target, checkpoints=folder / "checkpoints")
    read = ""
    if stage:
        read = command.read_until(process, f'"{stage}"')
        try:
            process.wait(pause)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
    return command.finish(process, read)


def network_attempt(folder: Path, data: Path, stage: str | None = None, pause: float = 0, **run: Any) -> Finished:
    return attempt(folder, network(**run), data, stage, pause, "outcome:Class")


def test_five_signals_at_random_moments_change_no_bit(tmp_path: Path, ward: Path, uninterrupted: Finished) -> None:
    generator = random.Random()
    stages = ["Train", *(generator.choice(["Prepare", "Train", "Train", "Evaluate"]) for _ in range(4))]
    moments = [(stage, 0.3 * generator.random()) for stage in stages]
    reached = 0
    for stage, pause in moments:
        finished = network_attempt(tmp_path, ward, stage, pause)
        if finished.code == 0:
            break
        assert finished.code == (50 if finished.end.checkpoint else 51), (moments, finished)
        if finished.end.checkpoint:
            assert finished.end.checkpoint.step >= reached, moments
            reached = finished.end.checkpoint.step
    else:
        finished = network_attempt(tmp_path, ward)
    assert finished.code == 0, (moments, finished)
    for file in (WEIGHTS, "curve.jsonl", "predictions/ward-test.jsonl"):
        assert (finished.out / file).read_bytes() == (uninterrupted.out / file).read_bytes(), moments


def test_an_encoder_goes_on_in_mid_epoch_to_the_bit(tmp_path: Path) -> None:
    data = notes(tmp_path / "ward", 1, 60)
    parameters = {
        "epochs": 20,
        "hiddenSize": 16,
        "layers": 1,
        "maxLength": 16,
        "dropout": "0.1",
        "optimizer": "Adafactor",
    }
    run = document("TokenClassification", "FullFineTuning", RISK, randomInit=True, parameters=parameters)
    whole = Command(tmp_path / "whole")
    whole.folder.mkdir()
    expected = whole.run_local(run, {"ward": data})
    stopped = attempt(tmp_path, run, data, "Train", 0.3)
    assert stopped.code == 50, stopped
    resumed = attempt(tmp_path, run, data)
    assert resumed.code == 0, resumed.errors
    assert (resumed.out / WEIGHTS).read_bytes() == (expected.out / WEIGHTS).read_bytes()
    assert any("bitEqualResume: true" in note for note in resumed.report.notes)
