"""Evaluation measures a stored model on data it has not learnt from, and refuses what it cannot or must not load."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from stored_parts import finish
from trainer_runs import Command, Finished, document, table

from collabspace.api.manifest import Split

Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tables")
    return {"first": table(root / "first", 1), "second": table(root / "second", 2)}


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory, tables: dict[str, Path]) -> Finished:
    """A finished run whose result is measured again."""
    run = document("Tabular", "LogisticRegression", [{"name": "a"}])
    return Command(tmp_path_factory.mktemp("linear")).run_local(run, {"a": tables["first"]}, target="outcome:Class")


def evaluated(command: Command, model: Path, data: Path, **changes: Any) -> Finished:
    run = document("Tabular", "Evaluation", [{"name": "a", "role": "Evaluate"}], initialModel={}, **changes)
    return command.run_local(run, {"a": data}, model, "outcome:Class")


def test_a_stored_model_gets_the_figures_of_its_own_run_again(
    command: Command, linear: Finished, tables: dict[str, Path]
) -> None:
    done = evaluated(command, linear.out, tables["first"])
    assert done.code == 0, done.end
    own = {row.name: row.value for row in linear.report.metrics if row.split is Split.TEST and not row.dataset}
    assert {row.name: row.value for row in done.report.metrics if not row.dataset} == own
    assert not (done.out / "model").exists()
    before = load_file(linear.out / "counts" / "a-test.safetensors")
    after = load_file(done.out / "counts" / "a-test.safetensors")
    assert all((before[name] == after[name]).all() for name in before)
    assert json.loads((done.out / "run.json").read_text())["training"]["initialModel"]["uid"] == "local"
    assert {metric.split for metric in done.end.metrics} == {"test"}


def test_gates_hold_for_evaluations(command: Command, linear: Finished, tables: dict[str, Path]) -> None:
    gate = {"gates": [{"metric": "accuracy", "minimum": "0.999"}]}
    done = evaluated(command, linear.out, tables["second"], execution=gate)
    assert done.code == 60 and done.out.exists()


def test_end_records_carry_both_splits(linear: Finished) -> None:
    splits = [(row.name, row.split) for row in linear.end.metrics if not row.dataset]
    assert splits[0] == ("accuracy", "test")
    assert ("accuracy", "validation") in splits and ("macro_f1", "validation") in splits
    assert splits.index(("accuracy", "validation")) < splits.index(("macro_f1", "validation"))


def rename(folder: Path, header: str, values: dict[str, str]) -> Path:
    """The table with other words in it."""
    folder.mkdir()
    text = (folder.parent / "second" / "table.csv").read_text()
    for old, new in {**values, **({header: header.upper()} if header else {})}.items():
        text = text.replace(old, new)
    (folder / "table.csv").write_text(text)
    return folder


def test_labels_that_the_model_does_not_know_are_named(command: Command, linear: Finished, tmp_path: Path) -> None:
    table(tmp_path / "second", 2)
    done = evaluated(command, linear.out, rename(tmp_path / "third", "", {"well": "fine"}))
    assert done.code == 20 and "fine" in done.end.message


def test_columns_that_the_model_needs_are_named(command: Command, linear: Finished, tmp_path: Path) -> None:
    table(tmp_path / "second", 2)
    done = evaluated(command, linear.out, rename(tmp_path / "third", "dose", {}))
    assert done.code == 20 and "dose" in done.end.message


def test_data_to_learn_from_are_refused(command: Command, linear: Finished, tables: dict[str, Path]) -> None:
    run = document("Tabular", "Evaluation", [{"name": "a"}], initialModel={})
    done = command.run_local(run, {"a": tables["first"]}, linear.out, "outcome:Class")
    assert done.code == 10 and "nothing is learnt" in done.end.message


def _config(**fields: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / "model" / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "model" / "pytorch_model.bin").write_bytes(pickle.dumps(1)), "pickles"),
        (lambda f: (f / "model" / "modeling.py").write_text("1"), "code"),
        (lambda f: (f / "model" / "model.safetensors").write_bytes(b"\x80\x04" * 99), "model.safetensors"),
        (lambda f: _cut(f / "model" / "model.safetensors"), "model.safetensors"),
        (_config(auto_map={"AutoModel": "modeling.Model"}), "auto_map"),
        (_config(collabspace={"task": "TokenClassification", "method": "LoRA", "labels": []}), "TokenClassification"),
        (_config(collabspace={"task": "Tabular", "method": "Nothing", "labels": ["ill", "well"]}), "Nothing"),
        (lambda f: shutil.rmtree(f / "model"), "model"),
        (lambda f: (f / "model" / "config.json").write_text("["), "config.json"),
    ],
)  # fmt: skip
def test_models_that_are_no_sound_ones_are_refused(
    linear: Finished, tables: dict[str, Path], tmp_path: Path, change: Change, said: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(linear.out, copy)
    change(copy)
    finish(copy)
    assert said in refusal(copy, tables["second"], tmp_path)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])


def refusal(model: Path, data: Path, scratch: Path) -> str:
    """What a run in this process says of the model."""
    from collabspace.api.manifest import TargetColumn, TargetKind
    from collabspace.formats import FormatError
    from collabspace_trainer import evaluating, registry, spec, versions
    from collabspace_trainer.errors import DataError

    file = scratch / "run.json"
    file.write_text(json.dumps(document("Tabular", "Evaluation", [{"name": "a", "role": "Evaluate"}], initialModel={})))
    plan = spec.plan(spec.from_file(file))
    target = TargetColumn(column="outcome", kind=TargetKind.CLASS)
    with pytest.raises((DataError, FormatError)) as caught:
        inputs = versions.open_folders(plan, versions.Folders({"a": data}, scratch / "out", model, target), scratch)
        registry.method_of(evaluating.read(plan, inputs).model)
    return str(caught.value)


def test_changed_results_are_refused(linear: Finished, tables: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(linear.out, copy)
    (copy / "model" / "config.json").write_text((copy / "model" / "config.json").read_text() + " ")
    assert "other bytes" in refusal(copy, tables["second"], tmp_path)


def test_a_model_is_never_measured_on_what_it_has_learnt_from(linear: Finished, tmp_path: Path) -> None:
    from collabspace.api.manifest import DatasetFormat, TargetColumn, TargetKind
    from collabspace.formats import SplitRule, prepare

    source, whole = table(tmp_path / "source", 9), tmp_path / "whole"
    target = TargetColumn(column="outcome", kind=TargetKind.CLASS)
    rule = SplitRule("Hash", 100, 0, 0)
    made = prepare(source, DatasetFormat.TABULAR, whole, owner_uid="u", split=rule, target=target).manifest
    (whole / "manifest.json").write_bytes(made.canonical())
    copy = tmp_path / "copy"
    shutil.copytree(linear.out, copy)
    run = json.loads((copy / "run.json").read_text())
    run["training"]["datasets"][0]["digest"] = made.digest
    (copy / "run.json").write_text(json.dumps(run))
    finish(copy)
    assert "has learnt from this version" in refusal(copy, whole, tmp_path)


def test_the_short_verbs_measure_and_compare(linear: Finished, tables: dict[str, Path], tmp_path: Path) -> None:
    def call(*arguments: str) -> None:
        command = [sys.executable, "-m", "collabspace_trainer.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stdout

    measured, compared = tmp_path / "measured", tmp_path / "compared"
    data = [f"--data=a={tables['second']}", "--target=outcome:Class"]
    call("evaluate", f"--model={linear.out}", *data, f"--out={measured}")
    again = tmp_path / "again"
    shutil.copytree(measured, again)
    call("compare", f"--result=one={measured}", f"--result=two={again}", f"--out={compared}", "--metric=macro_f1")
    difference = json.loads((compared / "comparison.json").read_text())["differences"][0]
    assert (difference["value"], difference["low"], difference["high"], difference["discordance"]) == (0, 0, 0, 0)
