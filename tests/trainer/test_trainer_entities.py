"""Training a small encoder on generated notes, in a process of its own, and what it leaves behind."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from trainer_runs import ENCODER, Command, Finished, document

from collabspace.api.manifest import Split
from collabspace.api.run import MetricName


def test_training_on_two_owners_learns_their_entities(trained: Finished) -> None:
    assert trained.code == 0, trained.errors
    found = trained.report.metric(MetricName.ENTITY_MICRO_F1, Split.TEST)
    assert found is not None
    assert found.low is not None and found.high is not None
    assert found.value > 0.9
    assert found.low <= found.value <= found.high


def test_the_loss_falls(trained: Finished) -> None:
    curve = [json.loads(line) for line in (trained.out / "curve.jsonl").read_text().splitlines()]
    losses = [point["loss"] for point in curve]
    assert losses[0] > 1.0
    assert np.mean(losses[-5:]) < 0.1 * losses[0]


def test_the_same_seed_gives_the_same_bits(trained: Finished, encoder_run: Callable[[], Finished]) -> None:
    again = encoder_run()
    for name in (
        "model/model.safetensors",
        "model/tokenizer.json",
        "predictions/a-test.jsonl",
        "counts/b-test.safetensors",
    ):
        assert (again.out / name).read_bytes() == (trained.out / name).read_bytes(), name
    assert again.report.metrics == trained.report.metrics
    assert again.report.losses == trained.report.losses


def test_figures_are_given_by_dataset_and_pooled(trained: Finished) -> None:
    report = trained.report
    losses = {row.dataset: row for row in report.losses if row.split is Split.TEST}
    assert set(losses) == {"", "a", "b"}
    assert losses[""].total == pytest.approx(losses["a"].total + losses["b"].total)
    assert losses[""].count == losses["a"].count + losses["b"].count
    rows = {(row.dataset, row.label): row for row in report.per_entity if row.split is Split.TEST}
    assert rows["", "Drug"].support == rows["a", "Drug"].support + rows["b", "Drug"].support
    assert any(row.label == "O" for row in report.per_tag)


def test_the_pooled_counts_are_those_of_the_records(trained: Finished) -> None:
    counts = sum(
        load_file(trained.out / f"counts/{name}-test.safetensors")["entities"].sum(axis=(0, 1)) for name in "ab"
    )
    hits, false, missed = (int(value) for value in counts)
    found = trained.report.metric(MetricName.ENTITY_MICRO_F1, Split.TEST)
    assert found is not None
    assert found.value == pytest.approx(2 * hits / (2 * hits + false + missed))


def test_a_label_of_one_owner_is_named(trained: Finished) -> None:
    assert {row.name: row.own_labels for row in trained.report.datasets} == {"a": [], "b": ["Place"]}
    assert any("only this dataset has Place" in note for note in trained.report.notes)


def test_done_names_every_file_with_its_hash(trained: Finished) -> None:
    listed = {file["path"]: file["sha256"] for file in json.loads((trained.out / "DONE").read_bytes())["files"]}
    there = {str(p.relative_to(trained.out)): p for p in trained.out.rglob("*") if p.is_file() and p.name != "DONE"}
    assert listed == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()}


def test_no_word_of_few_records_leaves_the_run(trained: Finished) -> None:
    said = json.dumps(trained.events) + trained.errors
    kept = b"".join(path.read_bytes() for path in trained.out.rglob("*") if path.is_file())
    assert "zyxgrub" not in said.lower()
    assert b"zyxgrub" not in kept.lower()
    assert b"n10x0" not in kept  # a word of one sentence
    assert b"myeloma" not in (trained.out / "model/tokenizer.json").read_bytes().lower()


def test_every_derived_value_is_told_with_its_reason(trained: Finished) -> None:
    told = {event["name"]: event["reason"] for event in trained.events if event["event"] == "decision"}
    assert {"device", "precision", "threads", "batchSize", "microBatchSize", "accumulation", "learningRate"} <= set(
        told
    )
    assert all(told.values())


def test_the_end_record_holds_the_headline_and_the_digest(trained: Finished) -> None:
    assert trained.end.reason == "Completed"
    assert trained.end.digest is not None
    first = trained.end.metrics[0]
    assert (first.name, first.dataset) == ("entity_micro_f1", "")
    assert first.low is not None
    assert trained.end.step == trained.end.total_steps > 0


def test_progress_names_each_stage_in_order(trained: Finished) -> None:
    stages = [event["stage"] for event in trained.events if event["event"] == "progress"]
    assert list(dict.fromkeys(stages)) == ["Fetch", "Prepare", "Train", "Evaluate", "Publish"]


def test_a_result_serves_as_the_weights_of_the_next_run(
    trained: Finished, hospitals: dict[str, Path], command: Command
) -> None:
    run = document(
        "TokenClassification",
        "FullFineTuning",
        [{"name": "a"}],
        initialModel={},
        labels=["Disease", "Drug", "Place"],
        parameters={"epochs": 1, "maxLength": 16, "earlyStoppingPatience": 1, "classWeights": "Balanced"},
        execution={"microBatchSize": 5, "gpus": 1},
    )
    finished = command.run_local(run, {"a": hospitals["a"]}, model=trained.out)
    assert finished.code == 0, finished.errors
    assert finished.decisions("accumulation") == [4]
    assert finished.decisions("learningRate") == [1e-4]
    facts = finished.report.execution
    assert (facts.device, facts.simulated_gpu) == ("cpu", True)
    found = finished.report.metric(MetricName.ENTITY_MICRO_F1, Split.TEST)
    assert found is not None and found.value > 0.5
    assert finished.end.gpu_seconds > 0


def test_the_settings_of_the_shared_run_are_known_parameters() -> None:
    from collabspace_trainer import registry
    from collabspace_trainer.parameters import check

    registry.load()
    method = registry.METHODS["TokenClassification", "FullFineTuning"]
    assert check(method.description.parameters, dict(ENCODER)).number("learningRate") == 0.004
